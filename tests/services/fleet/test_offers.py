"""An offer is a lease: to whom it is given until when, and when it is certain that it was not begun, or is over."""

import pytest
from msgspec.structs import replace

from requisition.services.fleet import events
from requisition.services.fleet.actions import MarkLost, WithdrawDispatch
from requisition.services.fleet.offers import not_meant, offer_for, target_of
from requisition.services.fleet.state import Presence, Stage
from support.fleets import MINUTE, SECOND, START, Table, made

LEASE, START_WITHIN, CONFIRM, ROLLBACK, OFFLINE = 5 * MINUTE, MINUTE, 10 * MINUTE, 10 * MINUTE, 3 * MINUTE
SETTLED = START + LEASE + START_WITHIN
OVER = SETTLED + CONFIRM + ROLLBACK


def offered(*, handed: bool) -> Table:
    table = Table("a")
    table.publish(made([["a"]]))
    table.tick()
    if handed:
        table.note(events.Handed("a", 1))
    return table


def ends(table: Table) -> list[WithdrawDispatch | MarkLost]:
    return [one for one in table.plan() if isinstance(one, (WithdrawDispatch, MarkLost))]


@pytest.mark.parametrize(("after", "given"), [(LEASE - 1, True), (LEASE, False)])
def test_an_offer_is_given_until_its_lease_is_over(after: int, given: bool) -> None:
    table = offered(handed=False)
    assert (offer_for(table.fleet, "a", START + after) is not None) == given
    table.now += after
    assert ends(table) == ([] if given else [WithdrawDispatch("a", 1, "nobody asked for it in time")])


def test_an_offer_that_was_handed_out_is_not_forgotten_when_its_lease_is_over() -> None:
    table = offered(handed=True)
    table.now = START + LEASE + SECOND
    assert ends(table) == []


@pytest.mark.parametrize(
    ("heard", "seq", "settled"),
    [(SETTLED, 0, False), (SETTLED + 1, 0, True), (SETTLED + 1, 1, False)],
    ids=["an answer from before the end", "one from after it", "a report is still missing"],
)
def test_it_is_certain_that_an_offer_was_not_begun(heard: int, seq: int, settled: bool) -> None:
    table = offered(handed=True)
    table.now = SETTLED + MINUTE
    table.fleet = replace(table.fleet, presence={"a": Presence(table.now, seq, heard)})
    expected = [WithdrawDispatch("a", 1, "it was not begun in time", settled=True)] if settled else []
    assert ends(table) == expected


def test_an_offer_handed_out_at_the_very_beginning_of_time_counts_as_handed_out() -> None:
    table = offered(handed=True)
    host = table.host("a")
    assert host.dispatch is not None
    host = replace(host, dispatch=replace(host.dispatch, handed_at=1))
    table.fleet = replace(table.fleet, hosts={"a": host}, presence={"a": Presence(OVER, 0, SETTLED + 1)})
    table.now = SETTLED + MINUTE
    assert len(ends(table)) == 1


@pytest.mark.parametrize(
    ("now", "seen", "lost"),
    [
        (OVER, START, False),
        (OVER + 1, START, True),
        (OVER + 1, OVER + 1 - OFFLINE, False),
        (OVER + 1, OVER - OFFLINE, True),
    ],
)
def test_a_silent_host_is_lost_when_it_can_be_nothing_else_than_over(now: int, seen: int, lost: bool) -> None:
    table = offered(handed=True)
    table.now = now
    table.fleet = replace(table.fleet, presence={"a": Presence(seen, 0, seen)}, up_since=START)
    expected = [MarkLost("a", "it fell silent while it was changing")] if lost else []
    assert [one for one in ends(table) if isinstance(one, MarkLost)] == expected


def test_a_host_that_is_changing_is_lost_after_its_own_bounds() -> None:
    table = offered(handed=False)
    table.begins("a")
    table.now = START + START_WITHIN + CONFIRM + ROLLBACK
    assert ends(table) == []
    table.now += 1
    assert ends(table) == [MarkLost("a", "it fell silent while it was changing")]


def test_an_offer_that_nobody_was_given_makes_nobody_lost() -> None:
    table = offered(handed=False)
    table.now = OVER + MINUTE
    assert not [one for one in ends(table) if isinstance(one, MarkLost)]


def test_one_host_that_cannot_be_judged_does_not_keep_others_from_it() -> None:
    table = Table("a", "b", "c")
    table.publish(made([["a", "b", "c"]]))
    table.tick()
    table.note(events.Handed("c", 1))
    table.begins("a")
    table.fleet = replace(table.fleet, hosts={**table.fleet.hosts, "a": replace(table.host("a"), rollout="gone")})
    table.now = OVER + MINUTE
    assert [one.host for one in ends(table) if isinstance(one, MarkLost)] == ["c"]


def test_the_offer_of_a_rollout_that_is_gone_is_forgotten_at_once() -> None:
    table = offered(handed=True)
    table.fleet = replace(table.fleet, layouts={})
    assert ends(table) == [WithdrawDispatch("a", 1, "its rollout is gone", settled=True)]


def test_an_offer_is_meant_while_its_rollout_is_the_hosts_and_open() -> None:
    table = offered(handed=False)
    fleet, offer = table.fleet, table.host("a").dispatch
    assert offer is not None
    assert not_meant(fleet, offer, offer.rollout) == ""
    assert not_meant(fleet, offer, "another") == "a newer rollout took its place"
    state = fleet.rollouts[offer.rollout]
    for stage in Stage:
        told = not_meant(replace(fleet, rollouts={state.id: replace(state, stage=stage)}), offer, offer.rollout)
        assert (told == "") == (stage in (Stage.ACTIVE, Stage.COMPLETED)), stage
        back = replace(offer, recall=True)
        told = not_meant(replace(fleet, rollouts={state.id: replace(state, stage=stage)}), back, offer.rollout)
        assert (told == "") == (stage in (Stage.ROLLING_BACK, Stage.ROLLED_BACK)), stage
    assert not_meant(replace(fleet, rollouts={}), offer, offer.rollout) == "a newer rollout took its place"


def test_a_host_that_two_channels_list_is_to_be_on_the_newer_rollout() -> None:
    table = Table("a", "b")
    newer = table.publish(made([["a"]], channel="db", serial=4))
    older = table.publish(made([["a", "b"]], channel="web", serial=3))
    table.tick()
    assert (target_of(table.fleet, "a"), target_of(table.fleet, "b")) == (newer, older)
    assert target_of(table.fleet, "nobody") == ""
    assert {name: one.rollout for name, one in table.offers().items()} == {"a": newer, "b": older}
