"""Both file forms: the same document, the same signatures, and nothing accepted that was not written."""

import hashlib
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from requisition.runtime import trust as rules
from requisition.schemas import orderfile
from requisition.schemas.checksum import Altered
from requisition.schemas.diagnostic import BadInput, Refused
from requisition.schemas.document import Context
from requisition.schemas.orderfile import Sealed
from requisition.schemas.trustfile import Trust, parse_trust
from support import golden
from support.sealed import order, public, sign, signed

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TRUST: Trust = parse_trust(f"keys: {{alice: {{key: {public('alice').openssh()}}}}}", "trust.yaml")


def check(sealed: Sealed) -> None:
    rules.require_accepted(rules.judge(sealed.payload_type, sealed.payload, sealed.signatures, TRUST, NOW), "x")


text = st.text(max_size=40) | st.sampled_from(
    [
        "yes",
        "~",
        "1.5",
        "a\nb\n",
        " a\n\nb",
        "x: y",
        "- a",
        "#",
        "...",
        "@x",
        "%",
        "=",
        "`",
        "&a",
        "*a",
        "!t",
        "?",
        "|",
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abyn:-# .", max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text("abc_", min_size=1, max_size=6), values, max_size=4))
def test_a_signature_made_on_one_form_verifies_in_the_other(
    tmp_path_factory: pytest.TempPathFactory, given_settings: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("forms")
    sealed = orderfile.seal(order(context=Context("demo", settings=given_settings)))
    sealed = structs.replace(sealed, signatures=(sign(sealed, "alice"), sign(sealed, "alice", "sshsig")))
    orderfile.write(f"{folder}/a.yaml", sealed)
    orderfile.write(f"{folder}/b.plan", orderfile.read(f"{folder}/a.yaml"))
    back = orderfile.read(f"{folder}/b.plan")
    assert (back.payload, back.signatures) == (sealed.payload, sealed.signatures)
    check(back)
    assert orderfile.decode_order(back).context.settings == given_settings


def test_every_flipped_bit_of_a_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.plan"
    orderfile.write(str(path), signed("alice"))
    data = path.read_bytes()
    start = data.index(b'{"context"')
    for place in range(start, start + len(signed().payload)):
        for bit in range(8):
            sealed = signed("alice")
            payload = bytearray(sealed.payload)
            payload[place - start] ^= 1 << bit
            with pytest.raises(Refused):
                check(structs.replace(sealed, payload=bytes(payload)))


def test_every_flipped_bit_of_the_yaml_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    orderfile.write(str(path), signed("alice"))
    data = path.read_bytes()
    for place in range(data.index(b"source:")):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        with pytest.raises((BadInput, Refused)):
            check(orderfile.read(str(path)))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_files_raise_nothing_but_their_own_errors(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("mutants")
    form = data.draw(st.sampled_from(["order.yaml", "order.plan"]))
    content = bytearray(Path(golden.FOLDER, form).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    path = folder / form
    path.write_bytes(content)
    with suppress(BadInput, Altered):
        orderfile.decode(orderfile.read(str(path)))


@pytest.mark.parametrize("name", ["order.yaml", "order.plan"])
def test_the_formats_did_not_drift(name: str, tmp_path: Path) -> None:
    assert name in golden.write(str(tmp_path))
    assert (tmp_path / name).read_bytes() == Path(golden.FOLDER, name).read_bytes()


def test_a_bundle_survives_being_signed_again_and_finds_damage(tmp_path: Path) -> None:
    content = b"secretless" * 1000
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "input").write_bytes(content)
    path = str(tmp_path / "a.plan")
    orderfile.write(path, signed("alice"), {digest: str(tmp_path / "input")})
    first = orderfile.read(path)
    orderfile.write(path, structs.replace(first, signatures=signed("bob").signatures))
    first.close()
    again = orderfile.read(path)
    assert again.blobs is not None
    assert again.blobs.read(digest) == content
    again.close()
    data = bytearray(Path(path).read_bytes())
    data[-1] ^= 1
    Path(path).write_bytes(data)
    damaged = orderfile.read(path)
    assert damaged.blobs is not None
    with pytest.raises(BadInput, match="altered or cut short"):
        damaged.blobs.read(digest)
    damaged.close()
