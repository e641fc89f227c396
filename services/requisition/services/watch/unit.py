"""The systemd unit of the daemon, as hardened as its watches allow (systemd.exec(5)).

A watch that names its target root needs to write there only. One that does not may be about the whole machine, and
then nothing of the machine can be closed to the daemon, or what a package is for would fail.
"""

import os
import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

from requisition.runtime.layout import write_durably
from requisition.schemas.diagnostic import BadInput, Conflicted
from requisition.services.watch.config import Watch

NAME = "requisition-watch.service"
HEAD = "# Written by `plan watch install`, and again when that is run again."
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
    """What the unit is about. `command`: words, the program by its absolute path; `writable`: folders beside `roots`
    that it writes to; `roots`: target roots, None when they are not all named; `user`: for a user's own manager."""

    command: tuple[str, ...]
    writable: tuple[str, ...]
    roots: tuple[str, ...] | None
    user: bool = False


def roots_of(watches: Iterable[Watch]) -> tuple[str, ...] | None:
    """Target roots of watches, if each names one and none is the machine itself."""
    roots = {watch.root for watch in watches}
    return None if roots & {"", "/"} else tuple(sorted(roots))


def text(service: Service) -> str:
    """The unit. Pure. Raises BadInput for paths that cannot stand in one."""
    return "\n".join(_lines(service)) + "\n"


def _lines(service: Service) -> Iterator[str]:
    yield HEAD
    yield from ("[Unit]", "Description=Keeps this machine at the newest commits that may be trusted (plan watch)")
    yield from () if service.user else ("Wants=network-online.target", "After=network-online.target")
    yield from ("", "[Service]", "Type=notify", f"ExecStart={' '.join(map(quoted, service.command))}")
    yield from ("Restart=on-failure", "RestartSec=5", "KillMode=mixed", "TimeoutStopSec=180")
    yield from ("RuntimeDirectory=requisition", "RuntimeDirectoryMode=0700", "RuntimeDirectoryPreserve=yes")
    yield from _ALWAYS
    if service.user:
        # A user's manager has no right to mount, which most of the rest needs; and this user has no more than itself.
        yield "NoNewPrivileges=yes"
    elif service.roots is None:
        yield "# A watch names no target root but the machine itself: nothing of it is closed to the daemon."
    else:
        places = (*service.writable, *service.roots)
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


def save(path: str, unit: str) -> bool:
    """Write it, unless it is there as it must be; whether it was written. Raises Conflicted when a unit of that name is
    there that was written by somebody else."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            before = file.read()
    except FileNotFoundError:
        before = ""
    if before == unit:
        return False
    if before and not before.startswith(HEAD):
        raise Conflicted.of("there is a unit that is not ours", where=path, next="move it away, or use --to")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_durably(path, unit.encode(), 0o644)
    return True
