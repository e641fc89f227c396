"""Nothing counts that was not signed by who must sign it, as what it is, when it may be, byte for byte."""

from collections.abc import Callable

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from requisition.schemas.diagnostic import BadInput, Refused
from requisition.schemas.signing import PemSigner
from requisition.services.fleet import rollout, sealed, trustslots
from requisition.services.fleet.authority import Proof, opened_command, opened_report, permits_recall, proves_failure
from requisition.services.fleet.events import (
    COMMAND_TYPE,
    REPORT_TYPE,
    ActivationFailed,
    Command,
    Converged,
    Halt,
    HostEvent,
    Report,
    RollBack,
    RollbackBegan,
    SoakFailed,
)
from requisition.services.fleet.events import Refused as RefusedReport
from requisition.services.fleet.layout import layout
from requisition.services.fleet.rollout import ROLLOUT_TYPE, SKEW, TIP_TYPE, Health, Target, Tip
from requisition.services.fleet.sealed import Sealed, seal
from requisition.services.fleet.trustslots import FleetTrust, Nonce, Nonces, Revocations, Revoked, Slot, Untrusted
from support.fleets import DAY, START, made, order_of

NEW, NOW_KEY, OLD, ADA, EVE = (PemSigner(Ed25519PrivateKey.generate(), "test") for _ in range(5))
SLOT = Slot("release", NOW_KEY.public, OLD.public, NEW.public, retire_at=START + DAY, reject_before=START - DAY)
TRUST = FleetTrust("home", SLOT, {"ada": ADA.public})
ROLLOUT = made([["a"]]).rollout
BYTES = rollout.payload(ROLLOUT)
TIP = Tip(fleet="home", channel="web", serial=1, rollout=rollout.digest(BYTES), signed_at=START)


def tip(signer: PemSigner = NOW_KEY, **fields: object) -> Sealed:
    return seal(TIP_TYPE, rollout.payload(replace(TIP, **fields)), signer)


def open_tip(found: Sealed, now: int = START, window: int = DAY) -> Tip:
    return trustslots.opened_tip(found, TRUST, now, window)


def test_a_document_travels_and_is_opened() -> None:
    assert open_tip(sealed.read(sealed.write(tip()), "tip")) == TIP
    found = trustslots.opened_rollout(seal(ROLLOUT_TYPE, BYTES, NOW_KEY), TIP, TRUST, START)
    assert found == ROLLOUT


@pytest.mark.parametrize("signer", [NEW, NOW_KEY, OLD])
def test_until_a_key_retires_the_one_before_and_the_one_after_it_count_too(signer: PemSigner) -> None:
    assert open_tip(tip(signer)) == TIP
    later = START + DAY
    if signer is NEW:
        assert open_tip(tip(signer), later) == TIP
    else:
        with pytest.raises(Untrusted):
            open_tip(tip(signer), later)


def test_without_a_successor_the_current_key_goes_on_and_the_previous_one_does_not() -> None:
    slot = replace(SLOT, successor=None)
    assert slot.active(START + 2 * DAY) == (NOW_KEY.public,)
    assert slot.retiring == ()
    assert [one.slot for one in SLOT.retiring] == ["release"]


@pytest.mark.parametrize(
    ("signed_at", "now", "why"),
    [
        (START, START + DAY + SKEW, ""),
        (START, START + DAY + SKEW + 1, "it is too old"),
        (START + SKEW, START, ""),
        (START + SKEW + 1, START, "it was signed in the future"),
        (START - DAY, START, ""),
        (START - DAY - 1, START, "before the moment"),
        (START - 3 * DAY, START, "before the moment"),
    ],
)
def test_what_is_too_old_of_the_future_or_from_before_a_compromise_does_not_count(
    signed_at: int, now: int, why: str
) -> None:
    found = trustslots.untimely(signed_at, SLOT.reject_before, now, DAY)
    assert bool(why) == bool(found)
    assert why in found


def test_a_stale_tip_is_refused_as_a_whole() -> None:
    with pytest.raises(Untrusted, match="not good now"):
        open_tip(tip(NEW), START + DAY + SKEW + 1, DAY)
    with pytest.raises(Untrusted, match="not good now"):
        open_tip(tip(signed_at=START - DAY - 1), START)


ALTERED: list[tuple[str, Callable[[Sealed], Sealed]]] = [
    ("another signer", lambda found: tip(EVE)),
    ("no signature", lambda found: replace(found, signatures=())),
    ("another type", lambda found: replace(found, payload_type=ROLLOUT_TYPE)),
    ("signed as another type", lambda found: replace(seal(ROLLOUT_TYPE, found.payload, NOW_KEY), payload_type=TIP_TYPE)),
    ("one byte more", lambda found: replace(found, payload=found.payload + b" ")),
    ("another fleet", lambda found: tip(fleet="away")),
    ("a later moment", lambda found: replace(found, payload=found.payload.replace(b"18000000", b"18000001"))),
]  # fmt: skip


@pytest.mark.parametrize(("what", "alter"), ALTERED, ids=[what for what, _ in ALTERED])
def test_an_altered_document_is_refused(what: str, alter: Callable[[Sealed], Sealed]) -> None:
    with pytest.raises(Refused):
        open_tip(alter(tip()))


def test_signatures_are_looked_at_before_anything_is_parsed() -> None:
    junk = b"{" * 100_000
    with pytest.raises(Untrusted, match="not signed by a key"):
        open_tip(seal(TIP_TYPE, junk, EVE))
    with pytest.raises(BadInput):
        open_tip(seal(TIP_TYPE, junk, NOW_KEY))


def test_a_signed_document_that_is_not_canonical_is_refused() -> None:
    spaced = rollout.payload(TIP).replace(b'":', b'": ', 1)
    with pytest.raises(BadInput):
        open_tip(seal(TIP_TYPE, spaced, NOW_KEY))


def test_a_tip_and_a_rollout_that_do_not_belong_together_are_refused() -> None:
    other = rollout.payload(replace(ROLLOUT, serial=2))
    with pytest.raises(Untrusted, match="not the rollout that the tip names"):
        trustslots.opened_rollout(seal(ROLLOUT_TYPE, other, NOW_KEY), TIP, TRUST, START)
    with pytest.raises(Untrusted, match="another channel or serial"):
        trustslots.opened_rollout(seal(ROLLOUT_TYPE, BYTES, NOW_KEY), replace(TIP, serial=7), TRUST, START)
    with pytest.raises(Untrusted, match="not signed by a key"):
        trustslots.opened_rollout(seal(ROLLOUT_TYPE, BYTES, EVE), TIP, TRUST, START)


def test_a_rollout_that_contradicts_itself_is_refused_whoever_signed_it() -> None:
    bad = rollout.payload(replace(ROLLOUT, waves=()))
    named = replace(TIP, rollout=rollout.digest(bad))
    with pytest.raises(Untrusted, match="in a wave that is not there"):
        trustslots.opened_rollout(seal(ROLLOUT_TYPE, bad, NOW_KEY), named, TRUST, START)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[1]", b"\xff", b'{"payloadType":1}', b'{"payloadType":"x","payload":"!"}']
)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(Untrusted):
        sealed.read(data, "tip")


# -- operators, hosts


def command(signer: PemSigner = ADA, **fields: object) -> Sealed:
    verb = Halt(TIP.rollout, "smoke")
    one = Command(fleet="home", nonce="n" * 16, signed_at=START, verb=verb)
    return seal(COMMAND_TYPE, rollout.payload(replace(one, **fields)), signer)


def test_a_verb_carries_the_name_of_the_key_that_signed_it() -> None:
    assert opened_command(command(), TRUST, START).by == "ada"


@pytest.mark.parametrize(
    "found",
    [command(EVE), command(NOW_KEY), command(fleet="away"), command(by="ada"), command(signed_at=START - DAY),
     command(signed_at=START + 2 * SKEW)],
)  # fmt: skip
def test_a_verb_of_nobody_of_another_fleet_or_of_yesterday_is_refused(found: Sealed) -> None:
    with pytest.raises(Untrusted):
        opened_command(found, TRUST, START)


def test_a_recall_is_permitted_by_a_verb_of_whatever_age_for_its_rollout_alone() -> None:
    back = command(verb=RollBack(TIP.rollout, "no"), signed_at=START - 30 * DAY)
    assert permits_recall(back, TRUST, TIP.rollout)
    assert not permits_recall(back, TRUST, rollout.digest(b"other"))
    assert not permits_recall(command(), TRUST, TIP.rollout)
    with pytest.raises(Untrusted):
        permits_recall(command(EVE, verb=RollBack(TIP.rollout, "no")), TRUST, TIP.rollout)


def test_a_report_is_of_the_host_whose_key_signed_it() -> None:
    event = RefusedReport(TIP.rollout, 1, START, "no")
    report = Report(host="a", stream="s", seq=1, at=START, event=event)
    found = seal(REPORT_TYPE, msgspec.json.encode(report, order="sorted"), ADA)
    assert opened_report(found, "a", ADA.public) == report
    with pytest.raises(Untrusted):
        opened_report(found, "b", ADA.public)
    with pytest.raises(Untrusted):
        opened_report(found, "a", EVE.public)


HOST_KEYS = {name: PemSigner(Ed25519PrivateKey.generate(), "test") for name in "abc"}
KEYED = layout(
    replace(
        made([["a", "b", "c"]], health=Health(max_failures=1)).rollout,
        targets=tuple(Target(name, 0, order_of(1), HOST_KEYS[name].public.keyid) for name in "abc"),
    )
)


def proof(host: str, event: HostEvent | None = None, signer: PemSigner | None = None, as_host: str = "") -> Proof:
    signer = signer or HOST_KEYS[host]
    event = event or SoakFailed(KEYED.id, "sick")
    report = Report(host=as_host or host, stream="s", seq=1, at=START, event=event)
    return Proof(seal(REPORT_TYPE, rollout.payload(report), signer), signer.public.openssh())


def test_reports_that_failed_hosts_signed_prove_that_a_rollout_failed() -> None:
    assert proves_failure(KEYED, [proof("a"), proof("b")])
    assert proves_failure(
        KEYED, [proof("a", ActivationFailed(KEYED.id, 1, "no", "")), proof("c", RollbackBegan(KEYED.id, "", "failed"))]
    )


@pytest.mark.parametrize(
    "second",
    [
        proof("a"),
        proof("b", Converged(KEYED.id, "")),
        proof("b", RollbackBegan(KEYED.id, "", "recalled")),
        proof("b", SoakFailed(made([["b"]], serial=2).id, "sick")),
        proof("b", signer=EVE),
        proof("a", as_host="b"),
        proof("b")._replace(key="nonsense"),
        proof("b")._replace(report=seal(COMMAND_TYPE, proof("b").report.payload, HOST_KEYS["b"])),
        proof("b", as_host="z"),
    ],
)
def test_what_proves_nothing_is_not_counted(second: Proof) -> None:
    assert not proves_failure(KEYED, [proof("a"), second])


# -- revocation and enrolment


def test_what_was_issued_before_a_revocation_is_void() -> None:
    revoked = Revocations(fleet="home", signed_at=START, hosts=(Revoked("a", START, "stolen"),))
    assert revoked.revoked("a", START - 1) == "stolen"
    assert revoked.revoked("a", START) == ""
    assert revoked.revoked("b", 0) == ""


def test_a_token_enrols_its_host_once_in_time_with_its_key() -> None:
    token = "0123456789abcdef"
    hashed = rollout.digest(token.encode()).removeprefix("sha256:")
    nonces = Nonces(fleet="home", signed_at=START, nonces=(Nonce("a", hashed, START + DAY, ADA.public.keyid),))
    found = trustslots.enrolment(nonces, "a", token, ADA.public, frozenset(), START)
    assert found.host == "a"
    bad = [
        ("b", token, ADA, frozenset[str](), START),
        ("a", token + "x", ADA, frozenset[str](), START),
        ("a", token, EVE, frozenset[str](), START),
        ("a", token, ADA, frozenset({hashed}), START),
        ("a", token, ADA, frozenset[str](), START + DAY),
    ]
    for host, given, key, used, now in bad:
        with pytest.raises(Untrusted):
            trustslots.enrolment(nonces, host, given, key.public, used, now)


def test_a_trust_file_is_read() -> None:
    text = f"""\
version: "1"
fleet: home
release:
  current: {NOW_KEY.public.openssh()}
  successor: {NEW.public.openssh()}
  retire_at: 2027-01-15T08:00:00Z
  reject_before: 2027-01-14T08:00:00Z
operators:
  ada: {ADA.public.openssh()}
"""
    found = trustslots.parse_trust(text, "fleet-trust.yaml")
    assert found.release == Slot("release", NOW_KEY.public, None, NEW.public, START, START - DAY)
    assert found.operators == {"ada": ADA.public}
    with pytest.raises(BadInput, match="unknown key"):
        trustslots.parse_trust(text.replace("operators", "operator"), "f")
    with pytest.raises(BadInput, match="two operators have one key"):
        trustslots.parse_trust(text + f"  eve: {ADA.public.openssh()}\n", "f")
