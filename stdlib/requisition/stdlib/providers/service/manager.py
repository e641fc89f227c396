"""What keeps services running, as the actions see it: the same verbs for all of them.

A manager looks (`activity`, `at_boot`) and changes; it never decides. Reading a tool's output is done by pure functions
of its module, so that they are tested with recorded transcripts. Looks answer for all services with one command where
the tool can, and are kept for the run (`Host.recall`).
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import ClassVar, Literal, Protocol, TypeVar

from msgspec import Struct

from requisition.stdlib.action import ActionError, Cancelled
from requisition.stdlib.host import CommandResult, FileChange, Host

T = TypeVar("T")
_HERE = "requisition.stdlib.providers.service"

MANAGERS: dict[str, str] = {
    "launchd": f"{_HERE}.launchd:Launchd",
    "runit": f"{_HERE}.runit:Runit",
    "systemd": f"{_HERE}.systemd:Systemd",
    "sysv": f"{_HERE}.sysv:Sysv",
}
"""Name → `module:class`; imported when an order first uses one."""

Activity = Literal[
    "running",
    "failing",  # it ends each time, and is started again and again
    "failed",  # it ended, and nobody will start it again
    "stopped",
    "unknown",  # there is no such service
]
UP = ("running", "failing")
"""What a manager keeps up, or tries to."""
SHOWN = 400
_PAUSE_MS = 50


class Boot(Struct, frozen=True):
    """Whether a service is started with the machine. `fixed`: why that cannot be changed; empty when it can be.
    `trace`: what a manager needs to bring back exactly this, as plain JSON."""

    enabled: bool
    known: bool = True
    fixed: str = ""
    trace: dict[str, str] = {}


class Manager(Protocol):
    """One service manager. Instances are stateless and shared between threads; `name` arguments came from
    `full_name`. Verbs raise ActionError."""

    name: ClassVar[str]
    tells_failure: ClassVar[bool]
    """Whether one that failed, or whose restart was cut in two, can be told from one that somebody stopped."""

    def full_name(self, name: str) -> str:
        """The one spelling under which it has a service. Raises ActionError for what is no name of one."""
        ...

    def activity(self, host: Host, name: str) -> Activity:
        """Whether it runs."""
        ...

    def at_boot(self, host: Host, name: str) -> Boot:
        """Whether it is started with the machine."""
        ...

    def start(self, host: Host, name: str, timeout_ms: int) -> None:
        """Have it run, and wait until it does."""
        ...

    def stop(self, host: Host, name: str, timeout_ms: int) -> None:
        """End it, and wait until it has."""
        ...

    def restart(self, host: Host, name: str, timeout_ms: int) -> None:
        """End it if it runs, and start it."""
        ...

    def reload(self, host: Host, name: str, timeout_ms: int) -> None:
        """Have it read its configuration again, without an interruption."""
        ...

    def boot_files(self, host: Host, name: str, *, enabled: bool) -> tuple[FileChange, ...]:
        """The files by which it is started with the machine or not, where they are known beforehand: these are changed
        and taken back as any files. Elsewhere `set_boot` does it."""
        ...

    def set_boot(self, host: Host, name: str, *, enabled: bool) -> None:
        """Have it started with the machine, or not."""
        ...

    def restore_boot(self, host: Host, name: str, was: Boot) -> None:
        """Bring back how it was started with the machine before `set_boot`."""
        ...


@cache
def manager_named(name: str) -> Manager:
    """The manager of that name. Raises ActionError."""
    place = MANAGERS.get(name)
    if place is None:
        raise ActionError(f"there is no service manager {name!r}", f"managers: {', '.join(sorted(MANAGERS))}")
    module, _, attribute = place.partition(":")
    manager: Manager = getattr(import_module(module), attribute)()
    return manager


def native(host: Host) -> str:
    """The manager of this machine, or of the system that lies below the target root; empty when none is known."""
    if target(host) != "/":
        signs = {"systemd": "/usr/lib/systemd/systemd", "runit": "/etc/runit", "sysv": "/etc/init.d"}
        return next((name for name, path in signs.items() if host.stat(path) is not None), "")
    if systemd_runs(host):
        return "systemd"
    if host.facts().get("os") == "darwin":
        return "launchd"
    if host.recall("service:runsvdir", lambda: _runs(host, "runsvdir")):
        return "runit"
    return "sysv" if host.stat("/etc/init.d") is not None else ""


def systemd_runs(host: Host) -> bool:
    """Whether systemd is the first process (sd_booted(3))."""
    return host.stat("/run/systemd/system") is not None


def _runs(host: Host, program: str) -> bool:
    """Whether a program runs on our files: those of containers are also seen from outside of them."""
    try:
        pids = host.ask(["pidof", program]).stdout.split()
    except Cancelled:
        raise
    except ActionError:  # no pidof, so nobody to ask
        return False
    places = (f"/proc/{pid.decode()}/ns/mnt" for pid in pids)
    return any(host.ask(["test", place, "-ef", "/proc/self/ns/mnt"]).status == 0 for place in places)


def in_charge(host: Host, manager: str, charge: bool) -> None:
    """Raises ActionError when a manager that was named does not run this machine."""
    if not charge:
        here = native(host)
        hint = f"this machine is run by {here}: leave `manager` out, or name that" if here else "name another manager"
        raise ActionError(f"{manager} does not run this machine", hint)


def target(host: Host) -> str:
    """The target root on this machine."""
    return host.real_path("/").rstrip("/") or "/"


def only_here(host: Host, manager: str) -> None:
    """Raises ActionError when the target root is not this machine's: what lies there does not run."""
    if target(host) != "/":
        raise ActionError(
            f"{manager} runs nothing below the target root {target(host)}",
            "there, services can only be enabled and disabled; apply the rest on the machine itself",
        )


def awaited(host: Host, look: Callable[[], T], good: Callable[[T], bool], limit_ms: int) -> T:
    """The answer of a look when it is as wanted, or as it is after that time."""
    until = host.now_ms() + limit_ms
    while not good(found := look()) and host.now_ms() < until:
        host.sleep_ms(_PAUSE_MS)
    return found


def refusal(done: CommandResult, what: str, hint: str) -> ActionError:
    """A tool's complaint in one line."""
    said = (done.stderr.strip() or done.stdout.strip()).decode("utf-8", "replace")
    status = f"exit status {done.status}" if done.status >= 0 else f"signal {-done.status}"
    return ActionError(f"{what} ended with {status}: {' '.join(said[-SHOWN:].split()) or 'it said nothing'}", hint)
