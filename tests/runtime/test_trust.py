"""What is admitted, and the table of what is refused."""

from pathlib import Path

import pytest

from requisition.runtime import trust as rules
from requisition.schemas import orderfile
from requisition.schemas.diagnostic import BadInput, Failure, Refused
from requisition.schemas.document import Order
from requisition.schemas.trustfile import load_trust
from support.refusals import CASES, NOW, World, build
from support.sealed import order, sign, signed


def decide(world: World) -> Order:
    """The steps of the runtime, in its order."""
    trust = load_trust(world.trust_path)
    sealed = orderfile.read(world.order_path)
    verdict = rules.judge(sealed.payload_type, sealed.payload, sealed.signatures, trust, world.now)
    rules.require_accepted(verdict, world.order_path)
    document = orderfile.decode_order(sealed)
    place = rules.Place(world.platform, world.hostname, "/", world.last_serial)
    rules.admit(document, place, trust, world.now, world.order_path)
    return document


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_in_plain_words(name: str, tmp_path: Path) -> None:
    world = build(name, str(tmp_path))
    with pytest.raises((Refused, BadInput)) as refused:
        decide(world)
    assert world.words in str(refused.value)
    assert isinstance(refused.value, Failure)


def test_the_table_is_long_enough() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("form", ["plan", "yaml"])
def test_a_good_order_is_admitted(form: str, tmp_path: Path) -> None:
    world = World(str(tmp_path), form=form)
    world.policy()
    world.save(signed("alice"))
    assert decide(world) == order()


def test_author_and_reviewer_are_seated_whatever_the_order_of_their_signatures(tmp_path: Path) -> None:
    world = World(str(tmp_path))
    world.policy("{author: 1, reviewer: 1}", alice="roles: [author, reviewer]", bob="roles: [author]")
    for names in (("alice", "bob"), ("bob", "alice")):
        world.save(signed(*names))
        assert decide(world) == order()


def test_an_openssh_signature_counts_like_any_other(tmp_path: Path) -> None:
    world = World(str(tmp_path))
    world.policy()
    sealed = signed()
    world.save(orderfile.Sealed(sealed.kind, sealed.payload, (sign(sealed, "alice", "sshsig"),)))
    assert decide(world) == order()


def test_every_signature_is_named_with_its_reason(tmp_path: Path) -> None:
    world = World(str(tmp_path))
    world.policy()
    sealed = signed("mallory", "alice", "alice")
    verdict = rules.judge(sealed.payload_type, sealed.payload, sealed.signatures, load_trust(world.trust_path), NOW)
    assert verdict.accepted
    assert [(j.signer, j.counts) for j in verdict.signatures] == [
        ("", False),
        ("alice", True),
        ("alice", False),
    ]
