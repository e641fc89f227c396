"""What is admitted, and the table of what is refused."""

from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import structs

from requisition.runtime import trust as rules
from requisition.schemas import orderfile
from requisition.schemas.diagnostic import BadInput, Failure, Refused
from requisition.schemas.document import Order, Platform
from requisition.schemas.envelope import Signature
from requisition.schemas.keys import PublicKey
from requisition.schemas.trustfile import Trust, TrustedKey, load_trust
from support.refusals import CASES, NOW, World, build
from support.sealed import order, public, sign, signed


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


def test_as_many_signatures_as_anybody_needs_are_looked_at(tmp_path: Path) -> None:
    world = World(str(tmp_path))
    world.policy()
    sealed, trust = signed(), load_trust(world.trust_path)
    many = (sign(sealed, "mallory"),) * 63 + (sign(sealed, "alice"),)
    verdict = rules.judge(sealed.payload_type, sealed.payload, many, trust, NOW)
    assert verdict.accepted
    assert [j.why for j in verdict.signatures[-2:]] == ["no trusted key made it over these bytes", "counts as author"]
    with pytest.raises(rules.NotTrusted, match="more than 64"):
        rules.judge(sealed.payload_type, sealed.payload, (*many, many[0]), trust, NOW)


def key(name: str, *roles: str) -> TrustedKey:
    return TrustedKey(name, public(name), roles, None, None, False)


@pytest.mark.parametrize(
    ("named", "tried"), [("cat", ["cat"]), ("ann", ["ann", "bob", "cat"]), ("", ["ann", "bob", "cat"])]
)
def test_a_key_id_says_which_key_is_tried_first_and_no_more(
    monkeypatch: pytest.MonkeyPatch, named: str, tried: list[str]
) -> None:
    seen: list[str] = []
    verify = PublicKey.verify

    def seeing(self: PublicKey, signature: Signature, message: bytes) -> bool:
        seen.append(self.comment)
        return verify(self, signature, message)

    monkeypatch.setattr(PublicKey, "verify", seeing)
    sealed = signed()
    signature = structs.replace(sign(sealed, "cat"), keyid=public(named).keyid if named else "")
    trust = Trust(tuple(key(name, "author") for name in ("ann", "bob", "cat")), {"author": 1}, 9, "")
    verdict = rules.judge(sealed.payload_type, sealed.payload, (signature,), trust, NOW)
    assert (verdict.signatures[0].signer, seen) == ("cat", tried)


@pytest.mark.parametrize(
    ("signers", "require", "missing"),
    [
        ((), {"author": 1}, {"author": 1}),
        ((), {"author": 3, "reviewer": 1}, {"author": 3, "reviewer": 1}),
        ((key("a", "author"),), {"author": 3}, {"author": 2}),
        ((key("a", "author", "reviewer"), key("b", "author")), {"author": 1, "reviewer": 1}, {}),
        ((key("a", "author", "reviewer"),), {"author": 1, "reviewer": 1}, {"reviewer": 1}),
        (
            (key("a", "x", "y"), key("b", "x", "z"), key("c", "x")),
            {"x": 1, "y": 1, "z": 1},
            {},
        ),
        ((key("a", "author"), key("b", "author")), {"author": 1}, {}),
        ((key("a", "reviewer"), key("b", "reviewer")), {"author": 1, "reviewer": 2}, {"author": 1}),
    ],
)
def test_each_key_fills_one_place_and_as_many_places_as_can_be_are_filled(signers, require, missing) -> None:
    assert rules.missing_roles(signers, require) == missing


def test_a_refusal_names_unknown_signers_by_their_key_id(tmp_path: Path) -> None:
    world = World(str(tmp_path))
    world.policy("{author: 2}", alice="roles: [author]", bob="roles: [author]")
    world.save(signed("mallory", "alice"))
    with pytest.raises(rules.NotTrusted) as refused:
        decide(world)
    why = refused.value.diagnostics[0].why
    assert f"{public('mallory').keyid}: no trusted key" in why
    assert "alice: counts as author" in why
    assert "1 more of the role 'author'" in why


@pytest.mark.parametrize(("line", "good"), [("not_before", True), ("expires", False)])
def test_a_key_is_valid_from_the_first_second_and_not_in_the_last(tmp_path: Path, line: str, good: bool) -> None:
    world = World(str(tmp_path))
    world.policy(alice=f"{line}: {NOW:%Y-%m-%dT%H:%M:%SZ}")
    world.save(signed("alice"))
    sealed = orderfile.read(world.order_path)
    trust = load_trust(world.trust_path)
    for step, counts in ((-1, not good), (0, good), (1, good)):
        now = NOW + timedelta(seconds=step)
        verdict = rules.judge(sealed.payload_type, sealed.payload, sealed.signatures, trust, now)
        assert verdict.accepted is counts


HERE = rules.Place(Platform("linux", "debian", "amd64"), "web1", "/", 100)


@pytest.mark.parametrize(
    ("serial", "last", "jump", "words"),
    [
        (0, 0, 5, ""),
        (5, 0, 5, ""),
        (6, 0, 5, "leaps too far"),
        (100, 100, 5, ""),
        (99, 100, 5, "lower than 100"),
        (-1, -2, 5, "negative"),
        (1 << 20, 0, None, ""),
        ((1 << 20) + 1, 0, None, "leaps too far"),
    ],
)
def test_a_serial_only_grows_and_not_too_fast(tmp_path: Path, serial, last, jump, words) -> None:
    world = World(str(tmp_path))
    world.policy()
    trust = None
    if jump is not None:
        text = Path(world.trust_path).read_text()
        world.write_policy(f"{text}max_serial_jump: {jump}\n")
        trust = load_trust(world.trust_path)
    place = rules.Place(HERE.platform, "web1", "/", last)
    if not words:
        rules.admit(order(serial=serial), place, trust, NOW, "x")
        return
    with pytest.raises(rules.NotTrusted, match=words):
        rules.admit(order(serial=serial), place, trust, NOW, "x")


def test_going_back_is_allowed_by_asking_for_it_alone() -> None:
    back = rules.Place(HERE.platform, "web1", "/", 100, allow_downgrade=True)
    rules.admit(order(serial=7), back, None, NOW, "x")
    with pytest.raises(rules.NotTrusted, match="lower than 100"):
        rules.admit(order(serial=7), HERE, None, NOW, "x")


def test_a_place_that_is_unknown_is_said_to_be_none() -> None:
    nowhere = rules.Place(Platform("linux"), "web1", "/", 6)
    with pytest.raises(rules.NotTrusted) as refused:
        rules.admit(order(), nowhere, None, NOW, "x")
    assert "for distro debian, this machine has none" in str(refused.value)
    assert len(refused.value.diagnostics) == 2


@pytest.mark.parametrize(
    ("needed", "good"),
    [("0.0.1", True), (rules.VERSION, True), (f"{rules.VERSION}.1", False), ("99", False), ("x" * 60, False)],
)
def test_the_least_version_is_compared_by_numbers(needed: str, good: bool) -> None:
    if good:
        rules.admit(order(min_runtime=needed, serial=100), HERE, None, NOW, "x")
        return
    with pytest.raises(rules.NotTrusted) as refused:
        rules.admit(order(min_runtime=needed, serial=100), HERE, None, NOW, "x")
    assert "x" * 41 not in str(refused.value)
