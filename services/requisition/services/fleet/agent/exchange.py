"""Speaking with a server: one question, one answer, and what follows from it.

What comes is decoded strictly and believed nothing: reports count as heard only up to what was sent, an offer only
after `judgement`. What an order reads is fetched beside, so that the host goes on being heard meanwhile; the offer is
taken at the first answer after all of it is here.
"""

import asyncio
from collections.abc import Callable

import msgspec

from requisition.schemas.diagnostic import Failed, Failure
from requisition.services.fleet import sealed
from requisition.services.fleet.agent import judgement
from requisition.services.fleet.agent.cache import Cache
from requisition.services.fleet.agent.link import Answer, Ask, Link, Offer, Unreachable, whole
from requisition.services.fleet.agent.shell import Shell
from requisition.services.fleet.agent.spool import Spool, Waiting
from requisition.services.fleet.agent_reducer import objection
from requisition.services.fleet.agent_state import Heard, Missing, Offered, Tick
from requisition.services.fleet.events import Heartbeat
from requisition.services.fleet.state import BUSY
from requisition.services.fleet.trustslots import FleetTrust, Untrusted

_MOST_ANSWER = 8 << 20
_LEAP = 1_000_000


class Courier:
    """Between a host and a server. `trust` reads the host's trust file anew."""

    def __init__(
        self,
        shell: Shell,
        spool: Spool,
        cache: Cache,
        link: Link,
        trust: Callable[[], FleetTrust],
        say: Callable[[str], None],
    ) -> None:
        self._shell, self._spool, self._cache, self._link = shell, spool, cache, link
        self._trust, self._say = trust, say
        self._heard_at = 0
        self._sent = 0
        self._restated = 0
        self._document = ("", b"")
        self._fetching: asyncio.Task[None] | None = None
        self._wanted = ""
        self._unfit: dict[str, Failure] = {}

    async def round(self) -> bool:
        """Ask once, and act by the answer. Whether reports arrived and more are to be sent. Raises Unreachable when
        nobody answers, Untrusted when what came is no answer."""
        waiting = await self._spool.waiting()
        state, asked_at = self._shell.state, self._shell.at()
        word = Heartbeat(host=state.host, stream=state.stream, seq=state.seq, heard=self._heard_at)
        answer = await self._answer(Ask(word=word, reports=waiting.reports))
        self._sent = max(self._sent, waiting.first + len(waiting.reports) - 1)
        self._heard_at = answer.at
        if answer.stream == state.stream:
            await self._heed(answer, waiting)
        if answer.offer is not None:
            await self._offered(answer.offer, asked_at)
        await self._shell.tell(Tick())
        return 0 < waiting.first < (await self._spool.waiting()).first

    async def close(self) -> None:
        """Fetch no more. What came whole is kept."""
        await self._stop_fetching()

    async def _answer(self, ask: Ask) -> Answer:
        try:
            data = await whole(self._link.ask(msgspec.json.encode(ask)), _MOST_ANSWER, "answer")
            return msgspec.json.decode(data, type=Answer)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Untrusted.of("what came is no answer of a server", why=str(error)) from error

    async def _heed(self, answer: Answer, waiting: Waiting) -> None:
        """Up to where reports arrived: never more than was sent, whatever is said."""
        sent = max(self._sent, waiting.first - 1 if waiting.reports else self._shell.state.seq)
        heard = min(answer.acknowledged, sent)
        if heard:
            await self._shell.tell(Heard(heard), heard=heard)
        held = waiting.first if waiting.reports else self._shell.state.seq + 1
        if 0 < answer.missing < held and answer.acknowledged >= self._restated:
            await self._shell.tell(Missing())
            self._restated = self._shell.state.seq

    # -- offers

    async def _offered(self, offer: Offer, asked_at: int) -> None:
        state = self._shell.state
        if offer.number <= state.dispatches or state.phase in BUSY:
            return
        if offer.number > state.dispatches + _LEAP:  # after it no honest offer would be looked at any more
            self._shell.counts["offers_ignored"] += 1
            self._say(f"an offer is not looked at: its number {offer.number} leaps too far beyond {state.dispatches}")
            return
        try:
            said = await self._judged(offer, asked_at)
        except Unreachable as failure:
            self._say(f"an offer waits: {failure}")
            return
        except Failure as failure:
            self._shell.counts["offers_refused"] += 1
            said = judgement.refused(offer, failure, asked_at)
        if said is not None:
            await self._shell.tell(said)

    async def _judged(self, offer: Offer, asked_at: int) -> Offered | None:
        """What the reducer is to hear; None while what the order reads is under way. Raises Failure for what is not
        believed, Unreachable for what did not come."""
        trust, now = self._trust(), self._shell.at()
        if offer.recall:
            return await self._recalled(offer, trust, asked_at)
        tip = judgement.opened_offer_tip(offer, trust, now)
        document = await self._rollout(tip.rollout)
        found = await asyncio.to_thread(judgement.opened_layout, document, tip, trust, now)
        self._document = (tip.rollout, document)
        said = judgement.judged(offer, tip, found, self._shell.state.host, asked_at)
        if objection(self._shell.state, said, now) or await self._here(offer.order):
            return said
        await self._fetch(offer.order)
        return None

    async def _recalled(self, offer: Offer, trust: FleetTrust, asked_at: int) -> Offered:
        state, found = self._shell.state, None
        if offer.proofs and state.terms is not None and state.terms.rollout == offer.rollout:
            found = await asyncio.to_thread(judgement.same_layout, await self._rollout(offer.rollout), offer.rollout)
        return await asyncio.to_thread(judgement.judged_recall, offer, state, trust, found, asked_at)

    async def _rollout(self, name: str) -> bytes:
        """Its document; the last one that was good is kept, and judged again by the trust file of now."""
        if self._document[0] == name:
            return self._document[1]
        return await whole(self._link.document(name), sealed.MAX_BYTES, "rollout")

    async def _here(self, order: str) -> bool:
        """Whether a run of the order needs no network. Raises what was wrong with it when it came."""
        if order in self._unfit:
            raise self._unfit.pop(order)
        return order in (await self._spool.orders()).values() and await self._cache.has(order)

    async def _fetch(self, order: str) -> None:
        if self._fetching is not None and not self._fetching.done():
            if self._wanted == order:
                return
            await self._stop_fetching()
        state = self._shell.state
        kept = {order, state.standing, state.good, state.prior, state.terms.order if state.terms else ""}
        await asyncio.to_thread(self._cache.keep_only, kept)
        self._wanted = order
        self._fetching = asyncio.ensure_future(self._fetched(order))

    async def _fetched(self, order: str) -> None:
        try:
            await self._spool.know(order, await self._cache.fetch(order, self._link))
        except Unreachable as failure:
            self._say(f"what an order reads did not come, to be tried again: {failure}")
            return
        except Failure as failure:
            self._unfit[order] = failure
        except OSError as error:
            self._unfit[order] = Failed.of(f"the order cannot be kept: {error.strerror}", where=str(error.filename))
        self._shell.news.set()

    async def _stop_fetching(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
