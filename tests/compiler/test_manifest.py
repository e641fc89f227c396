"""Every mistake in package.yaml: its place, what was found, and all of them at once."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from requisition.compiler import manifest_schema
from requisition.compiler.manifest import parse_manifest
from requisition.compiler.settings import Setting, check_value, chosen_settings
from requisition.schemas import strictyaml
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
    ("name: a\nschema_version: 1", "2:17", "in quotes"),
    ('name: a\nschema_version: "2"', "2:17", 'expected the text "1"'),
    ("name: a\nx: 1", "2:1", "unknown key 'x'"),
    ("name: &n a", "1:7", "anchors are not allowed"),
    ("name: a\nx-deep: " + "[" * 33 + "]" * 33, "2:41", "nested deeper than 32"),
    ("name: a\ntype: declarative", "2:7", "says what it does under `actions`"),
    ("name: a\ntype: scripted\nactions: []", "3:10", "has no actions of its own"),
    ("name: a\nchildren: [{url: -x, path: a}]", "2:18", "it reads as an option"),
    ("name: a\nchildren: [{url: 'ext::sh', path: a}]", "2:18", "it would start a program"),
    ("name: a\nchildren: [{url: 'ssh://-oProxyCommand=x/y', path: a}]", "2:18", "its host reads as an option"),
    ("name: a\nchildren: [{url: 'git@-oProxyCommand=x:y', path: a}]", "2:18", "is neither"),
    ("name: a\nchildren: [{url: 'https://me:secret@h/y', path: a}]", "2:18", "it holds a password"),
    ("name: a\nchildren: [{url: ../x, ref: v1, version: '1'}]", "2:42", "not both"),
    ("name: a\nchildren: [{url: ../x, ref: -b}]", "2:29", "is no branch, tag or commit"),
    ("name: a\nchildren: [{url: ../x, version: newest}]", "2:33", "is no range of versions"),
    ("name: a\nchildren: [{url: ../x, path: y}, {url: ../z, path: y/z}]", "2:52", "lies inside of another child, 'y'"),
    ("name: a\nchildren: [{url: ../é.git}, {url: ../z, path: e\u0301}]", "2:47", "two children lie at"),
    ("name: a\nchildren: [{url: ../Y}, {url: h:x/y.git}]", "2:31", "two children lie at 'y'"),
    ("name: a\ndepends_on: [a]", "2:14", "cannot depend on itself"),
    ("name: a\ndepends_on: [b, b]", "2:17", "stands here twice"),
    ("name: a\ndepends_on: [-x]", "2:14", "names no package"),
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


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a//b", "a/", "a\\\\b", "c:x", "$x", "a~1", "Nul.txt", "com1", "-x", ".git", "a\\tb", "a."]
)
def test_a_child_lies_at_bare_names_only(path):
    text = f'name: a\nchildren:\n  - {{url: ../x, path: "{path}"}}\n'
    with pytest.raises(BadInput, match="cannot be where a child lies") as refused:
        parse_manifest(text, "package.yaml")
    assert [one.where for one in refused.value.diagnostics] == ["package.yaml:3:23"]


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://h/a/foo.git", "foo"),
        ("git@h:foo.git", "foo"),
        ("h:a/foo/", "foo"),
        ("ssh://git@h:2222/foo", "foo"),
        ("file:///srv/foo.git", "foo"),
        ("../foo", "foo"),
        ("/srv/foo.git", "foo"),
    ],
)
def test_a_child_without_a_path_lies_where_its_url_ends(url, place):
    assert parse_manifest(f"name: a\nchildren: [{{url: '{url}'}}]", "m").children[0].place == place


def test_keys_of_others_are_kept():
    manifest = parse_manifest("name: a\nx-gitignore: ['*.o']\nx-y: {z: 1}\n", "m")
    assert manifest.extensions == {"x-gitignore": ["*.o"], "x-y": {"z": 1}}


def test_the_public_schema_did_not_drift():
    assert Path(manifest_schema.FILE).read_bytes() == manifest_schema.schema()


def test_the_public_schema_takes_what_we_take():
    schema = json.loads(manifest_schema.schema())
    text = 'name: a\nschema_version: "1"\nx-y: 1\nactions: [{when: {os: linux, actions: [{mkdir: {path: ~/x}}]}}]\n'
    parse_manifest(text, "m")
    jsonschema.validate(strictyaml.load(text, "m")[0], schema)
    for wrong in ({"name": "a", "y": 1}, {"name": "a", "actions": [{}]}, {"schema_version": 1, "name": "a"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


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
