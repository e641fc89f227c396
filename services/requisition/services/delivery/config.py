"""delivery.yaml as the queue uses it: seconds, bytes, absolute paths, and nothing that contradicts itself."""

import os
from typing import Literal

from msgspec import Struct

from requisition.runtime.places import config_dir
from requisition.schemas.deliveryfile import NAMES
from requisition.schemas.diagnostic import BadInput

PAUSED = 0


class Window(Struct, frozen=True):
    """On `days` (0 is Monday), from minute `start` of the day to minute `end`, of the next day where it is not later:
    `limit` bytes a second, None for no limit, 0 for nothing at all."""

    days: frozenset[int]
    start: int
    end: int
    limit: int | None


class Bandwidth(Struct, frozen=True):
    """Bytes a second (None no limit, 0 paused), and the windows in which another limit holds; the first open one
    counts. `zone`: IANA name of the time zone that days and times of day are of."""

    limit: int | None = None
    zone: str = "UTC"
    windows: tuple[Window, ...] = ()


class Verify(Struct, frozen=True):
    """`stream_limit`: bytes that may be read back from a far end that has no SHA-256 of its own."""

    stream_limit: int = 10 << 30


class Destination(Struct, frozen=True):
    """One place to ship to. `path` is absolute for `local`; for `rsync` absolute or of the account's home; `identity`,
    `known_hosts`, `rclone_config` are absolute or "" (the user's own); `remote` is "name:path" of rclone."""

    name: str
    kind: Literal["local", "rsync", "rclone"]
    path: str = ""
    host: str = ""
    port: int = 22
    identity: str = ""
    known_hosts: str = ""
    remote: str = ""
    rclone_config: str = ""
    workers: int = 1
    names: NAMES = "posix"
    bandwidth: Bandwidth = Bandwidth()
    verify: Verify = Verify()


class Gate(Struct, frozen=True):
    """Classes of findings that block, are told, or are not looked for; sizes in bytes, 0 for no limit; `manifest`: the
    file that every folder must have, "" for none."""

    hard: frozenset[str] = frozenset()
    soft: frozenset[str] = frozenset()
    off: frozenset[str] = frozenset()
    max_file: int = 0
    max_total: int = 0
    manifest: str = ""


class Retry(Struct, frozen=True):
    """Seconds to wait after the first, second, … failure of a kind that may pass by itself."""

    delays: tuple[float, ...] = (30.0, 120.0, 480.0, 1800.0, 7200.0)


class Cleanup(Struct, frozen=True):
    """When a source may be deleted: after `passes` verifications that lie `interval` seconds apart at least, the first
    of them `min_age` seconds ago at least; never when not `enabled`."""

    enabled: bool = False
    passes: int = 2
    min_age: float = 86400.0
    interval: float = 43200.0


class Delivery(Struct, frozen=True):
    """The whole configuration. `roots`: absolute folders within which every source lies. `socket`, `listen`: "" for
    the usual place, and for no page. `where`: the file."""

    roots: tuple[str, ...]
    destinations: dict[str, Destination]
    gate: Gate = Gate()
    retry: Retry = Retry()
    cleanup: Cleanup = Cleanup()
    socket: str = ""
    listen: str = ""
    where: str = ""

    def destination(self, name: str) -> Destination:
        """The destination of that name. Raises BadInput with the names there are."""
        if name not in self.destinations:
            raise BadInput.of(
                f"there is no destination {name!r}", where=self.where, next=f"one of {', '.join(self.destinations)}"
            )
        return self.destinations[name]


def default_path() -> str:
    """Where delivery.yaml lies when nothing else is said."""
    if os.geteuid() == 0 and not os.environ.get("XDG_CONFIG_HOME"):
        return "/etc/requisition/delivery.yaml"
    return os.path.join(config_dir(), "delivery.yaml")
