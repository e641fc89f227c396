import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.services.delivery import gate
from requisition.services.delivery.aside import Stopped
from requisition.services.delivery.config import Destination, Gate
from requisition.services.delivery.job import Finding

LAX = Gate()
ASKED = gate.load_validators(print)
POSIX = Destination("d", "local", path="/x")
WINDOWS = Destination("d", "local", path="/x", names="windows")
RCLONE = Destination("d", "rclone", remote="x:")


def look(folder, settings=LAX, destination=POSIX, target="run", **files):
    folder.mkdir(exist_ok=True)
    (folder / "good.txt").write_bytes(b"good\n")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return gate.inspect(str(folder), target, destination, settings, ASKED)


def told(findings, *, hard=None):
    return {(one.rule, one.path) for one in findings if hard in (None, one.hard)}


def test_a_good_folder_has_no_findings(tmp_path):
    assert look(tmp_path / "run") == []


@pytest.mark.parametrize(
    "name", ["a:b", "what?", "star*", "a<b", 'quo"te', "pipe|", "back\\slash", "trail.", "trail ", "tab\t", "con",
             "NUL.txt", "Lpt1", "com9.log"],
)  # fmt: skip
def test_names_that_windows_cannot_hold_block_there_and_only_there(tmp_path, name):
    assert look(tmp_path / "run", **{name: b"x"}) == []
    found = look(tmp_path / "run", destination=WINDOWS)
    assert {one.rule for one in found} == {"names"}
    assert all(one.hard for one in found)


def test_the_target_itself_is_judged_too(tmp_path):
    assert told(look(tmp_path / "run", destination=WINDOWS, target="2026/aux/run")) == {("names", "2026/aux/run")}


def test_names_that_differ_by_case_only_are_one_name_to_windows(tmp_path):
    found = look(tmp_path / "run", destination=WINDOWS, README=b"x", readme=b"y")
    assert [one.detail for one in found] == ["README is the same name there: case does not count"]


def test_a_folder_that_is_called_like_its_target_is_not_the_same_name(tmp_path):
    assert look(tmp_path / "run", destination=WINDOWS, target="run", run=b"x") == []


def test_names_that_are_not_utf8_block_where_they_cannot_arrive(tmp_path):
    (tmp_path / "run").mkdir()
    with open(bytes(tmp_path / "run") + b"/\xff\n", "wb") as file:
        file.write(b"x")
    (soft,) = look(tmp_path / "run")
    assert (soft.hard, soft.path) == (False, "\\xff\\n")
    for place in (WINDOWS, RCLONE):
        assert ("names", "\\xff\\n") in told(look(tmp_path / "run", destination=place), hard=True)


def test_what_is_neither_file_nor_link_nor_folder_blocks(tmp_path):
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "run/socket"))
        assert told(look(tmp_path / "run"), hard=True) == {("names", "socket")}


def test_placeholders_block_in_names_and_are_told_of_in_texts(tmp_path):
    found = look(
        tmp_path / "run",
        **{"run_<date>.csv": b"x", "{{ name }}": b"x", "${HOME}": b"x", "page.html": b"<b>bold</b>\n{{ title }}\n"},
    )
    assert told(found, hard=True) == {("placeholders", one) for one in ("run_<date>.csv", "{{ name }}", "${HOME}")}
    assert told(found, hard=False) == {("placeholders", "page.html:2")}


def test_an_empty_file_is_told_of_an_empty_folder_blocks(tmp_path):
    assert told(look(tmp_path / "run", nothing=b""), hard=False) == {("empty", "nothing")}
    (tmp_path / "hollow/inner").mkdir(parents=True)
    found = gate.inspect(str(tmp_path / "hollow"), "t", POSIX, Gate(), ASKED)
    assert [(one.rule, one.hard) for one in found] == [("empty", True)]


def test_sizes_are_limited_by_file_and_in_all(tmp_path):
    found = look(tmp_path / "run", Gate(max_file=10, max_total=20), big=b"x" * 11, other=b"x" * 10)
    assert told(found, hard=True) == {("size", "big"), ("size", "")}


@pytest.mark.parametrize("content", [None, b""])
def test_a_missing_or_empty_manifest_blocks(tmp_path, content):
    files = {} if content is None else {"meta.yaml": content}
    found = look(tmp_path / "run", Gate(manifest="meta.yaml"), **files)
    assert ("manifest", "meta.yaml") in told(found, hard=True)
    assert look(tmp_path / "run", Gate(manifest="meta.yaml"), **{"meta.yaml": b"x"}) == []


@pytest.mark.parametrize(
    ("kind", "secret"),
    [
        ("a private key", b"-----BEGIN OPENSSH PRIVATE " + b"KEY-----"),
        ("an access key of AWS", b"AKIA" + b"IOSFODNN7EXAMPLE"),
        ("a token of GitHub", b"ghp_" + b"a1B2" * 9),
        ("a secret key of age", b"AGE-SECRET-" + b"KEY-1" + b"Q" * 58),
    ],
)
def test_secrets_block_and_are_never_repeated(tmp_path, kind, secret):
    (found,) = look(tmp_path / "run", notes=b"line\nkey = " + secret + b"\n")
    assert (found.rule, found.hard, found.path, found.detail) == ("secrets", True, "notes:2", f"this looks like {kind}")
    assert secret.decode() not in repr(found)


def test_a_secret_behind_a_link_is_not_read(tmp_path):
    (tmp_path / "outside").write_bytes(b"AKIA" + b"IOSFODNN7EXAMPLE")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/link").symlink_to(tmp_path / "outside")
    assert look(tmp_path / "run") == []


def test_the_configuration_makes_classes_hard_or_soft_or_turns_them_off(tmp_path):
    files = {"nothing": b"", "notes": b"AKIA" + b"IOSFODNN7EXAMPLE"}
    settings = Gate(hard=frozenset({"empty"}), soft=frozenset({"secrets"}))
    found = look(tmp_path / "run", settings, **files)
    assert told(found, hard=True) == {("empty", "nothing")}
    assert told(found, hard=False) == {("secrets", "notes:1")}
    assert look(tmp_path / "run", Gate(off=frozenset({"empty", "secrets"}))) == []


def test_many_findings_of_one_kind_are_cut_short_and_stay_as_hard_as_the_worst(tmp_path):
    files = {f"{number}": b"" for number in range(150)}
    found = look(tmp_path / "run", Gate(hard=frozenset({"empty"})), **files)
    assert len(found) == 101
    assert found[-1].hard
    assert found[-1].detail == "and more than 100 others"


def plugin(folder, name, code):
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[requisition.delivery.validators]\n{name} = {name}:look\n")


CODE = """
from requisition.services.delivery.job import Finding

def look(subject):
    for one in subject.folder.items:
        if one.path.endswith(b".tmp"):
            yield Finding("leftovers", hard=True, path=one.path.decode(), detail="a temporary file")
"""


def test_a_plug_in_has_its_say(tmp_path, monkeypatch):
    plugin(tmp_path, "leftovers_plugin", CODE)
    monkeypatch.syspath_prepend(tmp_path)
    asked = gate.load_validators(print)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/x.tmp").write_bytes(b"x")
    found = gate.inspect(str(tmp_path / "run"), "t", POSIX, Gate(), asked)
    assert found == [Finding("leftovers", True, "x.tmp", "a temporary file")]


@pytest.mark.parametrize("code", ["def look(subject):\n    raise ValueError('oh')\n", "import nothing_of_this_name\n"])
def test_a_plug_in_that_is_broken_lets_nothing_pass(tmp_path, monkeypatch, code):
    plugin(tmp_path, f"broken_{len(code)}", code)
    monkeypatch.syspath_prepend(tmp_path)
    said = []
    asked = gate.load_validators(said.append)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/x").write_bytes(b"x")
    (found,) = gate.inspect(str(tmp_path / "run"), "t", POSIX, Gate(), asked)
    assert (found.rule, found.hard) == (f"broken_{len(code)}", True)


findings = st.lists(st.builds(Finding, st.sampled_from("abc"), st.booleans(), st.just(""), st.just("")))


@given(findings, st.sets(st.sampled_from("abc")))
def test_exactly_what_is_hard_and_not_overridden_blocks(found, overridden):
    assert gate.blocking(found, overridden) == [one for one in found if one.hard and one.rule not in overridden]
    assert gate.blocking(found, {"a", "b", "c"}) == []


def test_a_look_that_is_stopped_ends(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/x").write_bytes(b"x")
    with pytest.raises(Stopped):
        gate.inspect(str(tmp_path / "run"), "t", POSIX, LAX, ASKED, lambda: True)
