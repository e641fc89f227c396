"""Which hosts are meant: the language of conditions (docs/package.md) over what fleet.yaml says of a host.

    all
    channel == "web" and "canary" in tags
    name startswith "db" or platform in ["linux/arm64", "linux/amd64"]

`all` means every host. A name that stands alone means the host of that name.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

from requisition.tree.selection import condition

EVERY = "all"


class HostFacts(Struct, frozen=True):
    """What a selector may ask of a host."""

    name: str
    channel: str
    platform: str
    tags: tuple[str, ...] = ()

    def names(self) -> Mapping[str, Any]:
        """As the language of conditions has it."""
        return {"name": self.name, "channel": self.channel, "platform": self.platform, "tags": list(self.tags)}


def selector(text: str, where: str) -> Callable[[HostFacts], bool]:
    """The test that a selector stands for. Raises BadInput, with a caret below the column, when it is none."""
    if text == EVERY:
        return lambda _: True
    if text and all(char.isalnum() or char in "._-" for char in text):
        return lambda host: host.name == text
    test = condition(text, where, "a host")
    return lambda host: test(host.names())


def selected(text: str, hosts: Iterable[HostFacts], where: str) -> tuple[str, ...]:
    """Names of the hosts that are meant, sorted. Raises BadInput."""
    test = selector(text, where)
    return tuple(sorted(host.name for host in hosts if test(host)))
