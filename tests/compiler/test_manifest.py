"""Every mistake in package.yaml: its place, what was found, and all of them at once."""

import re

import pytest

from requisition.compiler.manifest import parse_manifest
from requisition.compiler.settings import Setting, check_value, chosen_settings
from requisition.schemas.diagnostic import BadInput

MISTAKES = [
    ("name: Bad Name", "1:7", "cannot name a package"),
    ("version: '1'", "1:1", "missing required field `name`"),
    ("name: a\nfeaturs: {}", "2:1", "did you mean 'features'"),
    ("name: a\nserial: -1", "2:9", "a number that only grows"),
    ("name: a\nserial: x", "2:9", "Expected `int`"),
    ("name: a\nscope: house", "2:8", "Invalid enum value 'house'"),
    ("name: a\ntarget_root: here", "2:14", "is not a target root"),
    ("name: a\nplatforms: [linux, Debian]", "2:20", "'Debian' is not a platform"),
    ("name: a\nhosts: ['a b']", "2:9", "is not a host name"),
    ("name: a\nfeatures: {'a b': {}}", "2:19", "cannot name one of features"),
    ("name: a\nsecrets:\n  9x: it", "3:7", "cannot name one of secrets"),
    ("name: a\nphases: [install, install]", "2:19", "stands here twice"),
    ("name: a\nphases: [In-stall]", "2:10", "cannot name a phase"),
    ("name: a\nlayers: [{name: x, path: ../y}]", "2:26", "is not a folder of the package"),
    ("name: a\nlayers: [{name: x, path: y}, {name: x, path: z}]", "2:37", "stands here twice"),
    ("name: a\nprojects: {deploy: link}", "2:11", "does not say where to"),
    ("name: a\nprojects: {modes: {x: '0600'}}", "2:23", "is not a target path"),
    ("name: a\nprojects: {modes: {/x: '0o6'}}", "2:24", "is not a mode"),
    ("name: a\nsettings: {p: {type: float}}", "2:22", "Invalid enum value 'float'"),
    ("name: a\nsettings: {p: {pattern: '('}}", "2:15", "its pattern cannot be read"),
    ("name: a\nsettings: {p: {type: array, items: {type: x}}}", "2:15", "Invalid enum value 'x'"),
    ("name: a\nsettings: {p: {type: integer, default: x}}", "2:40", "the default of 'p'"),
    ("name: a\nsettings: {p: {enum: [a], default: b}}", "2:36", "expected one of a"),
]


@pytest.mark.parametrize(("text", "place", "words"), MISTAKES, ids=[words for _, _, words in MISTAKES])
def test_a_mistake_is_told_with_its_line_and_column(text, place, words):
    with pytest.raises(BadInput) as refused:
        parse_manifest(text, "package.yaml")
    (found,) = refused.value.diagnostics
    assert found.where == f"package.yaml:{place}"
    assert re.search(re.escape(words), f"{found.what} {found.next}")
    assert found.next


def test_all_mistakes_are_told_at_once():
    text = "name: Bad\nserial: -1\nphases: [A, b, b]\nlayers: [{name: '', path: /}]\n"
    with pytest.raises(BadInput) as refused:
        parse_manifest(text, "package.yaml")
    assert len(refused.value.diagnostics) == 6


VALUES = [
    (Setting("integer", minimum=1, maximum=3), 2, 4),
    (Setting("integer"), 1 << 53, (1 << 53) + 1),
    (Setting("boolean"), True, 1),
    (Setting("string", enum=["a", "b"]), "a", "c"),
    (Setting("array", items={"type": "integer", "minimum": 0}), [0, 1], [0, -1]),
    (Setting("array"), [["deep"]], [1.5]),
    (Setting("object"), {"key": 1}, {"ключ": 1}),
]


@pytest.mark.parametrize(("setting", "good", "bad"), VALUES)
def test_a_value_is_checked_against_its_fragment(setting, good, bad):
    check_value(setting, good)
    with pytest.raises(ValueError, match="expected"):
        check_value(setting, bad)


def test_given_texts_are_read_as_the_settings_type_says():
    manifest = parse_manifest(
        "name: a\nsettings: {s: {}, i: {type: integer}, b: {type: boolean}, l: {type: array}, o: {type: object}}", "m"
    )
    given = {"s": "1", "i": "-7", "b": "true", "l": "[1, 2]", "o": '{"k": "v"}'}
    assert chosen_settings(manifest, given, "m") == {"s": "1", "i": -7, "b": True, "l": [1, 2], "o": {"k": "v"}}
    bad = {"s": "x", "i": "1e3", "b": "yes", "l": "[1,", "o": "[" * 100_000}
    with pytest.raises(BadInput) as refused:
        chosen_settings(manifest, bad, "m")
    assert len(refused.value.diagnostics) == 4


def test_a_setting_without_default_must_be_given():
    manifest = parse_manifest("name: a\nsettings: {s: {description: what it is}}", "m")
    with pytest.raises(BadInput, match="no default and no value was given"):
        chosen_settings(manifest, {}, "m")
