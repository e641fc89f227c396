"""launchd: daemons of macOS, each a property list in /Library/LaunchDaemons, in the system's domain.

A daemon runs while it is loaded: `start` loads it, `stop` unloads it, and `restart` does both, since a property list is
only read when it is loaded. One that waits for a socket, a time or an event counts as running while it is loaded.
Sources: launchctl(1), launchd.plist(5). What `launchctl print` prints is nobody's promise: what is not understood is
an error, never a guess.
"""

import plistlib
import re
from collections.abc import Mapping
from typing import ClassVar
from xml.parsers.expat import ExpatError

from msgspec import Struct

from requisition.stdlib.action import ActionError
from requisition.stdlib.host import CommandResult, FileChange, Host
from requisition.stdlib.providers.service.manager import Activity, Boot, awaited, in_charge, only_here, refusal

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")
_PLACES = ("/Library/LaunchDaemons", "/System/Library/LaunchDaemons")
_BLOCK = re.compile(r"^\t(services|disabled services) = \{\n(.*?)^\t\}", re.MULTILINE | re.DOTALL)
_JOB = re.compile(r"\s*(\d+)\s+(-|-?\d+|\([a-z]+\))\s+(\S+)")
_OVERRIDE = re.compile(r'\s*"(.+)" => (true|false|enabled|disabled)')
_GONE = 113
_NO_SUCH_PROCESS = 3
_IN_PROGRESS = 36
_SETTLE_MS = 5_000
_QUICK_MS = 60_000
_PLIST_WITHIN = 1 << 20


class Plan(Struct, frozen=True):
    """What a property list says of when its job runs."""

    kept: bool = False  # started again whenever it ends
    revived: bool = False  # started again when it ends badly, or as its conditions say
    at_load: bool = False
    disabled: bool = False


class Domain(Struct, frozen=True):
    """The loaded jobs, by label: process id (0 for none) and how the last process ended. Which labels were enabled or
    disabled by hand."""

    jobs: Mapping[str, tuple[int, str]]
    enabled: Mapping[str, bool]


class Launchd:
    """See `Manager`."""

    name: ClassVar[str] = "launchd"
    tells_failure: ClassVar[bool] = False

    def full_name(self, name: str) -> str:
        """The label."""
        if not _NAME.fullmatch(name):
            raise ActionError(f"{name!r} is no label of a job", "give the label of its property list")
        return name

    def activity(self, host: Host, name: str) -> Activity:
        """From one `launchctl print` of the domain, and the job's property list."""
        return self._state(host, name, self._known(host))

    def at_boot(self, host: Host, name: str) -> Boot:
        """What was said by hand, else what the property list says."""
        only_here(host, self.name)
        plan = _plan(host, name)
        if plan is None:
            return Boot(enabled=False, known=False)
        return Boot(self._known(host).enabled.get(name, not plan.disabled))

    def start(self, host: Host, name: str, timeout_ms: int) -> None:
        """launchctl bootstrap, or kickstart for one that is loaded; until it runs."""
        domain = _domain(host)
        if name in domain.jobs:
            _launchctl(host, timeout_ms, "kickstart", f"system/{name}")
        else:
            plan, path = _plan(host, name), _path(host, name)
            if plan is None:
                raise ActionError(f"launchd knows no job {name}", f"there is no {name}.plist in {_PLACES[0]}")
            if not domain.enabled.get(name, not plan.disabled):
                raise ActionError(f"launchd loads nothing that is disabled, and {name} is", "enable it before")
            _launchctl(host, timeout_ms, "bootstrap", "system", path)
        awaited(host, lambda: self._state(host, name, _domain(host)), lambda now: now == "running", _SETTLE_MS)

    def stop(self, host: Host, name: str, timeout_ms: int) -> None:
        """launchctl bootout, until the label is free again: a job that is ending cannot be loaded."""
        service = f"system/{name}"
        _launchctl(host, timeout_ms, "bootout", service, also=(_NO_SUCH_PROCESS, _IN_PROGRESS))
        left = awaited(host, lambda: host.ask(["launchctl", "print", service]), _is_gone, timeout_ms)
        if not _is_gone(left):
            raise ActionError(f"{name} is still loaded {timeout_ms // 1000} s after bootout", "raise `timeout`")

    def restart(self, host: Host, name: str, timeout_ms: int) -> None:
        """Unload it, if it is loaded, and load it."""
        if name in _domain(host).jobs:
            self.stop(host, name, timeout_ms)
        self.start(host, name, timeout_ms)

    def reload(self, host: Host, name: str, timeout_ms: int) -> None:
        """SIGHUP, by launchctl kill."""
        _launchctl(host, timeout_ms, "kill", "SIGHUP", f"system/{name}")

    def boot_files(self, host: Host, name: str, *, enabled: bool) -> tuple[FileChange, ...]:
        """None: launchd keeps it in a database of its own."""
        return ()

    def set_boot(self, host: Host, name: str, *, enabled: bool) -> None:
        """launchctl enable or disable."""
        _launchctl(host, _QUICK_MS, "enable" if enabled else "disable", f"system/{name}")

    def restore_boot(self, host: Host, name: str, was: Boot) -> None:
        """The other way round."""
        self.set_boot(host, name, enabled=was.enabled)

    def _known(self, host: Host) -> Domain:
        only_here(host, self.name)
        in_charge(host, self.name, host.facts().get("os") == "darwin")
        return host.recall("service:launchd", lambda: _domain(host))

    @staticmethod
    def _state(host: Host, name: str, domain: Domain) -> Activity:
        plan = _plan(host, name)
        job = domain.jobs.get(name)
        if job is None:
            return "unknown" if plan is None else "stopped"
        return read_state(*job, plan or Plan())


def read_state(pid: int, ended: str, plan: Plan) -> Activity:
    """What a loaded job does, by its process id, how its last process ended, and its property list."""
    if pid:
        return "running"
    if plan.kept:
        return "failing"
    if ended not in ("-", "0"):
        return "failing" if plan.revived or ended.startswith("(") else "failed"
    return "stopped" if plan.at_load or plan.revived else "running"


def parse_domain(output: str) -> Domain:
    """`launchctl print system`: the blocks `services` and `disabled services`; before macOS 13 `true` means disabled.
    Raises ActionError."""
    blocks = {found[1]: found[2].splitlines() for found in _BLOCK.finditer(output)}
    jobs = [_JOB.fullmatch(line.rstrip()) for line in blocks.get("services", ["?"])]
    overrides = [_OVERRIDE.fullmatch(line.rstrip()) for line in blocks.get("disabled services", [])]
    if None in jobs or None in overrides:
        raise ActionError("launchctl print system says what is not understood", "this macOS may be too new")
    return Domain(
        {job[3]: (int(job[1]), job[2]) for job in jobs if job},
        {one[1]: one[2] in ("false", "enabled") for one in overrides if one},
    )


def read_plist(content: bytes, name: str) -> Plan:
    """What a property list says. Raises ActionError for one of another label, and for what is none."""
    try:
        said = plistlib.loads(content)
    except (ValueError, ExpatError, plistlib.InvalidFileException) as error:
        raise ActionError(f"{name}.plist is no property list: {error}", "plutil -lint tells more") from error
    if not isinstance(said, dict) or said.get("Label") != name:
        raise ActionError(f"{name}.plist is of another job", "its Label and its name must be the same")
    kept = said.get("KeepAlive")
    return Plan(kept is True, isinstance(kept, dict), said.get("RunAtLoad") is True, said.get("Disabled") is True)


def _plan(host: Host, name: str) -> Plan | None:
    path = _path(host, name)
    return read_plist(host.read(path, _PLIST_WITHIN), name) if path else None


def _path(host: Host, name: str) -> str:
    paths = (f"{place}/{name}.plist" for place in _PLACES)
    return next((path for path in paths if host.stat(path) is not None), "")


def _domain(host: Host) -> Domain:
    said = host.ask(["launchctl", "print", "system"])
    if said.status != 0:
        raise refusal(said, "launchctl print system", "")
    return parse_domain(said.stdout.decode("utf-8", "replace"))


def _is_gone(said: CommandResult) -> bool:
    return said.status == _GONE


def _launchctl(host: Host, timeout_ms: int, *words: str, also: tuple[int, ...] = ()) -> None:
    done = host.run(["launchctl", *words], timeout_ms=timeout_ms)
    if done.status not in (0, *also):
        raise refusal(done, f"launchctl {' '.join(words)}", "its errors are errno's; /var/log/system.log may tell more")
