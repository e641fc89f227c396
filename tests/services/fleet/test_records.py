"""Records of the fleet have one written form each, and a rollout is named by it."""

import typing

import msgspec
import pytest

from requisition.schemas import canonical
from requisition.schemas.diagnostic import BadInput
from requisition.services.fleet import actions, events, rollout
from requisition.services.fleet.rollout import Budget, Policy, Rollout, Target, Wave

ORDER = "sha256:" + "a" * 64
ROLLOUT = Rollout(
    fleet="home",
    channel="web",
    serial=1,
    freshness=86_400_000,
    policy=Policy("calm"),
    waves=(Wave("all"),),
    targets=(Target("web1", 0, ORDER),),
)


def test_a_rollout_is_named_by_the_digest_of_its_canonical_bytes() -> None:
    data = rollout.payload(ROLLOUT)
    assert canonical.decode(data, Rollout) == ROLLOUT
    assert rollout.rollout_id(ROLLOUT) == rollout.digest(data)
    assert rollout.rollout_id(msgspec.structs.replace(ROLLOUT, serial=2)) != rollout.rollout_id(ROLLOUT)


def test_a_value_that_was_written_out_and_is_the_default_has_the_same_signed_form() -> None:
    """Whoever reads it makes the default of it, so it must have been left out."""
    policy = Policy("p", b"rollback-and-halt".decode(), lease=int("300000"))  # equal, but not the same objects
    made = Rollout(fleet="f", channel="c", serial=1, freshness=1, policy=policy, waves=(Wave("w"),), targets=())
    data = rollout.payload(made)
    assert canonical.decode(data, Rollout, what="rollout") == made
    assert data == rollout.payload(msgspec.structs.replace(made, policy=Policy("p")))


@pytest.mark.parametrize("name", ["", "-x", "a/b", "..", "A", "a" * 65, "a\n"])
def test_names_that_could_be_an_option_or_a_path_are_refused(name: str) -> None:
    data = rollout.payload(ROLLOUT).replace(b'"web"', msgspec.json.encode(name))
    with pytest.raises(BadInput):
        canonical.decode(data, Rollout)


def test_every_event_and_action_is_read_as_it_was_written() -> None:
    said = [kind for union in (events.HostEvent, events.Verb) for kind in typing.get_args(union)]
    for kind in said:
        wanted = {
            field.encode_name: _sample(field.encode_name) for field in msgspec.structs.fields(kind) if field.required
        }
        one = msgspec.convert(wanted, kind)
        wrapped: events.Event
        if kind in typing.get_args(events.HostEvent):
            wrapped = events.Report(host="web1", stream="s", seq=1, at=5, event=one)
        else:
            wrapped = events.Command(fleet="home", nonce="n" * 16, signed_at=5, verb=one)
        record = events.Record(7, 8, wrapped)
        assert msgspec.json.decode(msgspec.json.encode(record), type=events.Record) == record
    for kind in typing.get_args(actions.PlanAction):
        wanted = {
            field.encode_name: _sample(field.encode_name) for field in msgspec.structs.fields(kind) if field.required
        }
        planned = events.Record(1, 2, events.Noted(events.Planned(msgspec.convert(wanted, kind))))
        assert msgspec.json.decode(msgspec.json.encode(planned), type=events.Record) == planned


def _sample(field: str) -> object:
    if field in ("rollout", "order", "prior", "standing"):
        return ORDER
    if field == "phase":
        return "soaking"
    if field == "cause":
        return "failed"
    if field == "probes":
        return []
    if field == "passed":
        return True
    numbers = {"dispatch", "dispatches", "tip", "exit_code", "wave", "activated_at", "serial", "until", "number"}
    return 3 if field in numbers | {"retire_at", "before"} else "text"


@pytest.mark.parametrize(
    ("budget", "limit"),
    [(Budget("b", ("a", "b", "c"), max=2), 2), (Budget("b", ("a", "b", "c"), percent=50), 1),
     (Budget("b", ("a", "b", "c"), percent=10), 1), (Budget("b", ("a", "b", "c"), percent=0), 0),
     (Budget("b", ("a", "b", "c", "d"), max=1, percent=75), 1), (Budget("b", ("a", "b", "c", "d"), max=4, percent=75), 3),
     (Budget("b", ("a",), max=0), 0)],
)  # fmt: skip
def test_a_budget_by_percent_is_rounded_down_but_lets_one_host_change(budget: Budget, limit: int) -> None:
    assert budget.limit == limit
