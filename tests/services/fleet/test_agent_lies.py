"""A server, or whoever took its place, can withhold. It cannot forge, replay, downgrade, mislead or exhaust a host: what
is not as it was signed is refused, the reason is reported, and nothing of it is done."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from requisition.schemas.diagnostic import Refused
from requisition.services.fleet import rollout, sealed
from requisition.services.fleet.agent import link, spool
from requisition.services.fleet.agent.link import Answer, Pieces, Unreachable
from requisition.services.fleet.agent.main import Agent
from requisition.services.fleet.agent_state import Missing
from requisition.services.fleet.rollout import ROLLOUT_TYPE, SKEW
from requisition.services.fleet.sealed import seal
from requisition.services.fleet.state import Phase
from support.agents import AUTHOR, EVE, RELEASE, Site
from support.fleets import DAY


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def refused(site: Site) -> str:
    """The reason for which the host refuses what is offered."""

    async def life() -> None:
        async with site.agent() as agent:
            await site.until(agent, lambda: site.depot.kinds[-1:] in (["Refused"], ["Began"]))

    asyncio.run(life())
    assert site.depot.kinds[-1] == "Refused"
    assert site.version() == ""
    return str(site.depot.last.reason)


def _forged_rollout(site: Site) -> None:
    site.publish(site.rollout(site.order(1)), by=EVE)


def _forged_tip(site: Site) -> None:
    found = site.rollout(site.order(1))
    site.publish(found)
    site.put_offer(found, site.tip(found, EVE))


def _altered_tip(site: Site) -> None:
    found = site.rollout(site.order(1))
    site.publish(found)
    tip = site.tip(found)
    changed = tip.payload.replace(str(site.hands.wall).encode(), str(site.hands.wall + 1).encode())
    site.put_offer(found, replace(tip, payload=changed))


def _tip_as_rollout(site: Site) -> None:
    found = site.rollout(site.order(1))
    site.put_offer(found, seal(ROLLOUT_TYPE, site.tip(found).payload, RELEASE))


def _altered_rollout(site: Site) -> None:
    """The right signatures below another document: with a wave's soak taken away."""
    found = site.rollout(site.order(1), soak=DAY)
    site.publish(found)
    came = sealed.read(site.depot.documents[found.id], "rollout")
    changed = replace(came, payload=came.payload.replace(b'"soak":86400000', b'"soak":1'))
    assert changed != came
    site.depot.documents[found.id] = sealed.write(changed)


def _another_rollout(site: Site) -> None:
    """Signed, but not what the tip names."""
    found, other = site.rollout(site.order(1)), site.rollout(site.order(2))
    site.publish(found)
    site.depot.documents[found.id] = sealed.write(seal(ROLLOUT_TYPE, rollout.payload(other.rollout), RELEASE))


def _other_tip(site: Site) -> None:
    found, other = site.rollout(site.order(1)), site.rollout(site.order(2))
    site.publish(found)
    site.put_offer(found, site.tip(other))


def _contradiction(site: Site) -> None:
    """The tip says another serial than its rollout."""
    found = site.rollout(site.order(1))
    site.publish(found, serial=99)


def _future(site: Site) -> None:
    found = site.rollout(site.order(1))
    site.publish(found, signed_at=site.hands.wall + SKEW + 1)


def _stale(site: Site) -> None:
    found = site.rollout(site.order(1))
    site.publish(found, signed_at=site.hands.wall - DAY - SKEW - 1)


def _compromised(site: Site) -> None:
    text = site.trust.read_text().replace("operators:", "  reject_before: 2027-06-01T00:00:00Z\noperators:")
    site.trust.write_text(text)
    site.publish(site.rollout(site.order(1)))


def _other_fleet(site: Site) -> None:
    found = site.rollout(site.order(1), fleet="work")
    site.publish(found, fleet="work")


def _not_listed(site: Site) -> None:
    site.publish(site.rollout(site.order(1), host="web2"))


def _other_order(site: Site) -> None:
    found = site.rollout(site.order(1))
    offer = site.publish(found)
    site.depot.offer = msgspec.structs.replace(offer, order=site.order(2))


def _no_envelope(site: Site) -> None:
    found = site.rollout(site.order(1))
    site.publish(found)
    site.depot.documents[found.id] = b"[" * 100_000


def _other_document(site: Site) -> None:
    order = site.order(1)
    site.publish(site.rollout(order))
    site.depot.documents[order] = site.depot.documents[site.order(2)]


def _altered_content(site: Site) -> None:
    site.publish(site.rollout(site.order(1)))
    (name,) = site.depot.contents
    site.depot.contents[name] = site.depot.contents[name][:-1] + b"x"


def _short_content(site: Site) -> None:
    site.publish(site.rollout(site.order(1)))
    (name,) = site.depot.contents
    site.depot.contents[name] = site.depot.contents[name][:-1]


def _too_much(site: Site) -> None:
    site.publish(site.rollout(site.order(1, size=2 << 20)))


def _no_tip(site: Site) -> None:
    found = site.rollout(site.order(1))
    site.publish(found)
    assert site.depot.offer is not None
    site.depot.offer = msgspec.structs.replace(site.depot.offer, tip=b"")


LIES: dict[str, tuple[Callable[[Site], None], str]] = {
    "a rollout and tip by another key": (_forged_rollout, "not signed by a key that counts"),
    "a tip by another key": (_forged_tip, "not signed by a key that counts"),
    "a tip that was made younger": (_altered_tip, "not signed by a key that counts"),
    "another document as a tip": (_tip_as_rollout, "this is no tip"),
    "a rollout that was altered": (_altered_rollout, "not the rollout that the tip names"),
    "another signed rollout": (_another_rollout, "not the rollout that the tip names"),
    "the tip of another rollout": (_other_tip, "the tip names another rollout"),
    "a tip that contradicts its rollout": (_contradiction, "another channel or serial"),
    "a tip of the future": (_future, "in the future"),
    "a tip that is too old": (_stale, "too old"),
    "what was signed before a key was lost": (_compromised, "before the moment from which"),
    "what was signed for another fleet": (_other_fleet, "of fleet work, not of home"),
    "a rollout without this host": (_not_listed, "does not list this host"),
    "an order that is for another host": (_other_order, "not the one that the rollout gives to this host"),
    "no document at all": (_no_envelope, "is no signed document"),
    "another signed order": (_other_document, "not the one that the rollout names"),
    "content that was altered": (_altered_content, "its digest is another one"),
    "content that is cut short": (_short_content, "bytes of"),
    "an order that reads more than the host takes": (_too_much, "this host takes"),
    "an offer without a tip": (_no_tip, "is no signed document"),
}


@pytest.mark.parametrize("lie", LIES)
def test_it_is_refused_and_reported(site: Site, lie: str) -> None:
    make, reason = LIES[lie]
    make(site)
    assert reason in refused(site)


def converge(site: Site, order: str) -> None:
    site.publish(site.rollout(order))

    before = site.depot.kinds.count("Converged")

    async def life() -> None:
        async with site.agent() as agent:
            await site.until(agent, lambda: site.depot.kinds.count("Converged") > before)

    asyncio.run(life())


def test_a_rollout_of_a_lower_serial_is_not_begun_however_it_is_signed(site: Site) -> None:
    older = site.rollout(site.order(1))
    converge(site, site.order(2))
    site.publish(older)

    async def life() -> None:
        async with site.agent() as agent:
            await site.until(agent, lambda: site.depot.kinds[-1:] == ["Refused"])

    asyncio.run(life())
    assert "its serial 1 is lower than 2" in site.depot.last.reason
    assert site.version() == "2"
    assert site.depot.asked.count(older.rollout.targets[0].order) == 0, "what is refused is not fetched"


def test_an_order_that_nobody_signed_whom_this_machine_trusts_is_not_run(site: Site) -> None:
    """The release key names it, but the runtime asks for itself who signed it."""
    site.publish(site.rollout(site.order(1, by=EVE)))

    async def life() -> None:
        async with site.agent() as agent:
            await site.until(agent, lambda: site.depot.kinds[-1:] == ["ActivationFailed"])

    asyncio.run(life())
    assert site.depot.last.exit_code == Refused.exit_code
    assert "not trusted" in site.depot.last.reason
    assert site.version() == ""


def test_an_order_that_was_signed_for_another_host_is_not_run(site: Site) -> None:
    order = site.order(1, context={"hosts": ("elsewhere",)})
    site.publish(site.rollout(order))

    async def life() -> None:
        async with site.agent() as agent:
            await site.until(agent, lambda: site.depot.kinds[-1:] == ["ActivationFailed"])

    asyncio.run(life())
    assert "the order is for elsewhere" in site.depot.last.reason
    assert site.version() == ""


@pytest.mark.parametrize("what", ["answer", "document", "content"])
def test_a_body_that_does_not_end_is_cut_off_at_its_bound(site: Site, what: str) -> None:
    given = 0

    async def endless(*_: object) -> Pieces:
        nonlocal given
        while True:
            given += 1 << 20
            yield b"x" * (1 << 20)

    site.publish(site.rollout(site.order(1)))
    setattr(site.depot, "ask" if what == "answer" else what, endless)

    async def life() -> None:
        async with site.agent() as agent:
            if what == "answer":
                with pytest.raises(Refused, match="the answer is larger"):
                    await agent.courier.round()
            else:
                await site.until(agent, lambda: site.depot.kinds[-1:] == ["Refused"])

    asyncio.run(life())
    assert given <= 65 << 20
    if what != "answer":
        assert "is larger than" in site.depot.last.reason


@pytest.mark.parametrize(
    "said", [b"", b"{", b"[]", b'{"at":-1,"stream":"s"}', b'{"at":1,"stream":"s","offer":{"number":1}}', b"[" * 100_000]
)
def test_what_is_no_answer_is_told_and_changes_nothing(site: Site, said: bytes) -> None:
    site.depot.answer = lambda _: said

    async def life() -> None:
        async with site.agent() as agent:
            before = agent.shell.state
            with pytest.raises(Refused, match="no answer of a server"):
                await agent.courier.round()
            assert agent.shell.state == before

    asyncio.run(life())


def test_reports_are_not_forgotten_because_a_server_claims_to_have_more_than_it_was_sent(site: Site) -> None:
    site.publish(site.rollout(site.order(1)))
    site.depot.deaf = True

    def more(answer: Answer) -> Answer:
        return replace(answer, stream="another", acknowledged=1_000_000)

    site.depot.answer = more

    async def life(agent: Agent) -> None:
        await site.until(agent, lambda: agent.shell.state.phase is Phase.SOAKING)
        assert agent.shell.state.deadline, "a word about another series of reports confirms nothing"
        site.depot.answer, site.depot.deaf = (lambda answer: answer), False
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"])

    async def whole() -> None:
        async with site.agent() as agent:
            await life(agent)

    asyncio.run(whole())
    assert [report.seq for report in site.depot.heard] == list(range(1, len(site.depot.heard) + 1))


def test_an_answer_counts_only_up_to_what_was_sent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "AT_ONCE", 1)
    site.depot.answer = lambda answer: replace(answer, acknowledged=1_000_000)

    async def whole() -> None:
        async with site.agent() as agent:
            await agent.shell.tell(Missing())
            await agent.shell.tell(Missing())
            for first in (2, 3):
                await agent.courier.round()
                assert (await agent.spool.waiting()).first == first
            await agent.courier.round()

    asyncio.run(whole())
    assert [report.seq for report in site.depot.heard] == [1, 2, 3]


def test_a_server_that_lost_reports_is_told_all_there_is_to_know(site: Site) -> None:
    converge(site, site.order(1))
    site.depot.offer = None
    site.depot.answer = lambda answer: replace(answer, acknowledged=0, missing=1)

    async def whole() -> None:
        async with site.agent() as agent:
            await agent.courier.round()
            site.depot.answer = lambda answer: answer
            await site.until(agent, lambda: site.depot.kinds[-1:] == ["Restated"])

    asyncio.run(whole())
    assert site.depot.last.phase is Phase.CONVERGED


def test_a_server_that_asks_for_lost_reports_again_and_again_is_told_once(site: Site) -> None:
    converge(site, site.order(1))
    site.depot.offer = None
    site.depot.answer = lambda answer: replace(answer, acknowledged=0, missing=1)

    async def whole() -> None:
        async with site.agent() as agent:
            before = agent.shell.state.seq
            for _ in range(5):
                await agent.courier.round()
            assert agent.shell.state.seq == before + 1

    asyncio.run(whole())


def test_a_server_that_withholds_content_is_waited_for_and_the_host_goes_on_being_heard(site: Site) -> None:
    site.publish(site.rollout(site.order(1)))
    held = dict(site.depot.contents)
    site.depot.contents.clear()

    async def whole() -> None:
        async with site.agent() as agent:
            for _ in range(3):
                await agent.courier.round()
                await site.seen(lambda: any("did not come" in line for line in site.said))
                site.said.clear()
            assert agent.shell.state.phase is Phase.IDLE
            site.depot.contents.update(held)
            await site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"])

    asyncio.run(whole())
    assert len(site.depot.words) > 3


def test_a_bundle_that_was_damaged_on_this_disk_is_fetched_again(site: Site) -> None:
    order = site.order(1)
    converge(site, order)
    (bundle,) = (site.folder / "agent/cache/orders").iterdir()
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"?")
    site.depot.asked.clear()
    converge(site, order)
    assert order in site.depot.asked


def test_a_file_that_an_order_kept_here_has_already_is_not_fetched_again(site: Site) -> None:
    data = "the same" * 500
    first = site.order(1, data=data)
    converge(site, first)
    (content,) = site.depot.contents
    site.depot.asked.clear()
    converge(site, site.order(2, data=data))
    assert content not in site.depot.asked
    assert site.version() == "2"


def test_nothing_is_believed_of_a_trust_file_that_others_may_write(site: Site) -> None:
    site.publish(site.rollout(site.order(1)))
    site.trust.chmod(0o666)
    assert "others may change" in refused(site)


def test_a_number_that_leaps_does_not_make_the_host_deaf_to_those_that_follow(site: Site) -> None:
    offer = site.publish(site.rollout(site.order(1)))
    site.depot.offer = replace(offer, number=1 << 53, tip=b"")

    async def whole() -> None:
        async with site.agent() as agent:
            await agent.courier.round()
            assert (agent.shell.counts["offers_ignored"], agent.shell.state.dispatches) == (1, 0)
            site.depot.offer = offer
            await site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"])

    asyncio.run(whole())


def test_what_was_verified_once_is_judged_again_by_the_trust_file_of_now(site: Site) -> None:
    found = site.rollout(site.order(1))
    site.publish(found)
    site.depot.contents.clear()

    async def whole() -> None:
        async with site.agent() as agent:
            await agent.courier.round()
            assert agent.shell.state.dispatches == 0, "it waits for what the order reads"
            text = site.trust.read_text()
            site.trust.write_text(text.replace(RELEASE.public.openssh(), AUTHOR.public.openssh()))
            site.put_offer(found, site.tip(found, AUTHOR))
            await site.until(agent, lambda: site.depot.kinds[-1:] == ["Refused"])

    asyncio.run(whole())
    assert "the rollout is not signed by a key that counts" in site.depot.last.reason


@pytest.mark.parametrize("way", ["silent", "slow"])
def test_who_gives_nothing_or_next_to_nothing_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(link, "SILENCE", 0.05 if way == "silent" else 60)
    monkeypatch.setattr(link, "PATIENCE", 0)
    monkeypatch.setattr(link, "SLOWEST", 1 << 40)
    forever = asyncio.Event()

    async def slow(_: bytes) -> Pieces:
        if way == "silent":
            await forever.wait()
        while True:
            await asyncio.to_thread(bool)
            yield b" "

    site.depot.ask = slow  # type: ignore[method-assign]

    async def whole() -> None:
        async with site.agent() as agent:
            with pytest.raises(Unreachable, match="does not come" if way == "silent" else "comes too slowly"):
                await agent.courier.round()

    asyncio.run(whole())


def test_who_breaks_off_has_said_nothing(site: Site) -> None:
    async def torn(_: bytes) -> Pieces:
        yield b'{"at":1,'
        raise Unreachable.of("the connection broke")

    site.depot.ask = torn  # type: ignore[method-assign]

    async def whole() -> None:
        async with site.agent() as agent:
            with pytest.raises(Unreachable):
                await agent.courier.round()
            assert len((await agent.spool.waiting()).reports) == 1

    asyncio.run(whole())
