"""Edits of files from real packages: the asked lines differ, every other byte stays."""

import difflib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from requisition.stdlib.action import ActionError, Satisfied
from requisition.stdlib.providers.text.ini_value import set_ini
from requisition.stdlib.providers.text.json_value import set_json
from requisition.stdlib.providers.text.lines import Block, Line
from requisition.stdlib.providers.text.toml_value import set_toml
from requisition.stdlib.providers.text.values import Set
from requisition.stdlib.providers.text.yaml_value import set_yaml
from support.hosts import Bench
from support.trees import snapshot

SAMPLES = Path(__file__).parent / "text"
KEYS = st.text("abcd", min_size=1, max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text("ab #:'\"\\\n-[]{}é", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def changed_lines(before, after):
    """Lines that went, and lines that came."""
    found = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    return [line[2:] for line in found if line[0] == "-"], [line[2:] for line in found if line[0] == "+"]


def round_trip(bench, action, path, **slots):
    """Do it, see that a second look finds nothing to do, and that undo gives the very tree back."""
    before = snapshot(bench.root)
    text = (bench.root / path[1:]).read_text() if (bench.root / path[1:]).exists() else ""
    change = bench.do(action, path=path, **slots)
    assert isinstance(bench.observe(action, path=path, **slots), Satisfied)
    after = (bench.root / path[1:]).read_text()
    bench.undo(action, change)
    assert snapshot(bench.root) == before
    return changed_lines(text, after)


def sample(bench, name):
    shutil.copy(SAMPLES / name, bench.root / name)
    (bench.root / name).chmod(0o640)
    return f"/{name}"


def test_a_line_of_sshd_config_is_set_in_its_place(bench):
    path = sample(bench, "sshd_config")
    went, came = round_trip(bench, Line(), path, line="PermitRootLogin no", match=r"^#?PermitRootLogin\b")
    assert (went, came) == (["#PermitRootLogin prohibit-password"], ["PermitRootLogin no"])


def test_a_line_goes_below_the_one_it_belongs_to_and_is_removed_again(bench):
    path = sample(bench, "sshd_config")
    line = {"line": "AllowGroups ssh", "below": r"^#?PermitRootLogin\b"}
    bench.do(Line(), path=path, **line)
    lines = (bench.root / "sshd_config").read_text().splitlines()
    assert lines[lines.index("AllowGroups ssh") - 1].startswith("#PermitRootLogin")
    bench.do(Line(), path=path, line="AllowGroups ssh", absent=True)
    assert (bench.root / "sshd_config").read_text() == (SAMPLES / "sshd_config").read_text()


@pytest.mark.skipif(shutil.which("sshd", path="/usr/sbin") is None, reason="needs Debian's openssh-server")
@pytest.mark.skipif(os.geteuid() != 0, reason="sshd checks its configuration as root only")
def test_a_file_that_its_own_program_refuses_is_not_put_in_place(bench, tmp_path):
    Path("/run/sshd").mkdir(exist_ok=True)  # as its service makes it
    path = sample(bench, "sshd_config")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    check = ["/usr/sbin/sshd", "-t", "-h", str(key), "-f", "%s"]
    before = snapshot(bench.root)
    slots = {"match": r"^#?Port\b", "validate": check}
    found = bench.observe(Line(), path=path, line="Port no-number", **slots)
    with pytest.raises(ActionError, match="refuses the new /sshd_config: /sshd_config line 14: Badly"):
        Line().do(bench.host, Line.slots(path=path, line="Port no-number", **slots), found)
    assert snapshot(bench.root) == before
    bench.do(Line(), path=path, line="Port 2222", **slots)
    assert "Port 2222\n" in (bench.root / "sshd_config").read_text()


def test_blocks_of_two_nodes_stand_side_by_side_and_each_goes_alone(bench):
    path = sample(bench, "nginx.conf")
    one = bench.do(Block(), path=path, name="one", text="# a\n# b")
    middle = (bench.root / "nginx.conf").read_text()
    bench.do(Block(), path=path, name="two", text="# c")
    bench.do(Block(), path=path, name="one", text="# changed")
    assert "# begin managed block: two\n# c\n# end managed block: two\n" in (bench.root / "nginx.conf").read_text()
    bench.do(Block(), path=path, name="two", absent=True)
    bench.do(Block(), path=path, name="one", text="# a\n# b")
    assert (bench.root / "nginx.conf").read_text() == middle
    bench.undo(Block(), one)
    assert (bench.root / "nginx.conf").read_text() == (SAMPLES / "nginx.conf").read_text()


def test_a_block_with_broken_markers_is_left_alone(bench):
    (bench.root / "f").write_text("# begin managed block: x\nkept\n")
    with pytest.raises(ActionError, match="not one pair"):
        bench.observe(Block(), path="/f", name="x", text="new")


@pytest.mark.parametrize("text", ["# end managed block: x", "a\n# begin managed block: x\nb"])
def test_a_block_cannot_hold_its_own_marker(bench, text):
    (bench.root / "f").write_text("")
    with pytest.raises(ActionError, match="its own marker"):
        bench.observe(Block(), path="/f", name="x", text=text)


def test_line_ends_of_the_file_are_kept(bench):
    (bench.root / "f").write_bytes(b"a\r\nb\r\n")
    bench.do(Line(), path="/f", line="c")
    bench.do(Block(), path="/f", name="x", text="d")
    wanted = b"a\r\nb\r\nc\r\n# begin managed block: x\r\nd\r\n# end managed block: x\r\n"
    assert (bench.root / "f").read_bytes() == wanted


def test_a_last_line_without_end_gets_one_before_another_follows(bench):
    (bench.root / "f").write_text("a")
    bench.do(Line(), path="/f", line="b")
    assert (bench.root / "f").read_text() == "a\nb\n"


def test_what_is_absent_is_made_only_when_asked(bench):
    with pytest.raises(ActionError, match="does not exist"):
        bench.observe(Line(), path="/f", line="a")
    change = bench.do(Line(), path="/f", line="a", create=True, mode=0o600)
    assert (bench.root / "f").stat().st_mode & 0o777 == 0o600
    bench.undo(Line(), change)
    assert snapshot(bench.root).keys() == {"."} or not (bench.root / "f").exists()
    assert isinstance(bench.observe(Line(), path="/f", line="a", absent=True), Satisfied)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"ok \x80"])
def test_what_is_no_text_is_refused(bench, content):
    (bench.root / "f").write_bytes(content)
    with pytest.raises(ActionError, match="not UTF-8"):
        bench.observe(Line(), path="/f", line="a")


def test_a_link_is_not_edited_through(bench):
    (bench.root / "f").write_text("a\n")
    (bench.root / "l").symlink_to("f")
    with pytest.raises(ActionError, match="is a link"):
        bench.observe(Line(), path="/l", line="b")


SETTINGS = [
    ("pyproject.toml", ["tool", "ruff", "line-length"], 99, ["line-length = 88"], ["line-length = 99"]),
    ("pyproject.toml", ["tool", "new", "key"], "x", [], ["", "[tool.new]", 'key = "x"']),
    ("journald.conf", ["Journal", "Storage"], "persistent", [], ["Storage=persistent"]),
    ("journald.conf", ["Journal", "Compress"], "no", ["Compress=yes"], ["Compress=no"]),
    ("journald.conf", ["Other", "Key"], "1", [], ["", "[Other]", "Key = 1"]),
    ("compose.yaml", ["services", "web", "image"], "nginx:1.27", ["    image: nginx:1.25  # pinned"],
     ['    image: "nginx:1.27"  # pinned']),
    ("compose.yaml", ["services", "web", "restart"], "always", [], ["    restart: always"]),
    ("compose.yaml", ["services", "web", "ports"], ["8443:443"],
     ["    ports:", '      - "8080:80"', '      - "8443:443"'], ['    ports: ["8443:443"]']),
    ("package.json", ["scripts", "test"], "node --test", ['    "test": "jest"'], ['    "test": "node --test"']),
    ("package.json", ["engines", "node"], ">=20", ['  "private": true'],
     ['  "private": true,', '  "engines": {', '    "node": ">=20"', "  }"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "key", "value", "went", "came"), SETTINGS)
def test_only_the_asked_value_changes(bench, name, key, value, went, came):
    path = sample(bench, name)
    file_format = "ini" if name.endswith(".conf") else ""
    found = round_trip(bench, Set(), path, key=key, value=value, format=file_format)
    assert found == (went, came)


@pytest.mark.parametrize("name", ["pyproject.toml", "compose.yaml", "package.json"])
def test_a_broken_file_is_named_and_left_alone(bench, name):
    (bench.root / name).write_text("{ a: [\n")
    with pytest.raises(ActionError, match=f"/{name}: the file is not"):
        bench.observe(Set(), path=f"/{name}", key=["a"], value=1)


@given(
    st.dictionaries(KEYS, VALUES, max_size=4),
    st.lists(KEYS, min_size=1, max_size=3),
    VALUES,
    st.sampled_from([None, 2]),
)
def test_json_reads_as_wanted_after_the_edit(document, key, value, indent):
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    wanted = placed(document, key, value)
    if wanted is None:
        with pytest.raises(ActionError):
            set_json(text, key, value)
        return
    changed = set_json(text, key, value)
    assert json.loads(changed) == wanted
    assert set_json(changed, key, value) == changed


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.lists(KEYS, min_size=1, max_size=3), VALUES, st.booleans())
def test_yaml_reads_as_wanted_after_the_edit_or_is_refused(document, key, value, flow):
    text = yaml.safe_dump(document, default_flow_style=flow, allow_unicode=True)
    try:
        changed = set_yaml(text, key, value)
    except ActionError:
        return
    found = yaml.safe_load(changed)
    for part in key:
        found = found[part]
    assert found == value
    assert set_yaml(changed, key, value) == changed


@given(st.lists(st.tuples(KEYS, st.integers(0, 9)), max_size=4), KEYS, st.integers(0, 9))
def test_toml_and_ini_read_as_wanted_after_the_edit(pairs, name, value):
    import configparser
    import tomllib

    unique = dict(pairs)
    text = "# kept\n[s]\n" + "".join(f"{key} = {held}\n" for key, held in unique.items()) + "\n[t]\nz = 1\n"
    toml, ini = set_toml(text, ["s", name], value), set_ini(text, ["s", name], value)
    assert tomllib.loads(toml) == {"s": {**unique, name: value}, "t": {"z": 1}}
    parser = configparser.ConfigParser()
    parser.read_string(ini)
    assert dict(parser["s"]) == {key: str(held) for key, held in {**unique, name: value}.items()}
    assert set_ini(ini, ["s", name], value) == ini
    assert set_toml(toml, ["s", name], value) == toml
    assert "# kept" in toml
    assert "# kept" in ini


def placed(document, key, value):
    """The document with the value in it; None where something else than an object is in the way."""
    if not isinstance(document, dict):
        return None
    if len(key) == 1:
        return {**document, key[0]: value}
    inner = placed(document.get(key[0], {}), key[1:], value)
    return None if inner is None else {**document, key[0]: inner}
