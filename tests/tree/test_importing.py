"""From grex's files to package.yaml: what is carried over, what is told, and that nothing is overwritten."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from requisition.compiler import build
from requisition.compiler.manifest import parse_manifest
from requisition.schemas.diagnostic import BadInput, Conflicted
from requisition.tree import importing
from support.packages import request

PACK = """schema_version: "1"
name: dotfiles
type: declarative
version: 0.2.0
depends_on: [fonts]
children:
  - {url: "https://host/vim.git", ref: main@0123abc}
x-gitignore: [cache]
actions:
  - symlink: {src: files/rc, dst: "${HOME}/.rc", backup: true}
  - mkdir: {path: "%USERPROFILE%/cache"}
  - when: {os: windows, actions: [{mkdir: {path: "$HOME/w"}}]}
  - exec: {cmd_shell: "echo $$HOME $$(date) $HOME 5%%", shell: true}
"""


def _places(imported):
    return [one.where for one in imported.notes]


def test_a_pack_becomes_a_package_that_builds(tmp_path):
    imported = importing.pack(PACK, "pack.yaml")
    manifest = parse_manifest(imported.text, "package.yaml")
    assert (manifest.name, manifest.version, manifest.scope) == ("dotfiles", "0.2.0", "home")
    assert (manifest.children[0].place, manifest.children[0].ref) == ("vim", "0123abc")
    assert manifest.extensions == {"x-gitignore": ["cache"]}
    assert _places(imported) == ["pack.yaml:7:40"]
    (tmp_path / "files").mkdir()
    (tmp_path / "files/rc").touch()
    importing.save(str(tmp_path), imported)
    nodes = build(request(tmp_path, checkout="/src/dot")).order.nodes
    assert [node.slots.get("path") for node in nodes] == ["/.rc", "/cache", None]
    assert nodes[0].slots["target"] == "/src/dot/files/rc"
    assert nodes[2].slots["argv"] == ["echo $HOME $(date) ${HOME} 5%"]


def test_what_cannot_be_carried_over_is_told_with_its_place():
    text = PACK + '  - env: {name: E, value: "$EDITOR", scope: machine, colour: red}\nodd: 1\n'
    imported = importing.pack(text, "pack.yaml")
    told = {one.where: one.what for one in imported.notes}
    assert told["pack.yaml:15:6"] == "the key 'odd' means nothing"
    assert "EDITOR came from the environment" in told["pack.yaml:14:27"]
    assert "on Windows only" in told["pack.yaml:14:45"]
    assert "does not read 'colour'" in told["pack.yaml:14:62"]
    assert "EDITOR" in parse_manifest(imported.text, "m").settings


def test_a_requirement_that_skipped_nothing_is_told():
    imported = importing.pack(
        "name: a\ntype: declarative\nactions: [{require: {all_of: [{os: linux}], on_fail: skip}}]", "p"
    )
    assert [one.what for one in imported.notes] == ["skip did nothing"]


def test_hooks_become_commands_and_others_are_named():
    imported = importing.pack("name: a\ntype: scripted\n", "p", ["teardown.sh", "sync.sh", "setup.sh", "sync.ps1"])
    manifest = parse_manifest(imported.text, "m")
    assert manifest.actions[0].exec.cmd == ["./.grex/hooks/sync.sh"]
    assert manifest.teardown[0].exec.cmd == ["./.grex/hooks/teardown.sh"]
    assert [one.what.split()[2] for one in imported.notes] == ["setup.sh", "sync.ps1", "sync.sh", "teardown.sh"]


def test_a_shell_line_is_given_the_variables_that_were_put_into_it():
    imported = importing.pack(
        'name: a\ntype: declarative\nactions: [{exec: {cmd_shell: "x %TOOL%", shell: true}}]', "p"
    )
    command = parse_manifest(imported.text, "m").actions[0].exec
    assert (command.cmd_shell, command.env) == ("x ${TOOL}", {"TOOL": "${TOOL}"})


def test_repositories_become_children():
    text = '[{"url": "https://h/a.git", "path": "a"}, {"url": "h:b", "path": "b", "platform": "linux"}, {"url": "h:c", "path": "a"}]'
    imported = importing.repos(text, "REPOS.json", "all")
    assert [(one.url, one.place) for one in parse_manifest(imported.text, "m").children] == [
        ("https://h/a.git", "a"),
        ("h:b", "linux/b"),
    ]
    assert ["fetched everywhere" in imported.notes[0].what, "would lie at 'a'" in imported.notes[1].what] == [
        True,
        True,
    ]


def test_a_child_that_leads_out_is_an_error_that_is_told():
    imported = importing.repos('[{"url": "h:b", "path": "../b"}]', "REPOS.json", "all")
    assert [one.severity for one in imported.notes] == ["error"]


@pytest.mark.parametrize("text", ["", "[]", "{}", "name: 1", "name: &a b", "\0"])
def test_what_is_no_pack_is_refused(text):
    with pytest.raises(BadInput):
        importing.pack(text, "pack.yaml")


@pytest.mark.parametrize("text", ["", "{}", '["x"]', '[{"path": "a"}]'])
def test_what_is_no_list_of_repositories_is_refused(text):
    with pytest.raises(BadInput, match="not a list of repositories"):
        importing.repos(text, "REPOS.json", "all")


def test_a_package_that_is_there_is_never_overwritten(tmp_path):
    (tmp_path / "package.yaml").write_text("name: mine\n")
    with pytest.raises(Conflicted, match="left as it is"):
        importing.save(str(tmp_path), importing.pack(PACK, "pack.yaml"))
    assert (tmp_path / "package.yaml").read_text() == "name: mine\n"


LAW = settings(deadline=None)
PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 99) | PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3),
    max_leaves=8,
)


@LAW
@given(
    st.dictionaries(st.sampled_from(["type", "version", "children", "actions", "teardown", "depends_on", "x-a"]), JSON),
    PLAIN,
)
def test_any_pack_is_imported_or_refused_and_never_fails(found, name):
    import yaml

    text = yaml.safe_dump({"name": f"n{name}", **found}, allow_unicode=True)
    try:
        imported = importing.pack(text, "p", ["sync.sh"])
    except BadInput:
        return
    if not any(one.severity == "error" for one in imported.notes):
        parse_manifest(imported.text, "m")
