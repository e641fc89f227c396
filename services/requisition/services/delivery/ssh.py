"""Commands at the far end of ssh: nobody is asked, no host is trusted for the first time, nothing is forwarded.

ssh joins its words and hands them to a shell over there (ssh(1)): each is quoted for POSIX shells, and what a command
works on is an argument of its script, never a part of it.
"""

import re
import shlex
from collections.abc import Callable, Mapping

from msgspec import Struct

from requisition.schemas.diagnostic import BadInput
from requisition.services.processes import Ended, Limits, run

_UNPLAIN = re.compile(r"""[\x00-\x1f\x7f"'\\%$]""")
_OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=20",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ControlMaster=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "LogLevel=ERROR",
)
QUICK = Limits(total=120, grace=0.5)
_SILENCE = 600
_SLOWEST = 1 << 20


def patience(silent_bytes: int) -> Limits:
    """For a program that may say nothing while it reads so many bytes, at a MiB a second if it must. That the other
    machine is still there, ssh asks by itself (`ServerAliveInterval`)."""
    return Limits(silence=_SILENCE + silent_bytes / _SLOWEST, grace=QUICK.grace)


class Ssh(Struct, frozen=True):
    """A way to a host. `host`: name or user@name, IPv6 in brackets; `identity`, `known_hosts`: absolute paths, "" for
    the user's own; `environ`: of ssh."""

    host: str
    port: int
    identity: str
    known_hosts: str
    environ: Mapping[str, str]

    def __post_init__(self) -> None:
        """Raises BadInput for a path that ssh would read as something else."""
        for path in (self.identity, self.known_hosts):
            if _UNPLAIN.search(path):
                raise BadInput.of(
                    f"{path!r} cannot be given to ssh", why="ssh expands % and $, and has no way to write quotes",
                    next="move the file",
                )  # fmt: skip

    def program(self) -> list[str]:
        """ssh and its options, without the host."""
        words = ["ssh", "-T", "-p", str(self.port)]
        for option in _OPTIONS:
            words += ["-o", option]
        if self.identity:
            words += ["-o", "IdentitiesOnly=yes", "-i", self.identity]
        if self.known_hosts:
            words += ["-o", f'UserKnownHostsFile="{self.known_hosts}"', "-o", "GlobalKnownHostsFile=/dev/null"]
        return words

    async def run(
        self,
        script: str,
        *arguments: str | bytes,
        stdin: bytes = b"",
        limits: Limits = QUICK,
        on_out: Callable[[bytes], None] | None = None,
    ) -> Ended:
        """Run a script of POSIX sh over there, with arguments $1, $2, …"""
        words = ["exec", "sh", "-c", script, "requisition", *(_decoded(one) for one in arguments)]
        host = self.host.replace("[", "").replace("]", "")
        command = " ".join(shlex.quote(word) for word in words)
        argv = [*self.program(), "--", host, command]
        return await run(argv, env=self.environ, stdin=stdin, limits=limits, on_out=on_out)


def _decoded(argument: str | bytes) -> str:
    return argument if isinstance(argument, str) else argument.decode(errors="surrogateescape")
