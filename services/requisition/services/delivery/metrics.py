"""What the queue shows of itself to machines."""

from collections.abc import Callable

from requisition.services.delivery.overview import Overview, Place
from requisition.services.delivery.states import State
from requisition.services.exposition import Family, Labels


def families(shown: Overview) -> list[Family]:
    """The metrics of an overview. Every state of every destination is told, also those that no job is in: a series that
    comes and goes cannot be watched. Pure."""
    jobs: dict[Labels, float] = {
        (("destination", place.name), ("state", state)): place.counts.get(state, 0)
        for place in shown.places
        for state in State
    }
    return [
        Family("requisition_delivery_jobs", "gauge", "Jobs by destination and state.", tuple(jobs.items())),
        _each(shown, "paused", "Whether a destination is paused.", lambda place: bool(place.paused)),
        _each(shown, "resting_seconds", "Until a destination that failed is tried again.", lambda place: place.resting),
        _each(shown, "sending_bytes_per_second", "What is being sent now.", _sending),
        _each(shown, "delivered_bytes", "Bytes of all jobs that are verified or cleaned.", lambda p: p.delivered),
        _each(shown, "oldest_queued_seconds", "Age of the oldest job that waits.", lambda place: place.oldest),
    ]


def _sending(place: Place) -> float:
    return sum(one.progress.rate for one in place.jobs if one.progress)


def _each(shown: Overview, name: str, text: str, value: Callable[[Place], float]) -> Family:
    samples = tuple(((("destination", place.name),), float(value(place))) for place in shown.places)
    return Family(f"requisition_delivery_{name}", "gauge", text, samples)
