"""Reads delivery.yaml: every mistake at once, each with its line and column, and what to write instead."""

import os
import re
from collections.abc import Callable
from typing import TypeVar
from zoneinfo import ZoneInfo

from requisition.schemas import quantities, strictyaml
from requisition.schemas.deliveryfile import (
    BandwidthEntry,
    CleanupEntry,
    DeliveryFile,
    DestinationEntry,
    GateEntry,
    RetryEntry,
    WindowEntry,
)
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.findings import Path, Problem, placed
from requisition.schemas.guarded import read_guarded
from requisition.services.delivery.config import (
    PAUSED,
    Bandwidth,
    Cleanup,
    Delivery,
    Destination,
    Gate,
    Retry,
    Verify,
    Window,
)

T = TypeVar("T")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_HOST = re.compile(r"([A-Za-z_][A-Za-z0-9._-]{0,63}@)?([A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])\Z")
_REMOTE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@ -]{0,100}:[^\x00-\x1f]*\Z")
_TIME = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])\Z")
_OWN_FIELDS = {
    "local": {"path"},
    "rsync": {"path", "host", "port", "identity", "known_hosts"},
    "rclone": {"remote", "rclone_config"},
}
_MAX_WORKERS = 32


def load(path: str) -> Delivery:
    """Read the configuration. Raises BadInput with every mistake, Refused when others may write the file."""
    why = "whoever can write it decides where folders go, and what is deleted"
    text = read_guarded(path, "delivery.yaml", why=why, missing="write one: docs/delivery.md")
    return parse(text, path)


def parse(text: bytes | str, where: str) -> Delivery:
    """The configuration in a text. Raises BadInput with every mistake, each at its line and column."""
    value, positions = strictyaml.load(text, where)
    if isinstance(value, dict) and value.get("version") == 1:
        value["version"] = "1"  # what it must be is plain, with or without quotes
    found = strictyaml.typed(value, positions, where, DeliveryFile)
    reading = _Reading()
    made = reading.delivery(found, where)
    if reading.problems:
        raise BadInput(placed(one, positions, where) for one in reading.problems)
    return made


class _Reading:
    """Turns entries into what they mean, and keeps every problem on the way."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def delivery(self, file: DeliveryFile, where: str) -> Delivery:
        if not file.roots:
            self._wrong(("roots",), "no folder may be shipped", "name the folders that sources lie in")
        if not file.destinations:
            self._wrong(("destinations",), "there is no destination", "name one: docs/delivery.md")
        return Delivery(
            roots=tuple(self._path(("roots", n), root) for n, root in enumerate(file.roots)),
            destinations={name: self._destination(name, entry) for name, entry in file.destinations.items()},
            gate=self._gate(file.gate),
            retry=self._retry(file.retry),
            cleanup=self._cleanup(file.cleanup),
            socket=self._path(("socket",), file.socket) if file.socket else "",
            listen=self._address(file.listen),
            where=where,
        )

    def _destination(self, name: str, entry: DestinationEntry) -> Destination:
        at: Path = ("destinations", name)
        if not _NAME.match(name):
            self._wrong(at, f"{name!r} is no name", "write it of small letters, digits, '.', '_' and '-'")
        self._check_kind(at, entry)
        if not 1 <= entry.workers <= _MAX_WORKERS:
            self._wrong((*at, "workers"), f"workers: {entry.workers}", f"give 1 to {_MAX_WORKERS}")
        local = entry.kind == "local" and entry.path
        return Destination(
            name=name,
            kind=entry.kind,
            path=self._path((*at, "path"), entry.path) if local else entry.path.rstrip("/") or entry.path,
            host=entry.host,
            port=entry.port,
            identity=self._path((*at, "identity"), entry.identity) if entry.identity else "",
            known_hosts=self._path((*at, "known_hosts"), entry.known_hosts) if entry.known_hosts else "",
            remote=entry.remote,
            rclone_config=self._path((*at, "rclone_config"), entry.rclone_config) if entry.rclone_config else "",
            workers=entry.workers,
            names=entry.names,
            bandwidth=self._bandwidth((*at, "bandwidth"), entry.bandwidth),
            verify=Verify(self._read((*at, "verify", "stream_limit"), entry.verify.stream_limit, quantities.size, 0)),
        )

    def _check_kind(self, at: Path, entry: DestinationEntry) -> None:
        own = _OWN_FIELDS[entry.kind]
        for name in sorted(set().union(*_OWN_FIELDS.values()) - own):
            if getattr(entry, name) != getattr(DestinationEntry("local"), name):
                self._wrong((*at, name), f"{name!r} means nothing for {entry.kind}", "remove it")
        for name in sorted(own & {"path", "host", "remote"}):
            if not getattr(entry, name):
                self._wrong(at, f"{name!r} is missing for {entry.kind}", f"add {name}: …")
        if entry.host and not _HOST.match(entry.host):
            self._wrong((*at, "host"), f"{entry.host!r} is no host", "write host or user@host")
        if not 1 <= entry.port <= 65535:
            self._wrong((*at, "port"), f"port: {entry.port}", "give 1 to 65535")
        if entry.remote and not _REMOTE.match(entry.remote):
            self._wrong((*at, "remote"), f"{entry.remote!r} is no remote", 'write "name:path", a name of rclone config')
        if entry.path.startswith("-") or re.search(r"[\x00-\x1f]|(^|/)\.\.(/|$)", entry.path):
            self._wrong((*at, "path"), f"{entry.path!r} is no path", "write it plainly, without '..'")

    def _bandwidth(self, at: Path, entry: BandwidthEntry) -> Bandwidth:
        try:
            ZoneInfo(entry.zone)
        except (OSError, ValueError, KeyError):
            self._wrong((*at, "zone"), f"there is no time zone {entry.zone!r}", "write it as Europe/Zurich")
        windows = tuple(self._window((*at, "windows", n), one) for n, one in enumerate(entry.windows))
        return Bandwidth(self._limit((*at, "limit"), entry.limit), entry.zone, windows)

    def _window(self, at: Path, entry: WindowEntry) -> Window:
        unknown = [day for day in entry.days if day not in DAYS]
        if unknown:
            self._wrong((*at, "days"), f"{unknown[0]!r} is no day", f"write {', '.join(DAYS)}")
        days = frozenset(DAYS.index(day) for day in entry.days if day in DAYS) if entry.days else frozenset(range(7))
        start, end = self._minute((*at, "from"), entry.start), self._minute((*at, "to"), entry.end)
        if start == 24 * 60:
            self._wrong((*at, "from"), "a window cannot begin at 24:00", 'write from: "00:00"')
        return Window(days, start, end, self._limit((*at, "limit"), entry.limit))

    def _minute(self, at: Path, text: str) -> int:
        found = _TIME.match(text)
        minute = int(found[1]) * 60 + int(found[2]) if found else -1
        if not 0 <= minute <= 24 * 60:
            self._wrong(at, f"{text!r} is no time of day", 'write it as "08:30", in quotes')
            return 0
        return minute

    def _limit(self, at: Path, text: str) -> int | None:
        if text == "unlimited":
            return None
        return PAUSED if text == "paused" else self._read(at, text, quantities.rate, 1)

    def _gate(self, entry: GateEntry) -> Gate:
        named: dict[str, str] = {}
        for where in ("hard", "soft", "off"):
            for number, one in enumerate(getattr(entry, where)):
                if one in named:
                    what = f"{one!r} stands under {named[one]!r}, too"
                    self._wrong(("gate", where, number), what, "leave one of them")
                named[one] = where
        if entry.manifest and (os.path.isabs(entry.manifest) or ".." in entry.manifest.split("/")):
            self._wrong(("gate", "manifest"), f"{entry.manifest!r} lies outside", "write a path within the folder")
        return Gate(
            frozenset(entry.hard),
            frozenset(entry.soft),
            frozenset(entry.off),
            self._read(("gate", "max_file"), entry.max_file, quantities.size, 0) if entry.max_file else 0,
            self._read(("gate", "max_total"), entry.max_total, quantities.size, 0) if entry.max_total else 0,
            entry.manifest,
        )

    def _retry(self, entry: RetryEntry) -> Retry:
        at = ("retry", "delays")
        return Retry(tuple(self._read((*at, n), text, quantities.seconds, 0.0) for n, text in enumerate(entry.delays)))

    def _cleanup(self, entry: CleanupEntry) -> Cleanup:
        if not 1 <= entry.passes <= 100:
            self._wrong(("cleanup", "passes"), f"passes: {entry.passes}", "give 1 to 100")
        return Cleanup(
            entry.enabled,
            entry.passes,
            self._read(("cleanup", "min_age"), entry.min_age, quantities.seconds, 0.0),
            self._read(("cleanup", "interval"), entry.interval, quantities.seconds, 0.0),
        )

    def _path(self, at: Path, text: str) -> str:
        path = os.path.expanduser(text)
        if not os.path.isabs(path) or "\x00" in path:
            self._wrong(at, f"{text!r} is not absolute", "write it from /, or from ~")
        return os.path.normpath(path)

    def _address(self, text: str) -> str:
        host, _, port = text.rpartition(":")
        if text and not (host and port.isascii() and port.isdigit() and int(port) < 65536):
            self._wrong(("listen",), f"{text!r} is no address", 'write "127.0.0.1:8780"')
        return text

    def _read(self, at: Path, text: str, reader: Callable[[str], T], otherwise: T) -> T:
        try:
            return reader(text)
        except BadInput as failure:
            self.problems.extend(Problem(at, one.what, one.next) for one in failure.diagnostics)
            return otherwise

    def _wrong(self, at: Path, what: str, advice: str) -> None:
        self.problems.append(Problem(at, what, advice))
