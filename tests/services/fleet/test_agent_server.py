"""A real host and the real core of a server: what the one reports, the other makes a fleet of."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from requisition.services.fleet import effects, events
from requisition.services.fleet.agent.link import Answer, Offer
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.rollout import Probe
from requisition.services.fleet.sealed import write
from requisition.services.fleet.state import Phase, Stage
from support.agents import AGENT, HOST, Site
from support.fleets import MINUTE, Table


class Hall:
    """A server of one host: it plans when it is asked, and answers what its state says."""

    def __init__(self, site: Site) -> None:
        self.site, self.table = site, Table()
        self.table.now = site.hands.wall
        self.table.note(events.Enrolled(HOST, "stream-1", AGENT.public.openssh()))
        self.tips: dict[str, bytes] = {}
        self._told = 0
        site.depot.answer = self.answer

    def publish(self, found: Layout) -> str:
        self.tips[found.id] = write(self.site.tip(found))
        self.site.publish(found)
        return self.table.publish(found)

    def answer(self, said: Answer) -> Answer:
        table, depot = self.table, self.site.depot
        table.now = self.site.hands.wall
        acknowledged = missing = 0
        told: list[effects.Effect] = []
        for report in depot.heard[self._told :]:
            told += table.take(report)
        self._told = len(depot.heard)
        for effect in told:
            if isinstance(effect, effects.Acknowledge):
                acknowledged = max(acknowledged, effect.seq)
            assert not isinstance(effect, effects.AskAgain)
        table.beat()
        table.tick()
        offer = table.offers().get(HOST)
        if offer is not None:
            table.note(events.Handed(HOST, offer.number))
            tip = self.tips[offer.rollout]
            return replace(said, acknowledged=acknowledged, missing=missing, offer=Offer(
                offer.number, offer.rollout, offer.order, offer.recall, tip))  # fmt: skip
        return replace(said, acknowledged=acknowledged, missing=missing, offer=None)


@pytest.fixture
def hall(tmp_path: Path) -> Hall:
    return Hall(Site(tmp_path))


async def whole(hall: Hall, phase: Phase, rollout: str) -> None:
    """The host speaks with the server until the server knows it in this phase of a rollout."""

    def known() -> bool:
        host = hall.table.host(HOST)
        return (host.phase, host.rollout) == (phase, rollout)

    async with hall.site.agent() as agent:
        await hall.site.until(agent, known)


def test_a_rollout_is_completed_by_what_the_host_reports(hall: Hall) -> None:
    rollout = hall.publish(hall.site.rollout(hall.site.order(1)))
    asyncio.run(whole(hall, Phase.CONVERGED, rollout))
    assert hall.table.stage(rollout) == Stage.COMPLETED
    assert hall.site.version() == "1"


def test_a_host_that_fails_halts_its_rollout_and_stays_on_what_proved_itself(hall: Hall) -> None:
    good = hall.publish(hall.site.rollout(hall.site.order(1), on_failure="halt"))
    asyncio.run(whole(hall, Phase.CONVERGED, good))
    bad = hall.publish(hall.site.rollout(hall.site.order(2, fails=True), on_failure="halt"))
    asyncio.run(whole(hall, Phase.FAILED, bad))
    assert hall.table.stage(bad) == Stage.HALTED
    assert hall.site.version() == "1"
    better = hall.publish(hall.site.rollout(hall.site.order(3), on_failure="halt"))
    asyncio.run(whole(hall, Phase.CONVERGED, better))
    assert (hall.table.stage(better), hall.site.version()) == (Stage.COMPLETED, "3")


def test_where_policy_is_to_roll_back_the_rollout_ends_rolled_back_and_the_next_one_goes_on(hall: Hall) -> None:
    good = hall.publish(hall.site.rollout(hall.site.order(1)))
    asyncio.run(whole(hall, Phase.CONVERGED, good))
    sick = Probe("sick", "command", (HOST,), every=20, command=("false",))
    bad = hall.publish(hall.site.rollout(hall.site.order(2), probes=(sick,)))

    async def fails() -> None:
        async with hall.site.agent() as agent:
            await hall.site.until(agent, lambda: hall.site.depot.kinds[-1:] == ["Probed"])
            hall.site.hands.pass_(MINUTE)
            await hall.site.until(agent, lambda: hall.table.host(HOST).phase is Phase.REVERTED)
            hall.table.tick()

    asyncio.run(fails())
    assert (hall.table.stage(bad), hall.site.version()) == (Stage.ROLLED_BACK, "1")
    better = hall.publish(hall.site.rollout(hall.site.order(3)))
    asyncio.run(whole(hall, Phase.CONVERGED, better))
    assert (hall.table.stage(better), hall.site.version()) == (Stage.COMPLETED, "3")


def test_a_converged_host_is_called_back_when_an_operator_takes_its_rollout_back(hall: Hall) -> None:
    good = hall.publish(hall.site.rollout(hall.site.order(1)))
    asyncio.run(whole(hall, Phase.CONVERGED, good))
    bad = hall.publish(hall.site.rollout(hall.site.order(2)))
    asyncio.run(whole(hall, Phase.CONVERGED, bad))
    hall.table.verb(events.RollBack(bad, "customers complain"))
    asyncio.run(whole(hall, Phase.REVERTED, bad))
    assert (hall.table.stage(bad), hall.site.version()) == (Stage.ROLLED_BACK, "1")
