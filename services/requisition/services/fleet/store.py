"""Where a server keeps its fleet: the seam behind which SQLite and PostgreSQL are the same (`store_sqlite`,
`store_postgres`).

One transaction takes in one event or several: the rows of the log, the records that they changed, and what hosts are to
be given. Who may write is who holds the seat (`lease`): each transaction names the seat's number, and fails with
another one. A server that was cut off and comes back therefore writes nothing, whatever it believes.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Literal, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from requisition.schemas.diagnostic import Conflicted
from requisition.services.fleet.events import Record
from requisition.services.fleet.fold import fold
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.state import (
    ChannelState,
    Dispatch,
    FleetState,
    HostState,
    Quarantined,
    RolloutState,
    Settings,
)

T = TypeVar("T")
About = Literal["", "host", "rollout"]
ROWS = 1_000


class Fenced(Conflicted):
    """Another server plans now; this one writes nothing any more."""


class Kind(StrEnum):
    """What a row is of; its name is the host's, rollout's, channel's, key slot's, or channel and order. There is one
    row of the settings, without a name."""

    HOST = "host"
    ROLLOUT = "rollout"
    CHANNEL = "channel"
    QUARANTINE = "quarantine"
    HINT = "hint"
    SETTINGS = "settings"
    OUTBOX = "outbox"


class Paper(StrEnum):
    """Which signed document: a rollout by its id, a channel's tip, an order by its digest, or one of the fleet's own
    (revocations, enrolment) by what it is."""

    ROLLOUT = "rollout"
    TIP = "tip"
    ORDER = "order"
    FLEET = "fleet"


Row = HostState | RolloutState | ChannelState | Quarantined | Settings | Dispatch | int


class Saved(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state as it is kept, as of log record `number`: without documents and presence."""

    number: int = 0
    log_from: int = 0
    hosts: tuple[HostState, ...] = ()
    rollouts: tuple[RolloutState, ...] = ()
    channels: tuple[ChannelState, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    nonces: Mapping[str, int] = {}
    hinted: Mapping[str, int] = {}
    settings: Settings = Settings()

    def fleet(self, layouts: Mapping[str, Layout], up_since: int) -> FleetState:
        """The state of a server that begins to listen at `up_since`, with these documents at hand."""
        return FleetState(
            number=self.number,
            log_from=self.log_from,
            hosts={host.name: host for host in self.hosts},
            rollouts={rollout.id: rollout for rollout in self.rollouts},
            channels={channel.name: channel for channel in self.channels},
            quarantined={(one.channel, one.order): one for one in self.quarantined},
            nonces=self.nonces,
            hinted=self.hinted,
            settings=self.settings,
            layouts=layouts,
            up_since=up_since,
        )


class Seat(Struct, frozen=True):
    """Who plans: `number` grows by one with each change of the holder ("" for nobody), `beat` with each sign of
    life."""

    number: int
    holder: str
    beat: int


class Rows(Protocol):
    """What effects change. Each change is the same when it is done twice, but `append`: a number is used once."""

    def append(self, record: Record) -> None:
        """The next row of the log. Raises Conflicted when its number is not the next one."""

    def put(self, kind: Kind, name: str, row: Row) -> None:
        """The row is this now."""

    def keep(self, kind: Kind, name: str, row: Row) -> None:
        """The row is this, unless there is one: the first stays."""

    def drop(self, kind: Kind, name: str) -> None:
        """There is no such row."""

    def use_nonce(self, nonce: str, at: int, forget: int) -> None:
        """The nonce was used; those from before `forget` are deleted."""

    def discard(self, paper: Paper, name: str) -> None:
        """The document is no longer needed."""

    def cut(self, before: int) -> None:
        """Keep the state as it is now for `Store.base`, and delete rows of the log from before."""


class Transaction(Rows, Protocol):
    """Changes that all happen or none."""

    def file(self, paper: Paper, name: str, data: bytes) -> None:
        """The document is this now."""


class Store(Protocol):
    """A store, used by one thread at a time. All methods raise Failed when it cannot be reached or written."""

    def transaction(self, seat: int) -> AbstractContextManager[Transaction]:
        """A block that writes, durable when it is left. Raises Fenced when the seat has another number."""

    def load(self) -> Saved:
        """The state as it is."""

    def base(self) -> Saved:
        """The state that the rows of the log after `number` add to."""

    def log(self, after: int, most: int = ROWS, *, about: About = "", name: str = "") -> list[Record]:
        """Rows of the log with a higher number than `after`, in order; all, or those about a host or a rollout."""

    def outbox(self, host: str) -> Dispatch | None:
        """What the host is given when it asks."""

    def put_paper(self, paper: Paper, name: str, data: bytes) -> None:
        """Keep a document that was verified, as it was received."""

    def paper(self, paper: Paper, name: str) -> bytes | None:
        """A document."""

    def papers(self, paper: Paper) -> dict[str, bytes]:
        """All documents of a sort, by name."""

    def seat(self) -> Seat:
        """Who plans."""

    def sit(self, seen: Seat, holder: str) -> Seat | None:
        """Take the seat, if it is still as it was seen; None if it is not."""

    def beat(self, seat: Seat) -> Seat | None:
        """Give a sign of life; None when another one has the seat."""

    def leave(self, seat: Seat) -> None:
        """Give the seat up, if its number is still this one."""

    def close(self) -> None:
        """End."""


def rebuilt(store: Store, layouts: Mapping[str, Layout]) -> FleetState:
    """The state as the log has it: what `load` gives must be the same. Of a store that nobody writes to."""
    fleet = store.base().fleet(layouts, 0)
    while rows := store.log(fleet.number):
        fleet = fold(fleet, rows)
    return replace(fleet, layouts=layouts)


class Clerk:
    """A store at which an asyncio loop works without waiting for the disk: one thread, in the order asked."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fleet-store")

    async def do(self, work: Callable[[Store], T]) -> T:
        """What the work gives. It goes on to its end even if nobody waits for it any more."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self.store)

    def close(self) -> None:
        """Do what was asked, then end."""
        self._thread.shutdown(wait=True)
        self.store.close()
