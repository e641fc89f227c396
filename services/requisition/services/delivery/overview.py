"""What there is to tell of a queue at one moment: for the page, the metrics and `plan delivery status`."""

from collections.abc import Mapping

from msgspec import Struct

from requisition.schemas.quantities import size_text
from requisition.services.clock import timestamp
from requisition.services.delivery.bandwidth import limit_at, next_change
from requisition.services.delivery.cleanup import Facts, Interlock, decide
from requisition.services.delivery.config import Delivery, Destination
from requisition.services.delivery.job import Event, Finding, Job, Override
from requisition.services.delivery.overrides import overrides, revoked
from requisition.services.delivery.queue import Queue
from requisition.services.delivery.states import State
from requisition.services.delivery.transport import Progress
from requisition.services.delivery.verbs import pauses

SHOWN = 50
_FIRST = (
    (State.RUNNING, State.AWAITING_VERIFY),
    (State.BLOCKED, State.FAILED),
    (State.QUEUED,),
    (State.VERIFIED, State.CLEANUP_ELIGIBLE),
    (State.CLEANED, State.CANCELLED),
)


class Shown(Struct, frozen=True):
    """A job with what the gate found, how far it is, and why its source may (True) or may not (False) go."""

    job: Job
    findings: tuple[Finding, ...] = ()
    interlocks: tuple[Interlock, ...] = ()
    progress: Progress | None = None


class Place(Struct, frozen=True):
    """A destination: where it is, why it is paused (""), what may be sent now, how many jobs by state, the newest of
    them, bytes delivered, the age in seconds of the oldest that waits, and for how many seconds it rests after too many
    failures."""

    name: str
    where: str
    paused: str
    speed: str
    counts: Mapping[str, int]
    jobs: tuple[Shown, ...]
    delivered: int = 0
    oldest: float = 0
    resting: float = 0


class Live(Struct, frozen=True):
    """What only a worker of this process knows: job → how far it is; destination → seconds until it is tried again."""

    progress: Mapping[str, Progress] = {}
    resting: Mapping[str, float] = {}


class Overview(Struct, frozen=True):
    """All of it; `now` in seconds since 1970."""

    now: float
    places: tuple[Place, ...]


class Detail(Struct, frozen=True):
    """One job with its history and who overrode what."""

    shown: Shown
    history: tuple[Event, ...]
    overrides: tuple[Override, ...]


def look(queue: Queue, delivery: Delivery, live: Live) -> Overview:
    """All destinations, those that are configured no more but have jobs last."""
    now = queue.clock.now()
    counts, paused = queue.counts(), pauses(queue)
    with queue.reading() as rows:
        sums = {
            row[0]: (row[1] or 0, row[2])
            for row in rows.execute(
                "SELECT destination, sum(bytes) FILTER (WHERE state IN ('verified', 'cleanup_eligible', 'cleaned')),"
                " min(enqueued_at) FILTER (WHERE state = 'queued') FROM jobs GROUP BY destination"
            )
        }
    places = []
    for name in [*delivery.destinations, *sorted(counts.keys() - delivery.destinations.keys())]:
        delivered, oldest = sums.get(name, (0, None))
        known = delivery.destinations.get(name)
        places.append(
            Place(
                name=name,
                where=whereabouts(known) if known else "no longer in delivery.yaml",
                paused=paused.get(name, ""),
                speed=_speed(known, now) if known else "",
                counts=counts.get(name, {}),
                jobs=tuple(_shown(queue, delivery, job, live) for job in _foremost(queue, name)),
                delivered=delivered,
                oldest=max(0.0, now - oldest) if oldest is not None else 0.0,
                resting=live.resting.get(name, 0.0),
            )
        )
    return Overview(now, tuple(places))


def detail(queue: Queue, delivery: Delivery, job: Job, live: Live) -> Detail:
    """All that is known of a job."""
    return Detail(_shown(queue, delivery, job, live), tuple(queue.history(job.id)), tuple(overrides(queue, job.id)))


def whereabouts(destination: Destination) -> str:
    """Where a destination is, for people."""
    if destination.kind == "rclone":
        return destination.remote
    return f"{destination.host}:{destination.path}" if destination.host else destination.path


def _foremost(queue: Queue, destination: str) -> list[Job]:
    """The jobs to show: at work first, then what wants someone's attention, then by how soon something happens."""
    found: list[Job] = []
    for states in _FIRST:
        if len(found) < SHOWN:
            found += queue.jobs(states=states, destination=destination, limit=SHOWN - len(found))
    return found


def _shown(queue: Queue, delivery: Delivery, job: Job, live: Live) -> Shown:
    interlocks: tuple[Interlock, ...] = ()
    if job.state in (State.VERIFIED, State.CLEANUP_ELIGIBLE):
        with queue.reading() as rows:
            taken_back = tuple(sorted(revoked(rows, job.id)))
        facts = Facts(passes=tuple(queue.passes(job.id)), now=queue.moment(), revoked=taken_back)
        interlocks = decide(delivery.cleanup, job, facts)
    return Shown(job, tuple(queue.findings(job.id)), interlocks, live.progress.get(job.id))


def _speed(destination: Destination, now: float) -> str:
    limit, change = limit_at(destination.bandwidth, now), next_change(destination.bandwidth, now)
    until = f" until {timestamp(change)}" if change is not None else ""
    if limit is None:
        return f"no limit{until}"
    return f"up to {size_text(limit)}/s{until}" if limit else f"paused by its window{until}"
