import json
import re
import shutil
import subprocess

import pyrage
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.action import ActionError, Satisfied
from requisition.stdlib.providers.encryption.age import Identities
from requisition.stdlib.providers.encryption.decrypt import Decrypt
from requisition.stdlib.providers.encryption.sops_json import open_env, open_json
from requisition.stdlib.providers.encryption.sops_yaml import open_yaml
from support.hosts import Bench
from support.sops import Sealer, sealed_env, sealed_json, sealed_yaml

MINE = pyrage.x25519.Identity.generate()
OTHER = pyrage.x25519.Identity.generate()
KEY = f"# created: today\n# public key: {MINE.to_public()}\n{MINE}\n"
TREE = {
    "db": {"user": "eve", "password": "s3cr3t: #1", "port": 5432, "tls": True, "share": 0.25},
    "list": ["one", {"two": 2}, ["three"], "yes", "0777", "1e3", "null", " padded ", "é\u2028", "a\tb"],
    "key": "-----BEGIN KEY-----\nabc\n-----END KEY-----\n",
    "empty": "",
    "nothing": None,
    "host_unencrypted": "example.org",
    "more_unencrypted": {"port": 80, "on": False, "ratio": 1.5, "day": "2026-01-02", "text": "x: y"},
}
ENV = {"TOKEN": "geheim = 1", "KEY": "two\nlines", "EMPTY": "", "HOST_unencrypted": "example.org"}


def opened(tmp_path, name, content, **slots):
    bench = Bench(tmp_path, {name: content})
    found = bench.observe(Decrypt(), source=name, **({"identity": KEY} | slots))
    assert isinstance(found, Satisfied)
    return found.outputs["content"]


# age ---------------------------------------------------------------------------------------------


def age(*words, text=b"geheim\n") -> bytes:
    if shutil.which("age") is None:
        pytest.skip("age is not installed")
    return subprocess.run(["age", *words], input=text, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def ssh(tmp_path_factory):
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    folder = tmp_path_factory.mktemp("keys")
    for name, kind, word in (("ed", "ed25519", ""), ("rsa", "rsa", ""), ("locked", "ed25519", "pw")):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", word, "-f", folder / name], check=True)
    return folder


@pytest.mark.parametrize("words", [(), ("--armor",)])
def test_what_age_encrypted_is_opened_by_a_key_as_age_keygen_writes_it(tmp_path, words):
    assert opened(tmp_path, "a.age", age(*words, "-r", str(MINE.to_public()))) == b"geheim\n"


def test_any_of_several_identities_opens(tmp_path):
    assert opened(tmp_path, "a.age", age("-r", str(MINE.to_public())), identity=f"{OTHER}\n{KEY}") == b"geheim\n"


@pytest.mark.parametrize("name", ["ed", "rsa"])
def test_what_was_encrypted_for_an_ssh_key_is_opened_by_it(tmp_path, ssh, name):
    sealed = age("-R", str(ssh / f"{name}.pub"))
    assert opened(tmp_path, "a.age", sealed, identity=(ssh / name).read_text()) == b"geheim\n"


def test_a_key_that_cannot_open_is_told_without_showing_it(tmp_path, ssh):
    sealed = age("-r", str(MINE.to_public()))
    bench = Bench(tmp_path, {"a.age": sealed, "b.age": sealed[:-1], "c.age": b"junk", "d": sealed})
    for source, identity, words in (
        ("a.age", str(OTHER), "not encrypted for the given identity"),
        ("a.age", "AGE-SECRET-KEY-1QQ", "no age key"),
        ("a.age", "", "no age key"),
        ("a.age", "AGE-PLUGIN-YUBIKEY-1QQ", "plug-ins"),
        ("a.age", (ssh / "locked").read_text(), "without a passphrase|SSH key cannot be used"),
        ("b.age", KEY, "damaged|cannot be decrypted"),
        ("c.age", KEY, "cannot be decrypted"),
        ("d", KEY, "no format"),
    ):
        with pytest.raises(ActionError, match=words) as refused:
            bench.observe(Decrypt(), source=source, identity=identity)
        assert not identity or identity not in str(refused.value) + refused.value.hint


def test_a_passphrase_is_no_key(tmp_path):
    sealed = b"age-encryption.org/v1\n-> scrypt " + b"A" * 22 + b" 18\n" + b"A" * 43 + b"\n--- " + b"A" * 43 + b"\n"
    with pytest.raises(ActionError, match="encrypted with a passphrase"):
        opened(tmp_path, "a.age", sealed + bytes(48))


def test_the_result_is_written_for_its_owner_only_and_taken_back(tmp_path):
    bench = Bench(tmp_path, {"a.age": pyrage.encrypt(b"geheim\n", [MINE.to_public()])})
    bench.host.sealed = True
    slots = {"source": "a.age", "identity": KEY, "path": "/token"}
    change = bench.do(Decrypt(), **slots)
    assert (bench.root / "token").read_bytes() == b"geheim\n"
    assert (bench.root / "token").stat().st_mode & 0o7777 == 0o600
    assert isinstance(bench.observe(Decrypt(), **slots), Satisfied)
    assert change.sealed
    bench.undo(Decrypt(), change)
    assert not list(bench.root.iterdir())


# sops --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("only_encrypted", [False, True])
def test_yaml_of_sops_is_opened_where_it_stands(tmp_path, only_encrypted):
    content = opened(tmp_path, "a.sops.yaml", sealed_yaml(TREE, MINE.to_public(), only_encrypted=only_encrypted))
    assert yaml.safe_load(content) == TREE
    assert b"sops" not in content
    assert b'password: "s3cr3t: #1"' in content


def test_comments_and_layout_of_yaml_stay_and_encrypted_comments_go():
    sealer = Sealer(MINE.to_public())
    tree = sealer.tree({"a": "one", "b": ["two"], "c": "three"})
    hidden = "#" + sealer.seal("comment", " hidden", ":")
    text = (
        f"{hidden}\n# shown\na:   {tree['a']} {hidden}\n{hidden}\n\nb:\n  {hidden}\n  - {tree['b'][0]}   # two\n"
        f"c: '{tree['c']}'\n" + yaml.safe_dump({"sops": sealer.section()}, indent=4) + "# end\n"
    )
    content, leaves = open_yaml(text, Identities(KEY), "x")
    assert content.decode() == "# shown\na:   one\n\nb:\n  - two   # two\nc: three\n# end\n"
    assert leaves == {("a",): "one", ("b", "0"): "two", ("c",): "three"}


@pytest.mark.parametrize("only_encrypted", [False, True])
def test_json_of_sops_is_opened(tmp_path, only_encrypted):
    content = opened(tmp_path, "a.sops.json", sealed_json(TREE, MINE.to_public(), only_encrypted=only_encrypted))
    assert json.loads(content) == TREE


@pytest.mark.parametrize("only_encrypted", [False, True])
def test_dotenv_of_sops_is_opened(tmp_path, only_encrypted):
    sealed = b"# a comment\n" + sealed_env(ENV, OTHER.to_public(), MINE.to_public(), only_encrypted=only_encrypted)
    content = opened(tmp_path, "a.sops.env", sealed)
    assert content == b"# a comment\nTOKEN=geheim = 1\nKEY=two\\nlines\nEMPTY=\nHOST_unencrypted=example.org\n"


def test_one_value_can_be_taken_out(tmp_path):
    bench = Bench(tmp_path, {"a.sops.yaml": sealed_yaml(TREE, MINE.to_public()), "a.age": b""})
    slots = {"source": "a.sops.yaml", "identity": KEY}
    for keys, value in ((["db", "password"], b"s3cr3t: #1"), (["list", "1", "two"], b"2"), (["db", "tls"], b"true")):
        assert bench.observe(Decrypt(), extract=keys, **slots).outputs["content"] == value
    for keys in (["db"], ["db", "x"], ["sops", "mac"], ["nothing"]):
        with pytest.raises(ActionError, match="has no value at"):
            bench.observe(Decrypt(), extract=keys, **slots)
    with pytest.raises(ActionError, match="nothing can be extracted"):
        bench.observe(Decrypt(), source="a.age", identity=KEY, extract=["a"])


VALUES = st.text(st.characters(exclude_categories=("Cs",))) | st.integers(-(2**62), 2**62) | st.booleans() | st.none()
KEYS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(lambda key: key not in ("sops", "<<"))
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_whatever_is_sealed_comes_back(tree):
    found, _ = open_json(sealed_json(tree, MINE.to_public()).decode(), Identities(KEY), "x")
    assert json.loads(found) == tree
    sealed = sealed_yaml(tree, MINE.to_public()).decode()
    if "!!" in sealed or "? " in sealed:
        return  # what PyYAML writes with tags or explicit keys, sops does not
    found, _ = open_yaml(sealed, Identities(KEY), "x")
    assert (yaml.safe_load(found) or {}) == tree


def spoil_swap(text):
    one, two = re.findall(r"ENC\[[^\]]*type:str\]", text)[:2]
    return text.replace(one, "@").replace(two, one).replace("@", two)


SPOILED = {
    "two values swapped": spoil_swap,
    "a value in clear": lambda text: re.sub(r"ENC\[[^\]]*\]", "mine", text, count=1),
    "a value gone": lambda text: re.sub(r"\n[^\n]*user[^\n]*", "", text, count=1),
    "a clear value changed": lambda text: text.replace("example.org", "example.net"),
    "a value added": lambda text: (
        text.replace("host_unencrypted", "new_unencrypted: 1\nhost_unencrypted", 1)
        if text.startswith("db:")
        else text.replace('"host_unencrypted"', '"new_unencrypted": 1, "host_unencrypted"', 1)
    ),
    "another time": lambda text: text.replace("2026-01-02T", "2026-01-03T"),
    "another MAC": lambda text: re.sub(r'(mac"?: "?)ENC\[AES256_GCM,data:.', r"\1ENC[AES256_GCM,data:", text),
    "a key renamed": lambda text: text.replace("password", "passwort"),
    "an empty MAC": lambda text: re.sub(r'(mac"?: )"?ENC\[[^\]]*\]"?', r'\1""', text),
}


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize(("seal", "open_"), [(sealed_yaml, open_yaml), (sealed_json, open_json)])
def test_a_file_that_was_changed_since_is_refused_whole(seal, open_, how):
    text = seal(TREE, MINE.to_public()).decode()
    spoiled = SPOILED[how](text)
    assert spoiled != text
    with pytest.raises(ActionError, match="does not match|cannot be decrypted") as refused:
        open_(spoiled, Identities(KEY), "x")
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [("TOKEN", "TOCKEN"), ("example.org", "example.net"), ("sops_mac=ENC", "sops_mac=X"), ("EMPTY=", "EMPTY=1")],
)
def test_a_dotenv_file_that_was_changed_since_is_refused(old, new):
    text = sealed_env(ENV, MINE.to_public()).decode()
    with pytest.raises(ActionError, match="does not match|cannot be decrypted"):
        open_env(text.replace(old, new), Identities(KEY), "x")


NOT_OURS = {
    "plain": (b"a: 1\n", "has no `sops` section"),
    "nothing": (b"", "has no `sops` section"),
    "a list": (b"- 1\n", "has no `sops` section"),
    "other keys": (b"sops: {mac: x, lastmodified: x, pgp: [{fp: x}]}\n", "encrypted for pgp"),
    "key groups": (b"sops: {mac: x, lastmodified: x, key_groups: [{}]}\n", "several key groups"),
    "no mac": (b"sops: {lastmodified: x, age: []}\n", "not as sops writes it"),
    "not text": (b"\xff\xfe", "not text"),
    "an alias": (b"a: &x 1\nb: *x\n", "anchors are not allowed"),
    "a bomb": (b"[" * 2000, "nested deeper|not readable|not YAML"),
}


@pytest.mark.parametrize("what", NOT_OURS)
def test_what_is_no_sops_file_for_us_is_told_in_words(tmp_path, what):
    content, words = NOT_OURS[what]
    with pytest.raises((ActionError, BadInput), match=words):
        opened(tmp_path, "a.sops.yaml", content)


def test_json_that_is_hostile_is_told_in_words(tmp_path):
    for content in ("[" * 100_000, '{"a": 1, "a": 2}', "", "nul", '{"sops": []}', "[1]"):
        with pytest.raises(ActionError):
            open_json(content, Identities(KEY), "x")
    for content in ("x", "sops_age__list_9__map_enc=x\nsops_mac=x", "sops_age__list_x=1", "A=1"):
        with pytest.raises(ActionError):
            open_env(content, Identities(KEY), "x")


def test_a_file_for_someone_else_names_for_whom(tmp_path):
    with pytest.raises(ActionError, match=f"but for {OTHER.to_public()}"):
        opened(tmp_path, "a.sops.yaml", sealed_yaml({"a": "b"}, OTHER.to_public()))
