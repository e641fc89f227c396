"""A turn of the mutator: what comes in together is taken in together, and asks for one thing to be written.

Nothing here touches anything but the turn itself: one that fails half way is thrown away, and never was.
"""

from collections.abc import Sequence

from msgspec import Struct

from requisition.services.fleet import effects, events
from requisition.services.fleet.applier import Change
from requisition.services.fleet.fold import apply, heard, known
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.offers import offer_for
from requisition.services.fleet.rollout import Tip
from requisition.services.fleet.state import Dispatch, FleetState
from requisition.services.fleet.store import Paper


class Answer(Struct, frozen=True):
    """To a host that asked: the server's time; up to where its reports are on the disk (0: nothing new is); from where
    they are missing (0: nowhere); what it is to do, if anything."""

    at: int
    acknowledged: int
    missing: int
    offer: Dispatch | None


class Turn:
    """One entry of the inbox in the hands of the mutator: the state, and what changed of it. `run`: which run of the
    mutator it is; another one begins when a write failed."""

    def __init__(self, fleet: FleetState, now: int, run: int) -> None:
        self.fleet, self.now, self.run = fleet, now, run
        self.changes: list[Change] = []

    def take(self, event: events.Event) -> Change:
        """An event happens."""
        self.fleet, found = apply(self.fleet, event, self.now)
        return self._changed(found)

    def hear(self, word: events.Heartbeat) -> Change:
        """A host was heard of."""
        self.fleet, found = heard(self.fleet, word, self.now)
        return self._changed(found)

    def check_in(self, word: events.Heartbeat, reports: Sequence[events.Report], *, takes_work: bool) -> Answer:
        """A host asks."""
        said = [one for report in reports for one in self.take(report).answers]
        said += self.hear(word).answers
        host = self.fleet.hosts.get(word.host)
        acknowledged = max((one.seq for one in said if isinstance(one, effects.Acknowledge)), default=0)
        missing = [one.seq for one in said if isinstance(one, effects.AskAgain)]
        lacks = missing[-1] if missing and host is not None and missing[-1] > host.seq else 0
        offer = offer_for(self.fleet, word.host, self.now) if takes_work else None
        if offer is not None:
            self.take(events.Noted(events.Handed(word.host, offer.number)))
        return Answer(self.now, acknowledged, lacks, offer)

    def publish(self, layout: Layout, tip: Tip, *papers: tuple[Paper, str, bytes]) -> bool:
        """A tip and its rollout arrive; `papers` are kept in the transaction of the event, if it is the one of its
        channel now."""
        change = self.take(events.Noted(events.Published(tip.channel, tip.rollout, tip.serial, tip.signed_at)))
        found = self.fleet.channels.get(tip.channel)
        if found is None or (found.tip, found.serial, found.signed_at) != (tip.rollout, tip.serial, tip.signed_at):
            return False
        self.fleet = known(self.fleet, layout)
        self.changes[-1] = change._replace(papers=papers)
        return True

    def _changed(self, found: tuple[effects.Effect, ...]) -> Change:
        change = Change(self.fleet.number, self.now, found)
        self.changes.append(change)
        return change
