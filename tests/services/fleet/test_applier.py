"""The applier: one effect at a time, in the transaction of its event; what fails harms nobody before it."""

from collections import Counter
from typing import get_args

import pytest
from msgspec.structs import replace

from requisition.schemas.diagnostic import Failed
from requisition.services.fleet import applier, effects, events
from requisition.services.fleet.applier import Applier, Change
from requisition.services.fleet.state import (
    ChannelState,
    Dispatch,
    HostState,
    Quarantined,
    RolloutState,
    Settings,
)
from requisition.services.fleet.store import Fenced, Paper, Saved
from requisition.services.fleet.store_sqlite import SqliteStore
from support.fleets import START, order_of

HOST = HostState(name="a", stream="s")
EVENT = events.Noted(events.Enrolled("a", "s", ""))
OFFER = Dispatch(1, order_of(1), order_of(2), False, START, START)
WRITTEN: tuple[effects.Effect, ...] = (
    effects.SaveHost(HOST),
    effects.SaveRollout(RolloutState(id=order_of(1), channel="web", serial=1)),
    effects.SaveChannel(ChannelState(name="web")),
    effects.SaveSettings(Settings(1, 2)),
    effects.PutDispatch("a", OFFER),
    effects.InsertQuarantine(Quarantined("web", order_of(1), START, "bad")),
    effects.UseNonce("nonce", START, 0),
    effects.SaveHint("release", 5),
)
UNDONE: tuple[effects.Effect, ...] = (
    effects.ForgetHost("a"),
    effects.ForgetRollout(order_of(1)),
    effects.PurgeDispatch("a"),
    effects.ClearQuarantine("web", order_of(1)),
    effects.CutLog(START + 1),
)


class Scene:
    """A store, an applier that holds its seat, and what it told."""

    def __init__(self, folder):
        self.store = SqliteStore(str(folder / "fleet.db"))
        seat = self.store.sit(self.store.seat(), "test")
        self.told: list[tuple[str, str]] = []
        self.applier = Applier(seat.number, lambda *said: self.told.append(said), Counter())

    def commit(self, *changes):
        return self.applier.commit(self.store, changes)

    def numbers(self):
        return [record.number for record in self.store.log(0)]


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path)
    yield scene
    scene.store.close()


def change(number, *todo):
    return Change(number, START, (effects.AppendLog(EVENT), *todo))


def test_every_remote_effect_is_written_or_said(scene):
    kinds = {type(one) for one in (*WRITTEN, *UNDONE)} | {effects.AppendLog}
    assert kinds | set(applier.ANSWERS) == set(get_args(effects.Remote))
    scene.store.put_paper(Paper.ROLLOUT, order_of(1), b"document")
    assert scene.commit(change(1, *WRITTEN)) == 1
    saved = scene.store.load()
    assert (saved.hosts, saved.hinted, saved.nonces) == ((HOST,), {"release": 5}, {"nonce": START})
    assert (saved.settings, len(saved.rollouts), len(saved.channels), len(saved.quarantined)) == (
        Settings(1, 2),
        1,
        1,
        1,
    )
    assert scene.store.outbox("a") == OFFER
    assert scene.commit(change(2, *UNDONE)) == 1
    saved = scene.store.load()
    assert (saved.hosts, saved.rollouts, saved.quarantined, saved.log_from) == ((), (), (), START + 1)
    assert scene.store.outbox("a") is None
    assert scene.store.paper(Paper.ROLLOUT, order_of(1)) is None
    assert scene.numbers() == []


def test_an_effect_done_twice_is_done_once(scene):
    once, twice = [], []
    for todo in (WRITTEN, UNDONE[:4]):
        scene.commit(change(scene.store.load().number + 1, *todo))
        once.append(replace(scene.store.load(), number=0))
        scene.commit(change(scene.store.load().number + 1, *todo, *todo))
        twice.append(replace(scene.store.load(), number=0))
    assert once == twice


def test_an_effect_of_a_host_is_dropped_told_and_counted(scene):
    todo = (effects.StopRun(), effects.WakeAt(5), effects.RunOrder(order_of(1), order_of(2)))
    assert {type(one) for one in todo} <= set(get_args(effects.Local))
    one = change(1, *todo)
    assert scene.commit(one) == 1
    scene.applier.speak(one)
    assert scene.applier.counts["effects_misplaced"] == 3
    assert [level for level, _ in scene.told] == ["error"] * 3
    assert "stop_run is for a host to do" in scene.told[0][1]
    assert scene.store.load() == Saved(number=1, log_from=START)


def test_what_is_to_be_told_and_counted_is(scene):
    scene.applier.speak(Change(0, START, (effects.Tell("warning", "odd"), effects.CountUp("strangers"))))
    assert scene.told == [("warning", "odd")]
    assert scene.applier.counts == {"strangers": 1}


def test_answers_are_for_whoever_sent_it_and_need_no_transaction(scene):
    answers = (effects.Acknowledge("a", "s", 1), effects.AskAgain("a", "s", 2), effects.RefuseVerb("no"))
    one = Change(0, START, (*answers, effects.CountUp("x")))
    assert one.answers == answers
    assert not one.writes
    assert scene.commit(one) == 1
    assert scene.applier.counts["transactions"] == 0


def test_a_bad_event_is_told_counted_and_left_out_with_what_comes_after_it(scene):
    bad = Change(2, START, (effects.AppendLog(EVENT), effects.SaveHost(replace(HOST, seq=object()))))
    assert scene.commit(change(1), bad, change(3)) == 1
    assert scene.numbers() == [1]
    assert scene.applier.counts["transactions_failed"] == 2
    assert "an event could not be written" in scene.told[-1][1]
    assert scene.commit(change(2)) == 1
    assert scene.numbers() == [1, 2]


def test_what_fails_together_and_not_alone_is_written_one_after_the_other(scene, monkeypatch):
    real, calls = scene.store.transaction, []

    def once_broken(seat):
        calls.append(seat)
        if len(calls) == 1:
            raise Failed.of("busy")
        return real(seat)

    monkeypatch.setattr(scene.store, "transaction", once_broken)
    assert scene.commit(change(1), change(2), change(3)) == 3
    assert (scene.numbers(), len(calls)) == ([1, 2, 3], 4)


def test_a_change_that_is_written_already_is_not_written_again(scene):
    assert scene.commit(change(1, effects.SaveHost(HOST))) == 1
    assert scene.commit(change(1, effects.SaveHost(replace(HOST, seq=9)))) == 0
    assert scene.numbers() == [1]
    assert scene.store.load().hosts == (HOST,)


def test_who_lost_the_seat_hears_of_it_and_writes_nothing(scene):
    scene.store.sit(scene.store.seat(), "other")
    with pytest.raises(Fenced):
        scene.commit(change(1))
    assert scene.numbers() == []
    assert scene.told == []


def test_a_store_that_fails_is_told_of_and_swallowed(scene, monkeypatch):
    def broken(seat):
        raise Failed.of("the disk is full")

    monkeypatch.setattr(scene.store, "transaction", broken)
    assert scene.commit(change(1), change(2)) == 0
    assert "the disk is full" in scene.told[0][1]
