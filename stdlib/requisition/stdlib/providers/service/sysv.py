"""System V init: services are scripts of /etc/init.d, and update-rc.d keeps the links by which they start.

A script runs as service(8) and the machine's start run it: with an environment of its own, and in a session of its own,
so that what it leaves running outlives us. Sources: LSB 5.0 chapter 22 (headers, actions and exit statuses of init
scripts), Debian policy 9.3, update-rc.d(8).
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from requisition.stdlib.action import ActionError
from requisition.stdlib.host import CommandResult, FileChange, Host
from requisition.stdlib.providers.service.manager import Activity, Boot, awaited, only_here, refusal, target

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,200}")
_LINK = re.compile(r"([SK])[0-9][0-9](.+)")
_STARTS = re.compile(r"^# Default-Start:[ \t]*(\S.*)$", re.MULTILINE)
_HEADER = re.compile(r"^### BEGIN INIT INFO\s*?$(.*?)^### END INIT INFO\s*?$", re.MULTILINE | re.DOTALL)
_HEADER_WITHIN = 1 << 20
_LEVELS = "S2345"
_CLEAN = ("env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8")
_APART = 'exec "$@" >"$0" 2>&1 </dev/null'  # what a script leaves running must not write to a pipe of ours
_NO_ACTION = "no-such-action"
_UPDATE = "/usr/sbin/update-rc.d"
_SETTLE_MS = 3_000
_DOWN: tuple[Activity, ...] = ("stopped", "failed", "unknown")
_STATUS: dict[int, Activity] = {0: "running", 1: "failed", 2: "failed", 3: "stopped", 5: "unknown"}


class Sysv:
    """See `Manager`."""

    name: ClassVar[str] = "sysv"
    tells_failure: ClassVar[bool] = False

    def full_name(self, name: str) -> str:
        """The script's name."""
        if not _NAME.fullmatch(name):
            raise ActionError(f"{name!r} is no name of a service", "give the name of its script in /etc/init.d")
        return name

    def activity(self, host: Host, name: str) -> Activity:
        """From the script's `status`. One that is content with any action and says nothing is what is left of a package
        that was removed, and no service."""
        only_here(host, self.name)
        if not _is_script(host, name):
            return "unknown"

        def look() -> Activity:
            said = _status(host, name)
            if said.status == 0 and not _words(said) and _asked(host, name, _NO_ACTION).status == 0:
                return "unknown"
            return read_status(name, said)

        return host.recall(f"service:sysv:{name}", look)

    def at_boot(self, host: Host, name: str) -> Boot:
        """From the links of the runlevels in which services start, in this root or another."""
        there = _is_script(host, name)
        started = _levels(host, name, "S")
        fixed = ""
        if target(host) != "/":
            fixed = f"update-rc.d does not work in another root, {target(host)}"
        elif host.stat(_UPDATE) is None:
            fixed = f"there is no {_UPDATE}, which keeps the links of the runlevels"
        elif there and not start_levels(host.read(_script(name), _HEADER_WITHIN).decode("utf-8", "replace")):
            fixed = "the header of its script has no Default-Start, so nothing says when to start it"
        return Boot(bool(started), there, fixed, {"S": started, "K": _levels(host, name, "K")})

    def start(self, host: Host, name: str, timeout_ms: int) -> None:
        """The script's `start`, until its `status` says so."""
        self._act(host, "start", name, timeout_ms)
        self._settle(host, name, "start", ("running",))

    def stop(self, host: Host, name: str, timeout_ms: int) -> None:
        """The script's `stop`, until its `status` says so. That decides: in a container whose first process does not
        bury the dead, scripts complain of a daemon that will not end, and is a zombie."""
        complaint = self._tried(host, "stop", name, timeout_ms)
        if complaint is not None:
            if read_status(name, _status(host, name)) not in _DOWN:
                raise complaint
            host.log(f"{complaint}; its status is that it is stopped")
        self._settle(host, name, "stop", _DOWN)

    def restart(self, host: Host, name: str, timeout_ms: int) -> None:
        """The script's `restart`, until its `status` says that it runs."""
        self._act(host, "restart", name, timeout_ms)
        self._settle(host, name, "restart", ("running",))

    def reload(self, host: Host, name: str, timeout_ms: int) -> None:
        """The script's `reload`."""
        self._act(host, "reload", name, timeout_ms)

    def boot_files(self, host: Host, name: str, *, enabled: bool) -> tuple[FileChange, ...]:
        """None beforehand: update-rc.d may have insserv give all services their places anew."""
        return ()

    def set_boot(self, host: Host, name: str, *, enabled: bool) -> None:
        """update-rc.d enable or disable; a service without any link gets those of its header."""
        if enabled and not _levels(host, name, "S") and not _levels(host, name, "K"):
            _update(host, name, "defaults")
        else:
            _update(host, name, "enable" if enabled else "disable")

    def restore_boot(self, host: Host, name: str, was: Boot) -> None:
        """Each runlevel as it was."""
        if not was.trace["S"] and not was.trace["K"]:
            _update(host, name, "remove")
        else:
            for letter, verb in (("S", "enable"), ("K", "disable")):
                if was.trace[letter]:
                    _update(host, name, verb, *was.trace[letter])

    def _act(self, host: Host, verb: str, name: str, timeout_ms: int) -> None:
        complaint = self._tried(host, verb, name, timeout_ms)
        if complaint is not None:
            raise complaint

    def _tried(self, host: Host, verb: str, name: str, timeout_ms: int) -> ActionError | None:
        """What the script has against it."""
        only_here(host, self.name)
        seconds = max(1, timeout_ms // 1000)
        said = host.scratch_file(name, b"")
        apart = ("setsid", "--wait", "timeout", "--kill-after=5", str(seconds))
        argv = [*apart, "sh", "-c", _APART, said, *_CLEAN, _script(name), verb]
        done = host.run(argv, timeout_ms=timeout_ms + 10_000)
        if done.status == 0:
            return None
        if done.status in (124, 137):  # timeout(1)
            return ActionError(f"{_script(name)} {verb} did not end within {seconds} s", "raise `timeout`")
        done = done._replace(stdout=host.ask(["tail", "-c", "4000", "--", said]).stdout)
        return refusal(done, f"{_script(name)} {verb}", "look at its log, and at the script")

    @staticmethod
    def _settle(host: Host, name: str, verb: str, wanted: Sequence[Activity]) -> None:
        """Until its status is one of these: a script may end before its service has written down who it is. Raises
        ActionError with what the status says, since some scripts speak for several services at once."""
        said = awaited(host, lambda: _status(host, name), lambda said: read_status(name, said) in wanted, _SETTLE_MS)
        if read_status(name, said) not in wanted:
            what = f"{_script(name)} {verb} is done, and its status is {said.status}: {_words(said)}"
            raise ActionError(what, "look at its log; of several parts all must run, or start one by shell.exec")


def read_status(name: str, said: CommandResult) -> Activity:
    """What `status` answers (LSB 5.0, 22.2). Raises ActionError when that is no answer."""
    activity = _STATUS.get(said.status)
    if activity is None or _words(said).lower().startswith("usage"):
        hint = "only a script that answers to `status` can be looked after"
        raise refusal(said, f"{_script(name)} status", hint)
    return activity


def start_levels(script: str) -> list[str]:
    """The runlevels of an init script's header in which it is started (LSB 5.0, 22.3)."""
    header = _HEADER.search(script)
    found = _STARTS.search(header[1]) if header else None
    return [level for level in found[1].split() if level in _LEVELS] if found else []


def _script(name: str) -> str:
    return f"/etc/init.d/{name}"


def _is_script(host: Host, name: str) -> bool:
    found = host.stat(_script(name))
    return found is not None and found.kind == "file" and bool(found.mode & 0o111)


def _asked(host: Host, name: str, verb: str) -> CommandResult:
    """What a script answers to an action that changes nothing."""
    return host.ask([*_CLEAN, _script(name), verb])


def _status(host: Host, name: str) -> CommandResult:
    return _asked(host, name, "status")


def _words(said: CommandResult) -> str:
    return " ".join((said.stdout + b" " + said.stderr).decode("utf-8", "replace").split())


def _levels(host: Host, name: str, letter: str) -> str:
    """The runlevels in which a link starts (S) or stops (K) it."""
    found = ""
    for level in _LEVELS:
        folder = f"/etc/rc{level}.d"
        if host.stat(folder) is not None:
            links = (_LINK.fullmatch(entry) for entry in host.listdir(folder))
            found += level if any(link is not None and link.groups() == (letter, name) for link in links) else ""
    return found


def _update(host: Host, name: str, *words: str) -> None:
    only_here(host, "update-rc.d")
    done = host.run(["update-rc.d", name, *words])
    if done.status != 0:
        raise refusal(done, f"update-rc.d {' '.join((name, *words))}", "look at the header of its script")
