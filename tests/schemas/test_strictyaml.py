"""Hand-written YAML means what it looks like, and errors say where."""

from typing import Any

import pytest
from msgspec import Struct

from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput


class Feature(Struct, forbid_unknown_fields=True):
    default: bool = False


class Manifest(Struct, forbid_unknown_fields=True):
    name: str
    features: dict[str, Feature] = {}


@pytest.mark.parametrize(
    ("text", "value"),
    [("yes", "yes"), ("on", "on"), ("0o17", "0o17"), ("017", "017"), ("12:30", "12:30"),
     ("1.10", "1.10"),
     ("2026-01-01", "2026-01-01"), ("true", True), ("null", None),
     ("-3", -3), ("'1'", "1"), ("0x1F", "0x1F")],
)  # fmt: skip
def test_plain_scalars_mean_what_they_look_like(text: str, value: Any) -> None:
    assert strictyaml.load(f"a: {text}\n", "f")[0] == {"a": value}


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: &x 1", "f:1:4: anchors"), ("a: *x", "aliases"), ("a: !!str 1", "f:1:4: tags"),
     ("<<: {}", "merge keys"),
     ("a: 1\na: 2", "f:2:1: the key 'a' stands here twice"), ("[" * 99, "nested deeper"),
     ("a: 1\n---\nb: 1", "one doc"),
     ("? [a]\n: 1", "a key must be"), ("a: [1", "not YAML"), ("a: '\x00'", "YAML")],
)  # fmt: skip
def test_what_is_outside_of_the_subset_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(BadInput) as refused:
        strictyaml.load(text, "f")
    assert words in str(refused.value)


def test_every_unknown_key_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(BadInput) as refused:
        strictyaml.load_typed("name: x\nfeatures:\n  tls:\n    defualt: true\nfeture: 1\n", "f", Manifest)
    text = str(refused.value)
    assert "f:4:5: unknown key 'defualt'" in text
    assert "did you mean 'default'?" in text
    assert "f:5:1: unknown key 'feture'" in text


def test_a_wrong_type_says_where_and_what() -> None:
    with pytest.raises(BadInput) as refused:
        strictyaml.load_typed("name: [x]\n", "f", Manifest)
    assert "f:1:7: name: Expected `str`, got `array`" in str(refused.value)
