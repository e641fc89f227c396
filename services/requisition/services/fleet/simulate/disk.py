"""What the simulation's server wrote: dictionaries that survive its crashes, filled by the applier of every server."""

from typing import Any

from requisition.services.fleet import effects
from requisition.services.fleet.applier import Change, execute
from requisition.services.fleet.events import Record
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.rollout import Tip
from requisition.services.fleet.state import Dispatch, FleetState, HostState, RolloutState
from requisition.services.fleet.store import Kind, Paper, Row, Saved


class Disk:
    """`store.Rows` in memory. The log is kept whole, for those who look at what became of it all."""

    def __init__(self) -> None:
        self.rows: dict[Kind, dict[str, Any]] = {kind: {} for kind in Kind}
        self.nonces: dict[str, int] = {}
        self.log: list[Record] = []
        self.documents: dict[str, Layout] = {}
        self.tips: dict[str, Tip] = {}
        self.log_from = 0

    @property
    def hosts(self) -> dict[str, HostState]:
        """The records of hosts."""
        return self.rows[Kind.HOST]

    @property
    def rollouts(self) -> dict[str, RolloutState]:
        """The records of rollouts."""
        return self.rows[Kind.ROLLOUT]

    @property
    def outbox(self) -> dict[str, Dispatch]:
        """What hosts are to be given."""
        return self.rows[Kind.OUTBOX]

    def load(self, now: int) -> FleetState:
        """The state as the rows have it, after a start at `now`."""
        rows = {kind: tuple(found.values()) for kind, found in self.rows.items()}
        saved = Saved(
            number=len(self.log),
            log_from=self.log_from,
            hosts=rows[Kind.HOST],
            rollouts=rows[Kind.ROLLOUT],
            channels=rows[Kind.CHANNEL],
            quarantined=rows[Kind.QUARANTINE],
            nonces=dict(self.nonces),
            hinted=dict(self.rows[Kind.HINT]),
            settings=self.rows[Kind.SETTINGS].get("", Saved().settings),
        )
        return saved.fleet(dict(self.documents), now)

    def apply(self, effect: effects.Effect, now: int) -> None:
        """One effect, as the applier does it."""
        execute(effect, Change(len(self.log) + 1, now, (effect,)), self)

    # -- store.Rows

    def append(self, record: Record) -> None:
        """See `store.Rows`."""
        self.log_from = self.log_from or record.at
        self.log.append(record)

    def put(self, kind: Kind, name: str, row: Row) -> None:
        """See `store.Rows`."""
        self.rows[kind][name] = row

    def keep(self, kind: Kind, name: str, row: Row) -> None:
        """See `store.Rows`."""
        self.rows[kind].setdefault(name, row)

    def drop(self, kind: Kind, name: str) -> None:
        """See `store.Rows`."""
        self.rows[kind].pop(name, None)

    def use_nonce(self, nonce: str, at: int, forget: int) -> None:
        """See `store.Rows`."""
        self.nonces = {name: used for name, used in self.nonces.items() if used >= forget} | {nonce: at}

    def discard(self, paper: Paper, name: str) -> None:
        """See `store.Rows`."""
        if paper is Paper.ROLLOUT:
            self.documents.pop(name, None)

    def cut(self, before: int) -> None:
        """See `store.Rows`."""
        self.log_from = before
