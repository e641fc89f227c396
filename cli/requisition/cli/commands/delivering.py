"""`plan delivery`: ship folders to storage, and see what became of them. What works on the queue: `shipping.py`."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from requisition.cli.drawing import counted, duration
from requisition.cli.output import Output, to_dict

if TYPE_CHECKING:
    from requisition.services.delivery.cleanup import Interlock
    from requisition.services.delivery.config import Delivery
    from requisition.services.delivery.job import Job
    from requisition.services.delivery.overview import Detail, Place, Shown
    from requisition.services.delivery.queue import Queue
    from requisition.services.delivery.requests import Requests

config_option = click.option(
    "--config", type=click.Path(dir_okay=False), help="delivery.yaml. [default: the user's, for root that of /etc]"
)
_to_option = click.option("--to", required=True, metavar="NAME", help="Destination, by its name in delivery.yaml.")
_reason_option = click.option("--reason", required=True, help="Why; it stands in the history for good.")
_why_option = click.option("--reason", default="", help="Why; it stands in the history.")
_jobs_argument = click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
_place_option = click.option("--to", default="", metavar="NAME", help="All that goes to this destination.")
_TONE = {
    "queued": "dim",
    "running": "head",
    "awaiting_verify": "head",
    "verified": "good",
    "cleanup_eligible": "good",
    "cleaned": "good",
    "blocked": "bad",
    "failed": "bad",
    "cancelled": "dim",
}


@click.group()
def delivery() -> None:
    """Ship folders to storage, verified, and see what became of them."""


def settings(config: str | None) -> "Delivery":
    """delivery.yaml, read."""
    from requisition.services.delivery.config import default_path
    from requisition.services.delivery.reading import load

    return load(config or default_path())


@contextmanager
def opened(output: Output, config: str | None) -> "Iterator[tuple[Queue, Delivery, Requests]]":
    """The queue of this state directory; a service may be at work on it at the same time."""
    from requisition.services.delivery.queue import Queue
    from requisition.services.delivery.requests import Requests

    found = settings(config)
    queue = Queue(os.path.join(output.state_dir, "delivery/queue.db"))
    try:
        yield queue, found, Requests(queue, found)
    finally:
        queue.close()


def who() -> str:
    """Who asks, for the history."""
    import getpass

    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"user {os.getuid()}"
    behind = os.environ.get("SUDO_USER", "")
    return f"{name} ({behind})" if behind and behind != name else name


@delivery.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@_to_option
@click.option("--as", "target", default="", metavar="TARGET", help="Path there. [default: its path within its root]")
@config_option
@click.pass_obj
def enqueue(output: Output, /, paths: tuple[str, ...], to: str, target: str, config: str | None) -> None:
    """Have folders shipped. What is under way already is not shipped twice."""
    from requisition.schemas.diagnostic import BadInput
    from requisition.services.delivery.requests import Enqueue

    if target and len(paths) > 1:
        raise BadInput.of("--as names the target of one folder", next="enqueue them one by one")
    with opened(output, config) as (_, _, requests):
        for path in paths:
            job = requests.enqueue(Enqueue(path=os.path.abspath(path), to=to, target=target, who=who()))
            _tell(output, job)


@delivery.command()
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when a job is blocked or failed.")
@config_option
@click.pass_obj
def status(output: Output, /, *, detailed_exitcode: bool, config: str | None) -> int:
    """Tell how many jobs of each destination are in which state, and which want attention."""
    from requisition.services.delivery.requests import Request

    with opened(output, config) as (_, _, requests):
        found = requests.status(Request())
    if output.as_json:
        output.json(to_dict(found))
    for place in () if output.as_json else found.places:
        _draw_place(output, place, found.now)
    stuck = sum(place.counts.get(state, 0) for place in found.places for state in ("blocked", "failed"))
    return 2 if stuck and detailed_exitcode else 0


def _draw_place(output: Output, place: "Place", now: float) -> None:
    head = f"{output.style(place.name, 'head')}  {output.style(place.where, 'path')}  {place.speed}"
    output.result(head + (f"  {output.style('paused', 'warn')} {place.paused}" if place.paused else ""))
    counts = [f"{count:,} {output.style(_words(state), _TONE[state])}" for state, count in place.counts.items()]
    output.result(f"  {', '.join(counts) or 'no job'}")
    for shown in place.jobs:
        if shown.job.state in ("running", "awaiting_verify", "blocked", "failed") or shown.job.error:
            output.result("  " + line(output, shown.job))
            _draw_trouble(output, shown, now)


def _draw_trouble(output: Output, shown: "Shown", now: float) -> None:
    job = shown.job
    if job.error:
        again = f"; again in {duration(max(0.0, job.next_attempt - now))}" if job.next_attempt else ""
        output.result(f"    {output.style(job.error_kind, 'bad')} {job.error}{again}")
    for one in shown.findings:
        tone = "bad" if one.hard else "warn"
        output.result(f"    {output.style(one.rule, tone)} {output.style(one.path, 'path')} {one.detail}")


@delivery.command("list")
@click.option("--to", default="", metavar="NAME", help="Only for this destination.")
@click.option("--in", "states", multiple=True, metavar="STATE", help="Only in this state (repeatable).")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="At most so many.")
@config_option
@click.pass_obj
def list_jobs(output: Output, /, to: str, states: tuple[str, ...], limit: int, config: str | None) -> None:
    """List jobs, the newest first."""
    from requisition.schemas.diagnostic import BadInput
    from requisition.services.delivery.requests import Listing
    from requisition.services.delivery.states import State

    unknown = [state for state in states if state not in list(State)]
    if unknown:
        raise BadInput.of(f"there is no state {unknown[0]!r}", next=f"one of {', '.join(State)}")
    with opened(output, config) as (_, _, requests):
        found = requests.list(Listing(to=to, states=tuple(map(State, states)), limit=limit))
    for job in found:
        if output.as_json:
            output.json(to_dict(job))
        else:
            output.result(line(output, job))
    if not found:
        output.say("no job")


@delivery.command()
@click.argument("job")
@config_option
@click.pass_obj
def show(output: Output, /, job: str, config: str | None) -> None:
    """Show all that is known of a job: findings, overrides, history, and why its source may or may not be deleted."""
    from requisition.services.delivery.requests import OfJob

    with opened(output, config) as (queue, _, requests):
        found = requests.show(OfJob(job=job))
        now = queue.clock.now()
    if output.as_json:
        output.json(to_dict(found))
    else:
        _draw_detail(output, found, now)


def _draw_detail(output: Output, found: "Detail", now: float) -> None:
    from requisition.schemas.quantities import size_text
    from requisition.services.clock import timestamp

    job = found.shown.job
    output.result(line(output, job))
    if job.manifest:
        output.result(f"  {counted(job.files, 'file')}, {size_text(job.bytes)}, manifest {job.manifest[:19]}…")
    if job.passes:
        output.result(f"  compared {counted(job.passes, 'time')}, the last at {timestamp(job.verified_at)}")
    _draw_trouble(output, found.shown, now)
    for one in found.overrides:
        revoked = f"; revoked by {one.revoked_by}: {one.revoked_why}" if one.revoked_at else ""
        output.result(f"  {output.style('override', 'warn')} {one.rule} by {one.who}: {one.reason}{revoked}")
    draw_interlocks(output, found.shown.interlocks)
    for event in found.history:
        step = _words(event.new) if event.old in ("", event.new) else f"{_words(event.old)} → {_words(event.new)}"
        output.result(f"  {output.style(timestamp(event.at), 'dim')} {event.who}: {step}  {event.why}")


def draw_interlocks(output: Output, locks: "Iterable[Interlock]") -> None:
    """Why a source may or may not go."""
    for lock in locks:
        mark = output.style("✓", "good") if lock.holds else output.style("✗", "dim")
        output.result(f"  {mark} {lock.name}: {lock.why}")


def _asking(verb: str, doc: str) -> None:
    """A command that asks the same of each job it is given."""

    @delivery.command(verb, help=doc)
    @_jobs_argument
    @_why_option
    @config_option
    @click.pass_obj
    def asking(output: Output, /, jobs: tuple[str, ...], reason: str, config: str | None) -> None:
        from requisition.services.delivery.requests import OfJob

        with opened(output, config) as (_, _, requests):
            for job in jobs:
                _tell(output, getattr(requests, verb)(OfJob(job=job, who=who(), why=reason)))


_asking("retry", "Begin again with jobs that failed, are blocked or were cancelled; do at once what waits.")
_asking("cancel", "Deliver jobs no more. What was delivered stays where it is.")


@delivery.command()
@click.argument("job")
@click.argument("rule")
@_reason_option
@config_option
@click.pass_obj
def override(output: Output, /, job: str, rule: str, reason: str, config: str | None) -> None:
    """Let findings of the class RULE not block JOB any more. Who did so, and why, is never forgotten."""
    from requisition.services.delivery.requests import OfRule

    with opened(output, config) as (_, _, requests):
        found = requests.override(OfRule(job=job, rule=rule, who=who(), why=reason))
    _done(output, found, f"{found.rule} of job {found.job} is overridden")


@delivery.command()
@click.argument("job")
@click.argument("rule")
@_reason_option
@config_option
@click.pass_obj
def revoke(output: Output, /, job: str, rule: str, reason: str, config: str | None) -> None:
    """Take an override back: what is not delivered yet is blocked again, and what is, is not cleaned up."""
    from requisition.services.delivery.requests import OfRule

    with opened(output, config) as (_, _, requests):
        found = requests.revoke(OfRule(job=job, rule=rule, who=who(), why=reason))
    _done(output, found, f"{found.rule} of job {found.job} is overridden no more")


@delivery.command()
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@_place_option
@_why_option
@config_option
@click.pass_obj
def pause(output: Output, /, jobs: tuple[str, ...], to: str, reason: str, config: str | None) -> None:
    """Leave jobs, or a destination, alone until they are resumed. What was sent is kept and gone on from."""
    from requisition.services.delivery.requests import OfJob, OfPlace

    _one_of(jobs, to)
    with opened(output, config) as (_, _, requests):
        for job in jobs:
            _tell(output, requests.hold(OfJob(job=job, who=who(), why=reason)))
        if to:
            requests.pause(OfPlace(to=to, who=who(), why=reason))
            _done(output, {"destination": to, "paused": True}, f"{to} is paused")


@delivery.command()
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@_place_option
@_why_option
@config_option
@click.pass_obj
def resume(output: Output, /, jobs: tuple[str, ...], to: str, reason: str, config: str | None) -> None:
    """Go on with jobs, or with a destination, that were paused."""
    from requisition.services.delivery.requests import OfJob, OfPlace

    _one_of(jobs, to)
    with opened(output, config) as (_, _, requests):
        for job in jobs:
            _tell(output, requests.release(OfJob(job=job, who=who(), why=reason)))
        if to:
            was = requests.resume(OfPlace(to=to, who=who(), why=reason))
            _done(output, {"destination": to, "paused": False}, f"{to} {'goes on' if was else 'was not paused'}")


def _one_of(jobs: tuple[str, ...], to: str) -> None:
    from requisition.schemas.diagnostic import BadInput

    if bool(jobs) == bool(to):
        raise BadInput.of("name jobs, or one destination with --to", next="plan delivery list shows them")


def _done(output: Output, told: object, text: str) -> None:
    if output.as_json:
        output.json(to_dict(told))
    output.say(f"{output.style('✓', 'good')} {text}")


def _tell(output: Output, job: "Job") -> None:
    if output.as_json:
        output.json(to_dict(job))
    else:
        output.result(line(output, job))


def line(output: Output, job: "Job") -> str:
    """A job in a line."""
    state = output.style(_words(job.state), _TONE[job.state])
    return f"{job.id}  {state}  {output.style(job.source, 'path')} → {job.destination}:{job.target}"


def _words(state: str) -> str:
    return state.replace("_", " ")
