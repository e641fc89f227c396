"""delivery.yaml as it is written: where folders are shipped to, how fast, how carefully, and what becomes of them.

version: "1"
roots: [/srv/runs]
destinations:
  nas: {kind: rsync, host: backup@nas.example, path: /volume1/runs, identity: ~/.ssh/id_delivery}
  disk: {kind: local, path: /mnt/archive}
  cloud: {kind: rclone, remote: "box:runs", workers: 4}
cleanup: {enabled: true, passes: 2, min_age: 24h}

What it means, in seconds and bytes, is `services/delivery/config.py`.
"""

from typing import Literal

from msgspec import Struct, field

NAMES = Literal["posix", "windows"]


class WindowEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """When another limit holds: on `days` (mon … sun; all when left out), from a time of day to another ("22:00",
    "24:00"), which is on the next day when it is not later. `limit`: a rate, `paused` or `unlimited`."""

    limit: str
    start: str = field(name="from")
    end: str = field(name="to")
    days: tuple[str, ...] = ()


class BandwidthEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """How fast: a rate ("20MB/s", "100Mbit/s"), `paused` or `unlimited`, and windows of the week in a time zone
    (IANA name) in which something else holds; the first one that is open counts."""

    limit: str = "unlimited"
    zone: str = "UTC"
    windows: tuple[WindowEntry, ...] = ()


class VerifyEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """`stream_limit`: how much is read back, at most, from a far end that cannot compute SHA-256 itself."""

    stream_limit: str = "10GiB"


class DestinationEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One place to ship to. `local`: `path`, a folder. `rsync`: `host` ([user@]host), `port`, `path` there, `identity`
    and `known_hosts` files; the user's own when left out. `rclone`: `remote` ("name:path") of `rclone_config`.
    `workers`: jobs at a time. `names`: whose rules file names must obey there."""

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
    bandwidth: BandwidthEntry = BandwidthEntry()
    verify: VerifyEntry = VerifyEntry()


class GateEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """What is looked for before a folder is shipped, by class of finding: names, placeholders, empty, size, manifest,
    secrets, and those of plug-ins. `hard` ones block, `soft` ones are told, `off` ones are not looked for; a class
    that is named nowhere is as its validator says. `max_file`, `max_total`: sizes, "" for none. `manifest`: a file
    that each folder must have, "" for none."""

    hard: tuple[str, ...] = ()
    soft: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    max_file: str = ""
    max_total: str = ""
    manifest: str = ""


class RetryEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """How long to wait after each failure that may pass by itself; after the last one the job has failed."""

    delays: tuple[str, ...] = ("30s", "2m", "8m", "30m", "2h")


class CleanupEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether a source is deleted once `passes` verifications, each `interval` after the one before, have found all
    of it at the far end, and the first one is `min_age` ago."""

    enabled: bool = False
    passes: int = 2
    min_age: str = "24h"
    interval: str = "12h"


class DeliveryFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The file. `roots`: the folders within which every source lies. `socket`: where the service listens, when not at
    its usual place. `listen`: "host:port" of the status page and the metrics; none when left out."""

    version: Literal["1"]
    roots: tuple[str, ...]
    destinations: dict[str, DestinationEntry]
    gate: GateEntry = GateEntry()
    retry: RetryEntry = RetryEntry()
    cleanup: CleanupEntry = CleanupEntry()
    socket: str = ""
    listen: str = ""
