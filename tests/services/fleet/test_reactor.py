"""The reactor: answers when it is on the disk, pushes back when that is slow, and what was not written never was."""

import asyncio

import pytest

from requisition.schemas.diagnostic import Failed
from requisition.services.fleet import effects, events, reactor
from requisition.services.fleet.reactor import NotTaken
from requisition.services.fleet.rollout import Tip
from requisition.services.fleet.state import Stage
from requisition.services.fleet.store import Fenced, Paper, rebuilt
from requisition.services.fleet.turn import Answer
from support.fleets import START, made, order_of
from support.reactors import ROLLOUT, Rig, running, until


def report(name, seq, event=None):
    said = event or events.RestartNeeded(ROLLOUT.id, "kernel")
    return events.Report(host=name, stream="s", seq=seq, at=START, event=said)


def scenario(test):
    """The test is a coroutine."""

    def run(tmp_path):
        asyncio.run(test(tmp_path))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@scenario
async def test_an_answer_means_that_it_is_on_the_disk(folder):
    async with running(folder) as rig:
        await rig.enroll("a")
        rig.store.gate.clear()
        rig.store.arrived.clear()
        asked = asyncio.create_task(rig.check_in("a", report("a", 1)))
        await asyncio.to_thread(rig.store.arrived.wait)
        await asyncio.sleep(0)
        assert not asked.done()
        assert rig.reactor.fleet.hosts["a"].seq == 0
        rig.store.gate.set()
        assert await asked == Answer(START, 1, 0, None)
        assert rig.reactor.fleet.hosts["a"].seq == 1
        assert rig.store.load().hosts[0].seq == 1


@scenario
async def test_a_slow_disk_holds_up_whoever_comes_and_loses_nobody(folder):
    async with running(folder, waiting=2) as rig:
        rig.store.gate.clear()
        names = [f"h{number:03}" for number in range(300)]
        asking = [asyncio.create_task(rig.enroll(name)) for name in names]
        await asyncio.to_thread(rig.store.arrived.wait)
        for _ in range(1_000):
            await asyncio.sleep(0)
        kept = rig.reactor._inbox.qsize() + rig.reactor._log.qsize()
        assert kept <= 4, "a queue grew beyond its bound"
        assert not any(task.done() for task in asking)
        rig.store.gate.set()
        await asyncio.gather(*asking)
        assert rig.on_disk() == names
        assert [record.number for record in rig.store.log(0)] == list(range(1, 301))


@scenario
async def test_what_comes_while_the_disk_is_busy_is_one_transaction(folder):
    async with running(folder) as rig:
        await rig.enroll("a")
        before = rig.counts["transactions"]
        asking = await rig.held_up(*(f"h{number}" for number in range(50)))
        rig.store.gate.set()
        await asyncio.gather(*asking)
        assert rig.counts["transactions"] - before == 2


@scenario
async def test_what_was_not_written_never_was(folder):
    async with running(folder) as rig:
        await rig.enroll("a")
        rig.store.fails = [True, True]
        with pytest.raises(NotTaken):
            await rig.check_in("a", report("a", 1))
        assert rig.counts["transactions_failed"] == 2
        assert any("the disk is full" in text for text in rig.told)
        assert await rig.check_in("a", report("a", 2)) == Answer(START, 0, 1, None), "the first one is missing still"
        assert (await rig.check_in("a", report("a", 1))).acknowledged == 1
        assert rig.reactor.fleet.hosts["a"].seq == rig.store.load().hosts[0].seq == 1


@scenario
async def test_everybody_behind_a_failed_write_comes_again(folder):
    async with running(folder) as rig:
        await rig.enroll("a")
        asking = await rig.held_up(*(f"h{number}" for number in range(8)))
        rig.store.fails = [True]
        rig.store.gate.set()
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(one) for one in found] == [NotTaken] * 8
        assert rig.on_disk() == ["a"]
        for number in range(8):
            await rig.enroll(f"h{number}")
        assert rig.on_disk() == ["a", *(f"h{number}" for number in range(8))]
        assert rebuilt(rig.store, {}).hosts == rig.reactor.fleet.hosts


@scenario
async def test_an_action_that_was_not_written_is_planned_again_at_the_next_tick(folder):
    async with running(folder) as rig:
        await rig.enroll("a", "b")
        await rig.publish()
        rig.store.fails = [True]
        await rig.ticks.put(None)
        await until(lambda: rig.counts["transactions_failed"] == 1)
        assert rig.store.load().rollouts == ()
        await rig.ticks.put(None)
        await until(lambda: rig.reactor.fleet.rollouts)
        assert rig.reactor.fleet.rollouts[ROLLOUT.id].stage is Stage.ACTIVE


@scenario
async def test_the_rest_of_a_plan_is_dropped_when_a_part_of_it_was_not_written(folder):
    async with running(folder) as rig:
        names = [f"h{number:03}" for number in range(100)]
        await rig.enroll(*names)
        rollout = made([names])
        tip = Tip(fleet="home", channel="web", serial=1, rollout=rollout.id, signed_at=START)
        rig.reactor._read = lambda data: rollout
        for name in names:
            await rig.check_in(name)
        await rig.reactor.publish(rollout, b"document", tip, b"tip")
        await rig.reactor.plan()
        assert not any(host.dispatch for host in rig.reactor.fleet.hosts.values())
        rig.store.fails = [True, False, False, False, True]
        with pytest.raises(NotTaken):
            await rig.reactor.plan()
        await rig.enroll("z")
        assert [host.name for host in rig.store.load().hosts if host.dispatch] == names[:3]
        await rig.reactor.plan()
        assert all(host.dispatch.number == 1 for host in rig.store.load().hosts if host.name != "z")


@scenario
async def test_an_offer_is_handed_out_when_the_disk_knows_and_is_noted_once(folder):
    async with running(folder) as rig:
        await rig.enroll("a", "b")
        await rig.publish()
        await rig.check_in("a")
        await rig.reactor.plan()
        await rig.reactor.plan()
        first = await rig.check_in("a", takes_work=True)
        again = await rig.check_in("a", takes_work=True)
        assert first.offer is not None
        assert first.offer.number == again.offer.number == 1
        handed = [record for record in rig.store.log(0) if isinstance(record.event.note, events.Handed)]
        assert [record.event.note for record in handed] == [events.Handed("a", 1)]
        assert (await rig.check_in("a")).offer is None, "it takes no work"


@scenario
async def test_a_report_told_again_is_acknowledged_and_written_once(folder):
    async with running(folder) as rig:
        await rig.enroll("a")
        assert (await rig.check_in("a", report("a", 1), report("a", 1))).acknowledged == 1
        number = rig.store.load().number
        assert (await rig.check_in("a", report("a", 1))).acknowledged == 1
        assert rig.store.load().number == number


@scenario
async def test_an_older_tip_takes_the_place_of_no_newer_one(folder):
    async with running(folder) as rig:
        assert await rig.publish(signed_at=START, signed=b"new")
        assert not await rig.publish(signed_at=START - 1, signed=b"old")
        assert rig.store.paper(Paper.TIP, "web") == b"new"
        assert await rig.publish(signed_at=START, signed=b"new"), "told again it is still the present one"


@scenario
async def test_a_server_that_starts_again_is_where_it_was(folder):
    async with running(folder) as rig:
        await rig.enroll("a", "b")
        await rig.publish()
        await rig.check_in("a")
        await rig.reactor.plan()
        await rig.reactor.plan()
        before = rig.reactor.fleet
        assert before.hosts["a"].dispatch is not None
    async with running(folder) as rig:
        await rig.reactor.ask(lambda turn: None)
        after = rig.reactor.fleet
        assert (after.hosts, after.rollouts, after.channels, after.number) == (
            before.hosts, before.rollouts, before.channels, before.number
        )  # fmt: skip
        assert after.layouts == before.layouts
        assert after.presence == {}


@scenario
async def test_a_document_that_cannot_be_read_is_told_of_and_can_be_published_again(folder):
    async with running(folder) as rig:
        await rig.publish()
        rig.store.put_paper(Paper.ROLLOUT, ROLLOUT.id, b"garbage")
    async with running(folder) as rig:
        await rig.reactor.ask(lambda turn: None)
        assert any("cannot be read" in text for text in rig.told)
        assert rig.reactor.fleet.layouts == {}
        assert await rig.publish()
        assert rig.reactor.fleet.layouts == {ROLLOUT.id: ROLLOUT}
        assert rig.store.paper(Paper.ROLLOUT, ROLLOUT.id) == ROLLOUT.id.encode()


@scenario
async def test_who_lost_the_seat_ends_and_sends_everybody_away(folder):
    rig = Rig(folder)
    task = asyncio.create_task(rig.reactor.run())
    await rig.enroll("a")
    rig.store.sit(rig.store.seat(), "other")
    with pytest.raises(NotTaken):
        await rig.enroll("b")
    with pytest.raises(Fenced):
        await task
    with pytest.raises(NotTaken):
        await rig.enroll("c")
    assert rig.on_disk() == ["a"]
    rig.clerk.close()


@scenario
async def test_who_waits_when_the_server_ends_is_sent_away(folder):
    rig = Rig(folder, waiting=1)
    task = asyncio.create_task(rig.reactor.run())
    await rig.enroll("a")
    rig.store.gate.clear()
    asking = [asyncio.create_task(rig.enroll(f"h{number}")) for number in range(9)]
    for _ in range(100):
        await asyncio.sleep(0)
    task.cancel()
    rig.store.gate.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(one) for one in found} == {NotTaken}
    rig.clerk.close()


@scenario
async def test_an_event_that_nobody_can_digest_ends_no_server(folder):
    async with running(folder) as rig:
        await rig.enroll("a")

        def odd(turn):
            turn.take(report("a", 1))
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await rig.reactor.ask(odd)
        assert (await rig.check_in("a", report("a", 1))).acknowledged == 1, "half of it was not done"


@scenario
async def test_a_plan_that_fails_is_told_of_and_made_again(folder):
    async with running(folder) as rig:
        real, calls = reactor.plan_next, []

        def failing(fleet, now):
            calls.append(now)
            if len(calls) == 1:
                raise ZeroDivisionError("a defect")
            return real(fleet, now)

        reactor.plan_next = failing
        try:
            await rig.enroll("a")
            await rig.ticks.put(None)
            await until(lambda: rig.counts["plans_failed"] == 1)
            await rig.publish()
            await rig.ticks.put(None)
            await until(lambda: rig.reactor.fleet.rollouts)
        finally:
            reactor.plan_next = real


@scenario
async def test_a_store_that_cannot_be_read_at_first_is_waited_for(folder):
    rig = Rig(folder)
    load, tries = rig.store.load, []

    def failing():
        tries.append(1)
        if len(tries) < 3:
            raise Failed.of("nobody is there")
        return load()

    rig.store.load = failing
    task = asyncio.create_task(rig.reactor.run())
    for _ in range(2):
        await rig.ticks.put(None)
    await rig.enroll("a")
    assert len(tries) == 3
    assert rig.counts["loads_failed"] == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    rig.clerk.close()


@scenario
async def test_a_verb_that_does_not_apply_is_refused_with_its_reason(folder):
    async with running(folder) as rig:
        verb = events.Halt(order_of(1), "x")
        command = events.Command(fleet="home", nonce="n" * 16, signed_at=START, by="ada", verb=verb)
        assert await rig.reactor.take(command) == (effects.RefuseVerb("there is no such rollout"),)
