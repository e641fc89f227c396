"""`plan delivery`, its commands that work on the queue: run, serve, verify, clean, check, install.

Those about jobs, and the group itself, are in `delivering.py`; this is the module that the command is loaded from.
"""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from requisition.cli.commands.delivering import config_option, delivery, draw_interlocks, line, opened, settings, who
from requisition.cli.drawing import counted, duration
from requisition.cli.output import Output, clean, to_dict
from requisition.schemas.diagnostic import BadInput, Failed

if TYPE_CHECKING:
    from requisition.services.delivery.config import Delivery
    from requisition.services.delivery.job import Job
    from requisition.services.delivery.queue import Queue
    from requisition.services.delivery.records import Records
    from requisition.services.delivery.worker import Worker

T = TypeVar("T")
_BEAT = 0.25


def _folder(output: Output) -> str:
    return os.path.join(output.state_dir, "delivery")


def _worker(output: Output, queue: "Queue", found: "Delivery", say: Callable[[str], None]) -> "Worker":
    from requisition.services.delivery.choose import transport_for
    from requisition.services.delivery.worker import Worker

    return Worker(queue, found, _folder(output), transport_for, random.random, say)


def _log(output: Output, text: str) -> None:
    if output.as_json:
        output.json({"type": "log", "text": text})
    else:
        output.progress("")
        sys.stderr.write(clean(text) + "\n")
        sys.stderr.flush()


@delivery.command()
@config_option
@click.pass_obj
def run(output: Output, /, config: str | None) -> int:
    """Work on all that is due, and end. What waits for a later attempt, or for a window, is left in the queue."""
    with opened(output, config) as (queue, found, _):
        begun = queue.clock.now()
        asyncio.run(_until_idle(output, _worker(output, queue, found, lambda text: _log(output, text))))
        touched = [job for job in queue.jobs(limit=1_000_000) if job.changed_at >= begun]
        waiting = queue.next_due(found.destinations)
    for job in reversed(touched):
        if output.as_json:
            output.json(to_dict(job))
        else:
            output.result(line(output, job))
    if waiting is not None:
        output.say(f"The next one is due in {duration(waiting)}: plan delivery run, or serve")
    elif not touched:
        output.say("nothing is due")
    return 1 if any(job.error or job.state in ("failed", "blocked") for job in touched) else 0


async def _until_idle(output: Output, worker: "Worker") -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, worker.stop)
    work = asyncio.ensure_future(worker.run(until_idle=True))
    while not (await asyncio.wait([work], timeout=_BEAT))[0]:
        output.progress(_progress(worker))
    output.progress("")
    await work


def _progress(worker: "Worker") -> str:
    """How far all that is being sent is, in a line; "" when nothing is."""
    from requisition.schemas.quantities import size_text

    under_way = list(worker.progress().values())
    if not under_way:
        return ""
    sent, total = sum(one.sent for one in under_way), sum(one.total for one in under_way)
    rate = sum(one.rate for one in under_way)
    text = f"{counted(len(under_way), 'job')}: {size_text(sent)} of {size_text(total)}, {size_text(int(rate))}/s"
    return f"{text}, {duration((total - sent) / rate)} left" if rate else text


@delivery.command()
@config_option
@click.pass_obj
def serve(output: Output, /, config: str | None) -> None:
    """Work on the queue until stopped, in the foreground, with the socket and the status page."""
    from requisition.services.delivery import service
    from requisition.services.voice import Voice
    from requisition.stdlib.control import default_socket

    with opened(output, config) as (queue, found, _), Voice(lambda text: _log(output, text)) as say:
        socket = found.socket or default_socket("delivery")

        async def work() -> None:
            await service.serve(queue, found, _worker(output, queue, found, say), socket=socket, say=say)

        asyncio.run(work())


@delivery.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@config_option
@click.pass_obj
def verify(output: Output, /, jobs: tuple[str, ...], config: str | None) -> int:
    """Compare delivered jobs now: every byte at the far end and here, against the manifest of what was delivered.

    The manifest is only read. Exit 1 when something at the far end is not as it says.
    """
    from requisition.services.delivery.choose import transport_for
    from requisition.services.delivery.proving import prove
    from requisition.services.delivery.transport import TransportFailure

    good = True
    with opened(output, config) as (queue, found, _):
        for job in jobs:
            destination = found.destination(queue.job(job).destination)
            try:
                proof = asyncio.run(prove(queue, _records(output), job, transport_for(destination), who()))
            except TransportFailure as failure:
                raise Failed.of(
                    f"{destination.name} cannot be asked: {failure.message}", where=f"job {job}", why=failure.kind
                ) from failure
            good = good and proof.good
            if output.as_json:
                output.json(to_dict(proof))
                continue
            mark = output.style("✓", "good") if proof.good else output.style("!", "bad")
            output.result(f"{mark} {line(output, proof.job)}")
            output.result(f"  far end: {proof.far}")
            output.result(f"  source: {proof.source}")
            if not proof.counted:
                output.say("  not written down: a worker has the job just now")
    return 0 if good else 1


def _records(output: Output) -> "Records":
    from requisition.services.delivery.records import Records

    return Records(os.path.join(_folder(output), "manifests"))


@delivery.command("clean")
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@click.option("--dry-run", is_flag=True, help="Tell of each job why its source may or may not go; change nothing.")
@click.option("--reason", default="", help="Why; it stands in the history.")
@config_option
@click.pass_obj
def clean_up(output: Output, /, jobs: tuple[str, ...], reason: str, config: str | None, *, dry_run: bool) -> None:
    """Have the sources of delivered jobs deleted that may be; without a JOB, of all.

    A worker looks at every interlock again before it deletes anything: the service if one is at work, else the next
    `plan delivery run`.
    """
    from requisition.services.delivery.requests import OfJob

    with opened(output, config) as (queue, found, requests):
        if not found.cleanup.enabled and not dry_run:
            raise BadInput.of("clean-up is off", where=found.where, next="write `cleanup: {enabled: true}` there")
        chosen = [queue.job(job) for job in jobs] or _delivered(queue)
        for job in chosen:
            if dry_run:
                asyncio.run(_explain(output, queue, found, job))
            else:
                done = requests.consider(OfJob(job=job.id, who=who(), why=reason))
                output.json(to_dict(done)) if output.as_json else output.result(line(output, done))
        if not chosen:
            output.say("nothing was delivered that could be cleaned up")
        elif not dry_run:
            output.say(f"{counted(len(chosen), 'job')} to be thought of by the service, or by plan delivery run")


def _delivered(queue: "Queue") -> "list[Job]":
    from requisition.services.delivery.states import State

    found = queue.jobs(states=(State.VERIFIED, State.CLEANUP_ELIGIBLE), limit=1_000_000)
    return [job for job in reversed(found) if not job.lease]


async def _explain(output: Output, queue: "Queue", found: "Delivery", job: "Job") -> None:
    from requisition.services.delivery.choose import transport_for
    from requisition.services.delivery.dryrun import explain

    destination = found.destinations.get(job.destination)
    transport = transport_for(destination) if destination else None
    locks = await explain(queue, found.cleanup, _records(output), job, transport)
    may = all(lock.holds for lock in locks)
    if output.as_json:
        output.json({"job": to_dict(job), "may_go": may, "interlocks": to_dict(locks)})
        return
    output.result(f"{output.style('✓', 'good') if may else output.style('·', 'dim')} {line(output, job)}")
    draw_interlocks(output, locks)


@delivery.command()
@click.option("--reach", is_flag=True, help="Also try whether each destination can be reached and written to.")
@config_option
@click.pass_obj
def check(output: Output, /, config: str | None, *, reach: bool) -> int:
    """Find mistakes in delivery.yaml; with --reach, also destinations that cannot be used."""
    from requisition.services.delivery.overview import whereabouts

    found = settings(config)
    answers = asyncio.run(_reached(found)) if reach else {}
    for name, destination in found.destinations.items():
        why = answers.get(name, "")
        if output.as_json:
            told = {"reachable": not why, "why": why} if reach else {}
            output.json({"destination": name, "where": whereabouts(destination)} | told)
            continue
        mark = output.style("!", "bad") if why else output.style("✓", "good")
        output.result(f"{mark} {name}  {output.style(whereabouts(destination), 'path')}" + (f"  {why}" if why else ""))
    return 1 if any(answers.values()) else 0


async def _reached(found: "Delivery") -> dict[str, str]:
    """Destination → why it cannot be used, "" when it can."""
    from requisition.services.delivery.choose import transport_for
    from requisition.services.delivery.transport import TransportFailure

    async def told(asked: Awaitable[None]) -> str:
        try:
            await asked
        except TransportFailure as failure:
            return str(failure)
        return ""

    names = list(found.destinations)
    asked = [told(transport_for(found.destinations[name]).probe()) for name in names]
    return dict(zip(names, await asyncio.gather(*asked), strict=True))


@delivery.command()
@config_option
@click.option("--user", is_flag=True, help="For your own systemd. [default: for the machine's when you are root]")
@click.option("--to", type=click.Path(file_okay=False), help="Folder to write it to. [default: systemd's]")
@click.pass_obj
def install(output: Output, /, config: str | None, to: str | None, *, user: bool) -> None:
    """Write the systemd unit of the service. It may write to its state and to local destinations, and with clean-up on
    to the roots; install it again after delivery.yaml has got another."""
    from requisition.cli import units
    from requisition.services.delivery.config import default_path
    from requisition.services.delivery.unit import service

    path = os.path.abspath(config or default_path())
    command = units.command(output, "delivery", "serve", "--config", path)
    units.install(output, service(command, output.state_dir, settings(path), user=user or os.geteuid() != 0), to)
