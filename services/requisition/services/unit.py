"""Systemd units of services, as hardened as what they do allows (systemd.exec(5))."""

import os
import re
from collections.abc import Iterator

from msgspec import Struct

from requisition.runtime.layout import write_durably
from requisition.schemas.diagnostic import BadInput, Conflicted

_ALWAYS = ("LimitCORE=0", "LockPersonality=yes", "RestrictRealtime=yes", "SystemCallArchitectures=native")
_CONFINED = (
    "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL",
    "MemoryDenyWriteExecute=yes",
    "NoNewPrivileges=yes",
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectSystem=strict",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallErrorNumber=EPERM",
    "SystemCallFilter=@system-service",
)


class Service(Struct, frozen=True, kw_only=True):
    """What the unit is about. `name` of the service; `command`: words, the program by its absolute path; `own`: folders
    that are made for it; `writable`: the only ones beside these that it writes to, None when it may be about the whole
    machine, and `open` says why; `reload`: whether HUP means something to it; `user`: for a user's own manager."""

    name: str
    description: str
    command: tuple[str, ...]
    own: tuple[str, ...]
    writable: tuple[str, ...] | None
    open: str = ""
    reload: bool = False
    user: bool = False

    @property
    def file(self) -> str:
        """The unit's file."""
        return f"requisition-{self.name}.service"

    @property
    def head(self) -> str:
        """Its first line, by which it is known as ours."""
        return f"# Written by `plan {self.name} install`, and again when that is run again."


def text(service: Service) -> str:
    """The unit. Pure. Raises BadInput for paths that cannot stand in one."""
    return "\n".join(_lines(service)) + "\n"


def _lines(service: Service) -> Iterator[str]:
    yield service.head
    yield from ("[Unit]", f"Description={service.description} (plan {service.name})")
    yield from () if service.user else ("Wants=network-online.target", "After=network-online.target")
    yield from ("", "[Service]", "Type=notify", f"ExecStart={' '.join(map(quoted, service.command))}")
    yield from ("ExecReload=kill -HUP $MAINPID",) if service.reload else ()
    yield from ("Restart=on-failure", "RestartSec=5", "KillMode=mixed", "TimeoutStopSec=180", "WatchdogSec=60")
    yield from ("RuntimeDirectory=requisition", "RuntimeDirectoryMode=0700", "RuntimeDirectoryPreserve=yes")
    yield from _ALWAYS
    if service.user:
        # A user's manager has no right to mount, which most of the rest needs; and this user has no more than itself.
        yield "NoNewPrivileges=yes"
    elif service.writable is None:
        yield f"# {service.open}"
    else:
        places = (*service.own, *service.writable)
        yield from _CONFINED
        yield f"PrivateTmp={'no' if any(_is_temporary(place) for place in places) else 'yes'}"
        yield from (f"ReadWritePaths={quoted('-' + place)}" for place in places)
    yield from ("", "[Install]", f"WantedBy={'default' if service.user else 'multi-user'}.target")


def _is_temporary(path: str) -> bool:
    return f"{path}/".startswith(("/tmp/", "/var/tmp/"))  # noqa: S108  (it is asked, not used)


def quoted(word: str) -> str:
    """A word as systemd.syntax(7) reads it: specifiers and variables stay what they are. Raises BadInput."""
    if not word.isprintable():
        raise BadInput.of(f"{word!r} cannot stand in a systemd unit", next="use another name")
    word = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w@%+=:,./$-]+", word, re.ASCII):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def save(path: str, service: Service) -> bool:
    """Write it, unless it is there as it must be; whether it was written. Raises Conflicted when a unit of that name is
    there that was written by somebody else."""
    unit = text(service)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            before = file.read()
    except FileNotFoundError:
        before = ""
    if before == unit:
        return False
    if before and not before.startswith(service.head):
        raise Conflicted.of("there is a unit that is not ours", where=path, next="move it away, or use --to")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_durably(path, unit.encode(), 0o644)
    return True
