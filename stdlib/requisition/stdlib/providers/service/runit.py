"""runit: services are folders of /etc/sv, and those that are linked into the folder of runsvdir run.

A service that is enabled is up within five seconds, and one that is disabled is stopped: runit knows no difference but
the file `down`, which keeps a linked service from being started by itself. Sources: sv(8), runsv(8), runsvdir(8).
"""

import posixpath
import re
from collections.abc import Mapping
from typing import ClassVar

from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError
from requisition.stdlib.host import CommandResult, FileChange, Host
from requisition.stdlib.providers.service.manager import Activity, Boot, awaited, refusal

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:+-]{0,200}")
_LINE = re.compile(r"(run|down|finish|fail|warning|timeout|kill): ([^:]+): (.*)")
_PID = re.compile(rb"^run: [^:]+: (\(pid [0-9]+\))")
_PLACES = ("/etc/service", "/var/service", "/service")
_HOPS = 8
_SCAN_MS = 7_000
DEFINED = "/etc/sv"
"""Where services are defined."""


class Runit:
    """See `Manager`. Works in any target root below which a runsvdir runs."""

    name: ClassVar[str] = "runit"
    tells_failure: ClassVar[bool] = True

    def full_name(self, name: str) -> str:
        """The folder's name."""
        if not _NAME.fullmatch(name):
            raise ActionError(f"{name!r} is no name of a service", "give the name of its folder in /etc/sv")
        return name

    def activity(self, host: Host, name: str) -> Activity:
        """From one `sv status` of all that is linked."""
        found = self._status(host).get(name)
        if found is not None:
            return found
        return "stopped" if host.stat(f"{DEFINED}/{name}") is not None else "unknown"

    def at_boot(self, host: Host, name: str) -> Boot:
        """Whether it is linked, and has no file `down`."""
        found = host.stat(f"{_place(host)}/{name}")
        defined = host.stat(f"{DEFINED}/{name}") is not None
        fixed = "it is a folder of its own, not a link" if found is not None and found.kind != "link" else ""
        enabled = found is not None and host.stat(_down(name)) is None
        parts = {"link": found is not None} | {path: host.stat(path) is not None for path in _kept_by_runsv(name)}
        trace = {part: "there" for part, there in parts.items() if there}
        return Boot(enabled, found is not None or defined, fixed, trace)

    def start(self, host: Host, name: str, timeout_ms: int) -> None:
        """sv start, once runsvdir has seen a link that is new."""
        self._bring_up(host, "start", name, timeout_ms)

    def stop(self, host: Host, name: str, timeout_ms: int) -> None:
        """sv stop."""
        self._sv(host, "stop", name, timeout_ms)

    def restart(self, host: Host, name: str, timeout_ms: int) -> None:
        """sv restart."""
        self._bring_up(host, "restart", name, timeout_ms)

    def reload(self, host: Host, name: str, timeout_ms: int) -> None:
        """sv reload, which is SIGHUP."""
        self._sv(host, "reload", name, timeout_ms)

    def boot_files(self, host: Host, name: str, *, enabled: bool) -> tuple[FileChange, ...]:
        """The link, and the file `down`."""
        link = f"{_place(host)}/{name}"
        there = host.stat(link) is not None
        if not enabled:
            return (FileChange(link, host.capture(link), Left(link, "absent")),) if there else ()
        files = []
        if host.stat(_down(name)) is not None:
            files.append(FileChange(_down(name), host.capture(_down(name)), Left(_down(name), "absent")))
        if not there:
            files.append(FileChange(link, host.capture(link), _link(host, name)))
        return tuple(files)

    def set_boot(self, host: Host, name: str, *, enabled: bool) -> None:
        """Nothing beyond the files."""

    def restore_boot(self, host: Host, name: str, was: Boot) -> None:
        """Files are brought back by the runtime; but what runsv keeps in the service's folder goes with the link that
        made runsvdir start it."""
        link = _link(host, name)
        if "link" in was.trace or not host.matches(link):
            return
        host.delete(FileChange(link.path, host.capture(link.path), Left(link.path, "absent")))
        host.run(["sv", "-w", "7", "force-shutdown", host.real_path(f"{DEFINED}/{name}")], timeout_ms=30_000)
        for path in _kept_by_runsv(name):
            found = host.stat(path)
            if path not in was.trace and found is not None and found.kind == "dir":
                host.run(["rm", "-rf", "--", host.real_path(path)])

    def _status(self, host: Host) -> Mapping[str, Activity]:
        place = _place(host)

        def look() -> Mapping[str, Activity]:
            names = [name for name in host.listdir(place) if _NAME.fullmatch(name)]
            if not names:
                return {}
            said = host.ask(["sv", "status", *(host.real_path(f"{place}/{name}") for name in names)])
            return parse_status(said.stdout.decode("utf-8", "replace"))

        return host.recall(f"service:runit:{host.real_path(place)}", look)

    def _bring_up(self, host: Host, verb: str, name: str, timeout_ms: int) -> None:
        """`sv start` or `restart`, once runsv has taken the service on: runsvdir looks for new links every five
        seconds. Within a second of the last start `sv restart` does not wait: another process is waited for here."""
        link = f"{_place(host)}/{name}"
        if host.stat(link) is None:
            what = f"runit only runs what is enabled, and {name} is not"
            raise ActionError(what, "use plan.service.enable before it")
        status = ["sv", "status", host.real_path(link)]
        said = awaited(host, lambda: host.ask(status), _is_taken_on, _SCAN_MS)
        if not _is_taken_on(said):
            raise refusal(said, f"sv status {name}", f"does runsvdir run on {host.real_path(_place(host))}?")
        before = _PID.search(said.stdout) if verb == "restart" else None
        self._sv(host, verb, name, timeout_ms)
        old = before[1] if before else b"none"

        def is_new(said: CommandResult) -> bool:
            return said.stdout.startswith(b"run") and old not in said.stdout

        awaited(host, lambda: host.ask(status), is_new, _SCAN_MS)

    @staticmethod
    def _sv(host: Host, verb: str, name: str, timeout_ms: int) -> None:
        seconds = str(max(1, timeout_ms // 1000))
        path = host.real_path(f"{_place(host)}/{name}")
        done = host.run(["sv", "-w", seconds, verb, path], timeout_ms=timeout_ms + 5_000)
        if done.status != 0:
            raise refusal(done, f"sv {verb} {name}", f"look at {DEFINED}/{name}/run, and at the service's log")


def _is_taken_on(said: CommandResult) -> bool:
    return not said.stdout.startswith((b"fail", b"warning"))


def _link(host: Host, name: str) -> Left:
    place = _place(host)
    aim = posixpath.relpath(f"{DEFINED}/{name}", place)  # the same, seen from outside of the root
    return Left(f"{place}/{name}", "link", target=aim)


def _kept_by_runsv(name: str) -> tuple[str, str]:
    return f"{DEFINED}/{name}/supervise", f"{DEFINED}/{name}/log/supervise"


def _down(name: str) -> str:
    return f"{DEFINED}/{name}/down"


def _place(host: Host) -> str:
    """The folder of runsvdir. Distributions link it elsewhere; the last link's target counts. Raises ActionError."""
    for path in _PLACES:
        for _ in range(_HOPS):
            found = host.stat(path)
            if found is None:
                break
            if found.kind == "dir":
                return path
            path = _joined(path.rpartition("/")[0], host.readlink(path))
    raise ActionError(f"runsvdir has no folder here: none of {', '.join(_PLACES)}", "install runit before it")


def _joined(folder: str, link: str) -> str:
    parts: list[str] = []
    for part in (link if link.startswith("/") else f"{folder}/{link}").split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def parse_status(output: str) -> dict[str, Activity]:
    """`sv status`: a line a service, its log behind a semicolon. A service that is down and wanted up is failing."""
    found: dict[str, Activity] = {}
    for line in output.splitlines():
        said = _LINE.fullmatch(line.partition("; run: log")[0].partition("; down: log")[0])
        if said is None:
            continue
        state, path, rest = said.groups()
        name = path.rpartition("/")[2]
        if state == "run":
            found[name] = "running"
        elif state == "finish" or "want up" in rest:
            found[name] = "failing"
        else:
            found[name] = "stopped"
    return found
