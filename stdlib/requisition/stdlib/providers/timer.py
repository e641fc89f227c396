"""Timers of systemd: a timer and its service in /etc/systemd/system, enabled by the link that `systemctl enable` makes.

Where systemd runs the machine, it is told at once; elsewhere, as in an image, it finds the files when it starts.
"""

import shutil
from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, action
from requisition.stdlib.host import ABSENT, FileChange, Host
from requisition.stdlib.providers import user as accounts
from requisition.stdlib.providers.accounts import uid_of
from requisition.stdlib.providers.file import missing_parents, observe_content
from requisition.stdlib.providers.require import PATH
from requisition.stdlib.providers.service.manager import UP, refusal, systemd_runs, target
from requisition.stdlib.providers.service.systemd import Systemd
from requisition.stdlib.providers.timer_units import Job, check_name, check_schedule, service, timer
from requisition.stdlib.spec import Output, slot

FOLDER = "/etc/systemd/system"
_VENDOR = "/usr/lib/systemd/system"
_WANTS = f"{FOLDER}/timers.target.wants"
_TIMEOUT = 90_000
_NAME = "the timer; its units are NAME.timer and NAME.service"
UNIT = (Output("unit", "string", "the full name of the timer"),)


class PresentSlots(Struct, frozen=True):
    name: Annotated[str, slot("string", _NAME, claims=True)]
    schedule: Annotated[str, slot("string", "when, as in systemd.time(7): daily, Mon *-*-* 04:00:00, *:0/15")]
    command: Annotated[list[str], slot("strings", "path of a program, and arguments; no shell takes part")]
    user: Annotated[str, slot("string", "who runs it; empty: root")] = ""
    env: Annotated[dict[str, str], slot("dict", "its environment, which everyone can read: no secrets")] = {}
    directory: Annotated[str, slot("path", "where it runs; by default the root")] = ""
    description: Annotated[str, slot("string", "what systemctl calls it; by default its name")] = ""
    persistent: Annotated[bool, slot("bool", "make up for a time that was missed while the machine was off")] = True
    delay: Annotated[int, slot("duration", "start up to so much later, so that not all machines do at once")] = 0
    timeout: Annotated[int, slot("duration", "the command is ended after this time; 0: never")] = 0


class AbsentSlots(Struct, frozen=True):
    name: Annotated[str, slot("string", _NAME, writes=True)]


class _Timer(BaseAction[Any]):
    """What both share: a systemd that runs is told when the files are as they are to be, and again after undo."""

    def undo(self, host: Host, undo: Any) -> None:
        """Stop a timer that did not run, while its files are there."""
        name = undo["name"]
        if undo["was"] not in UP and _runs(host, name):
            Systemd().stop(host, name, _TIMEOUT)

    def undone(self, host: Host, undo: Any) -> None:
        """Have systemd read the files of before, and the timer run by them if it ran."""
        if _is_live(host):
            _reread(host)
            if undo["was"] in UP:
                Systemd().restart(host, undo["name"], _TIMEOUT)

    def fingerprint(self, host: Host, left: tuple[Left, ...]) -> tuple[Left, ...]:
        """Which of the timers run, with one look."""
        return tuple(_running(host, one.path.removeprefix("systemd:")) for one in left)


@action("timer.present", outputs=UNIT, effect="outside", blocking=True)
class Present(_Timer):
    """Have a command run at times, by systemd. A rollback brings back what was there before, and stops a new timer."""

    slots = PresentSlots

    def observe(self, host: Host, slots: PresentSlots) -> Satisfied | Change:
        """Compares both units, the link, and whether the timer runs where systemd does."""
        wanted = _contents(slots)
        _check_place(host, slots)
        found = [observe_content(host, path, text, 0o644, "", "") for path, text in wanted]
        name = f"{slots.name}.timer"
        link = Left(f"{_WANTS}/{name}", "link", target=f"{FOLDER}/{name}")
        lefts = [left for one in found if isinstance(one, Satisfied) for left in one.left]
        changes = [change for one in found if isinstance(one, Change) for change in one.files]
        if _links(host, link):
            lefts.append(link)
        else:
            changes += [FileChange(path, ABSENT, Left(path, "dir", 0o755)) for path in missing_parents(host, link.path)]
            changes.append(FileChange(link.path, host.capture(link.path), link))
        live = _is_live(host)
        stopped = live and not _runs(host, name)
        if not changes and not stopped:
            return Satisfied({"unit": name}, (*lefts, *([_running(host, name)] if live else [])))
        if changes:
            _ask_systemd(host, slots.schedule)
        contents = dict(wanted)
        undo = {"name": name, "was": Systemd().activity(host, name)} if live else None
        texts = tuple(contents.get(change.path) for change in changes)
        return Change(_reason(changes), tuple(changes), texts, undo, {"unit": name})

    def do(self, host: Host, slots: PresentSlots, change: Change) -> Done:
        """Put the files in place, and have systemd run the timer by them."""
        name = f"{slots.name}.timer"
        for file, content in zip(change.files, change.contents, strict=True):
            if file.expect.kind == "dir":
                host.make_dir(file)
            elif file.expect.kind == "link":
                host.make_link(file)
            else:
                host.put_file(file, content or b"")
        lefts = [one.expect for one in change.files]
        if _is_live(host):
            Systemd().restart(host, name, _TIMEOUT)
            host.forget_answers()
            lefts.append(_running(host, name))
        return Done({"unit": name}, tuple(lefts))


@action("timer.absent", outputs=UNIT, effect="outside", blocking=True)
class Absent(_Timer):
    """Have no such timer. A command that it started comes to its end. A rollback makes and starts it again."""

    slots = AbsentSlots

    def observe(self, host: Host, slots: AbsentSlots) -> Satisfied | Change:
        """Are there units of that name, or the link?"""
        check_name(slots.name)
        name = f"{slots.name}.timer"
        lefts = [
            Left(path, "absent") for path in (f"{_WANTS}/{name}", f"{FOLDER}/{name}", f"{FOLDER}/{slots.name}.service")
        ]
        there = [left for left in lefts if host.stat(left.path) is not None]
        if not there:
            if host.stat(f"{_VENDOR}/{name}") is not None:
                raise ActionError(
                    f"{name} comes with the system", "remove its package; or plan.service.stop and plan.service.disable"
                )
            return Satisfied({"unit": name}, tuple(lefts))
        files = tuple(FileChange(left.path, host.capture(left.path), left) for left in there)
        undo = {"name": name, "was": Systemd().activity(host, name)} if _is_live(host) else None
        return Change("present", files, (), undo, {"unit": name})

    def do(self, host: Host, slots: AbsentSlots, change: Change) -> Done:
        """Stop it, remove the files, and have systemd forget it."""
        name = f"{slots.name}.timer"
        if _runs(host, name):
            Systemd().stop(host, name, _TIMEOUT)
        for file in change.files:
            host.delete(file)
        if _is_live(host):
            _reread(host)
        return Done({"unit": name}, tuple(file.expect for file in change.files))


def _contents(slots: PresentSlots) -> list[tuple[str, bytes]]:
    """Both files. Raises ActionError."""
    check_name(slots.name)
    check_schedule(slots.schedule)
    if slots.user:
        accounts.check_name(slots.user)
    job = Job(
        slots.name,
        slots.schedule,
        slots.command,
        slots.user,
        slots.env,
        slots.directory,
        slots.description,
        slots.persistent,
        slots.delay,
        slots.timeout,
    )
    at = f"{FOLDER}/{slots.name}"
    return [(f"{at}.service", service(job).encode()), (f"{at}.timer", timer(job).encode())]


def _check_place(host: Host, slots: PresentSlots) -> None:
    if host.stat(FOLDER) is None:
        raise ActionError(
            f"there is no {FOLDER}: systemd is not installed", "where there is none, use plan.cron.present"
        )
    for kind in ("service", "timer"):
        if host.stat(f"{_VENDOR}/{slots.name}.{kind}") is not None:
            raise ActionError(f"{slots.name}.{kind} comes with the system, and would be hidden", "choose another name")
    uid_of(host, slots.user)


def _ask_systemd(host: Host, schedule: str) -> None:
    """Have systemd read the schedule, where it is installed. Raises ActionError for one that never comes."""
    if shutil.which("systemd-analyze", path=PATH) is None:
        return
    argv = ["systemd-analyze", "calendar", "--", schedule]
    done = host.recall(f"calendar:{schedule}", lambda: host.ask(argv))
    if done.status != 0:
        raise ActionError(
            f"{schedule!r} is no calendar expression", "see systemd.time(7): daily, or Mon *-*-* 04:00:00"
        )
    if b"Next elapse: never" in done.stdout:
        raise ActionError(f"{schedule!r} never comes", "give a time that is not over")


def _links(host: Host, link: Left) -> bool:
    """Whether the link is there; newer versions of systemctl write it as a relative one."""
    if host.matches(link):
        return True
    found = host.stat(link.path)
    return (
        found is not None and found.kind == "link" and host.readlink(link.path) == f"../{link.path.rpartition('/')[2]}"
    )


def _reason(changes: Sequence[FileChange]) -> str:
    if not changes:
        return "the timer does not run"
    return "absent" if all(change.prior is ABSENT for change in changes) else "differs"


def _is_live(host: Host) -> bool:
    """Whether systemd runs the machine, and the target root is that machine's."""
    return target(host) == "/" and systemd_runs(host)


def _runs(host: Host, name: str) -> bool:
    return _is_live(host) and Systemd().activity(host, name) in UP


def _running(host: Host, name: str) -> Left:
    """A timer in the state view."""
    now = Systemd().activity(host, name) if _is_live(host) else "stopped"
    return Left(f"systemd:{name}", "absent") if now == "unknown" else Left(f"systemd:{name}", "token", token=now)


def _reread(host: Host) -> None:
    done = host.run(["systemctl", "daemon-reload"], timeout_ms=_TIMEOUT)
    if done.status != 0:
        raise refusal(done, "systemctl daemon-reload", "")
