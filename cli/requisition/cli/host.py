"""Far machines as people name them: `ssh://[user@]host[:port][/path/to/plan-runtime]`."""

import re
from typing import Any

import click
from msgspec import Struct

from requisition.schemas.diagnostic import BadInput

# ssh hands the last part to a shell over there: it is made of characters that mean nothing to one.
_URL = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})@)?"
    r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9_.-]{1,32})?\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<program>/[A-Za-z0-9_./+-]{0,200})?"
)


class Host(Struct, frozen=True):
    """One far machine. `name` may be an alias of ~/.ssh/config; `program` is its plan-runtime."""

    name: str
    user: str = ""
    port: int = 0
    program: str = "plan-runtime"

    @property
    def label(self) -> str:
        """How it is called in messages and folders: `user@host:port`."""
        user = f"{self.user}@" if self.user else ""
        return f"{user}{self.name}" + (f":{self.port}" if self.port else "")

    @property
    def url(self) -> str:
        """As it was given, for the commands that messages suggest."""
        return f"ssh://{self.label}" + (self.program if self.program.startswith("/") else "")

    def command(self) -> list[str]:
        """The argument vector of ssh. The person's own ~/.ssh/config applies; nothing is forwarded, nobody is
        asked, and how host keys are checked is left as it is."""
        vector = ["ssh", "-T", "-a", "-x", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=15"]
        vector += ["-l", self.user] if self.user else []
        vector += ["-p", str(self.port)] if self.port else []
        return [*vector, "--", self.name.strip("[]"), self.program, "remote"]


def parse_host(text: str) -> Host:
    """Read a URL. Raises BadInput."""
    found = _URL.fullmatch(text)
    port = int(found["port"] or 0) if found else 0
    if found is None or port > 65535 or (found["port"] and not port):
        raise BadInput.of(
            f"{text[:80]!r} does not name a host",
            next="write ssh://user@host, ssh://user@host:2222, or ssh://host/path/to/plan-runtime",
        )
    program = found["program"] or ""
    return Host(found["name"], found["user"] or "", port, program if program.strip("/") else "plan-runtime")


def _parsed(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Host | None:
    return parse_host(value) if value else None


host_option = click.option(
    "--host", metavar="URL", callback=_parsed, help="Do it at the far end of ssh: ssh://user@host[:port]."
)


def only_here(host: Host | None, options: dict[str, Any]) -> None:
    """Raises BadInput for options that a far machine decides by itself."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if host is not None and given:
        raise BadInput.of(
            f"{', '.join(given)} cannot be used with --host",
            why="trust and state of a far machine are decided there",
            next=f"leave it out; plan trust, run on {host.label}, says whose orders count there",
        )
