"""systemd: units of the system manager, and which of them start with the machine, here or in another root.

Sources: systemctl(1), systemd.unit(5), sd_booted(3), org.freedesktop.systemd1(5).
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from requisition.stdlib.action import ActionError
from requisition.stdlib.host import CommandResult, FileChange, Host
from requisition.stdlib.providers.service.manager import (
    Activity,
    Boot,
    in_charge,
    only_here,
    refusal,
    systemd_runs,
    target,
)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,254}")
_KINDS = ("service", "socket", "timer", "path", "target", "mount", "automount", "swap", "slice")
_ENABLED = ("enabled", "enabled-runtime", "alias", "linked-runtime")
_FIXED = {
    "static": "it has no [Install] section, so nothing says when to start it",
    "masked": "it is masked: systemctl unmask it first, if that is meant",
    "masked-runtime": "it is masked: systemctl unmask it first, if that is meant",
    "transient": "it is there only until it ends",
    "bad": "its unit file cannot be read",
}
_ASKED_ALONE = ("generated", "indirect", "linked")


class Systemd:
    """See `Manager`."""

    name: ClassVar[str] = "systemd"
    tells_failure: ClassVar[bool] = True

    def full_name(self, name: str) -> str:
        """With its kind: `nginx` is `nginx.service`."""
        if not _NAME.fullmatch(name):
            raise ActionError(f"{name!r} is no name of a unit", "give the name alone, without options or patterns")
        return name if name.rpartition(".")[2] in _KINDS else f"{name}.service"

    def activity(self, host: Host, name: str) -> Activity:
        """From one `systemctl list-units` of all that is loaded. What is not, or has another name there, is asked
        about alone."""
        self._check(host)

        def look() -> Mapping[str, Activity]:
            argv = ["systemctl", "list-units", "--all", "--full", "--plain", "--no-legend", "--no-pager"]
            return parse_units(_asked(host, argv))

        units = host.recall("service:systemd", look)
        if name in units:
            return units[name]
        argv = ["systemctl", "show", "--property=LoadState,ActiveState,SubState", "--", name]
        return host.recall(f"service:systemd:{name}", lambda: parse_unit(_asked(host, argv)))

    def at_boot(self, host: Host, name: str) -> Boot:
        """From one `systemctl list-unit-files`, which also works in another root."""
        state = self._state(host, name)
        if state in _ASKED_ALONE:
            state = self._asked_alone(host, name) or state
        return Boot(state in _ENABLED, bool(state), _FIXED.get(state, ""))

    def start(self, host: Host, name: str, timeout_ms: int) -> None:
        """systemctl start."""
        self._act(host, "start", name, timeout_ms)

    def stop(self, host: Host, name: str, timeout_ms: int) -> None:
        """systemctl stop."""
        self._act(host, "stop", name, timeout_ms)

    def restart(self, host: Host, name: str, timeout_ms: int) -> None:
        """systemctl restart."""
        self._act(host, "restart", name, timeout_ms)

    def reload(self, host: Host, name: str, timeout_ms: int) -> None:
        """systemctl reload."""
        self._act(host, "reload", name, timeout_ms)

    def boot_files(self, host: Host, name: str, *, enabled: bool) -> tuple[FileChange, ...]:
        """None beforehand: which links they are is said in the unit, and read by systemctl."""
        return ()

    def set_boot(self, host: Host, name: str, *, enabled: bool) -> None:
        """systemctl enable or disable."""
        verb = "enable" if enabled else "disable"
        done = host.run(_systemctl(host, verb, "--quiet", "--", name))
        if done.status != 0:
            raise refusal(done, f"systemctl {verb} {name}", "look at the unit's [Install] section")

    def restore_boot(self, host: Host, name: str, was: Boot) -> None:
        """The other way round."""
        self.set_boot(host, name, enabled=was.enabled)

    def _act(self, host: Host, verb: str, name: str, timeout_ms: int) -> None:
        """One verb on one unit, once its file is read again where it changed. That one with an older date took its
        place, as a rollback does it, systemd does not notice: for a restart all files are read again."""
        self._check(host)
        stale = ["systemctl", "show", "--property=NeedDaemonReload", "--value", "--", name]
        if verb == "restart" or _asked(host, stale).strip() == "yes":
            self._run(host, ["systemctl", "daemon-reload"], "systemctl daemon-reload", "", timeout_ms)
        argv = ["systemctl", "--no-ask-password", "--no-pager", verb, "--", name]
        self._run(host, argv, f"systemctl {verb} {name}", f"journalctl -u {name} tells more", timeout_ms)

    def _check(self, host: Host) -> None:
        only_here(host, self.name)
        in_charge(host, self.name, systemd_runs(host))

    @staticmethod
    def _run(host: Host, argv: Sequence[str], what: str, hint: str, timeout_ms: int) -> CommandResult:
        done = host.run(argv, timeout_ms=timeout_ms)
        if done.status != 0:
            raise refusal(done, what, hint)
        return done

    def _state(self, host: Host, name: str) -> str:
        """What the unit file is; empty where there is none. An instance is what its template is, until it is asked
        about alone."""

        def look() -> Mapping[str, str]:
            argv = _systemctl(host, "list-unit-files", "--full", "--plain", "--no-legend", "--no-pager")
            return parse_unit_files(_asked(host, argv))

        files = host.recall(f"service:systemd-files:{target(host)}", look)
        if name in files:
            return files[name]
        head, at, rest = name.partition("@")
        template = f"{head}@.{rest.rpartition('.')[2]}"
        return "linked" if at and template in files else ""

    @staticmethod
    def _asked_alone(host: Host, name: str) -> str:
        argv = _systemctl(host, "is-enabled", "--", name)
        said: CommandResult = host.recall(f"service:systemd-enabled:{name}", lambda: host.ask(argv))
        return said.stdout.decode("utf-8", "replace").strip()


def _asked(host: Host, argv: Sequence[str]) -> str:
    done = host.ask(argv)
    if done.status != 0:
        raise refusal(done, " ".join(argv[:2]), "")
    return done.stdout.decode("utf-8", "replace")


def _systemctl(host: Host, *words: str) -> list[str]:
    root = target(host)
    return ["systemctl", *([] if root == "/" else [f"--root={root}"]), *words]


def parse_units(output: str) -> dict[str, Activity]:
    """`systemctl list-units`: name, load state, active state, substate and a description."""
    rows = (line.split(maxsplit=4) for line in output.splitlines())
    return {row[0]: _activity(row[2], row[3]) for row in rows if len(row) >= 4 and row[1] != "not-found"}


def parse_unit(output: str) -> Activity:
    """`systemctl show` of one unit."""
    fields = dict(line.partition("=")[::2] for line in output.splitlines())
    if fields.get("LoadState") == "not-found":
        return "unknown"
    return _activity(fields.get("ActiveState", ""), fields.get("SubState", ""))


def _activity(active: str, sub: str) -> Activity:
    if active == "failed":
        return "failed"
    if sub.startswith("auto-restart"):
        return "failing"
    return "running" if active in ("active", "reloading", "refreshing", "activating") else "stopped"


def parse_unit_files(output: str) -> dict[str, str]:
    """`systemctl list-unit-files`: name, state and the vendor's preset."""
    rows = (line.split() for line in output.splitlines())
    return {row[0]: row[1] for row in rows if len(row) >= 2}
