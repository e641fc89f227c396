"""Packages without Starlark as a whole: their kind, teardown, nesting, trees, and any that somebody may write."""

import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from requisition.compiler import build, check
from requisition.compiler.forest import Planted, build_tree
from requisition.compiler.manifest import read_manifest
from requisition.runtime.hydrate import hydrate
from requisition.runtime.registry import Registry
from requisition.schemas.canonical import decode, encode
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Order, TreeMember
from support.packages import built, request, write


def test_teardown_is_an_order_of_its_own(tmp_path):
    manifest = "name: demo\nactions: [{mkdir: {path: /a}}]\nteardown: [{rmdir: {path: /a}}]\n"
    taken = built(tmp_path, {"package.yaml": manifest}, teardown=True).order
    assert [(node.id, node.location) for node in taken.nodes] == [("demo/teardown/file.remove:/a", "package.yaml:3")]
    assert [node.action for node in built(tmp_path, {"package.yaml": manifest}).order.nodes] == ["file.mkdir"]


def test_an_empty_teardown_does_nothing_and_a_missing_one_is_told(tmp_path):
    assert built(tmp_path, {"package.yaml": "name: demo\nactions: []\nteardown: []\n"}, teardown=True).order.nodes == ()
    with pytest.raises(BadInput, match="has no teardown of its own"):
        built(tmp_path, {"package.yaml": "name: demo\nactions: []\n"}, teardown=True)


def test_a_scripted_package_has_its_teardown_in_starlark_or_in_yaml(tmp_path):
    script = "def install(package, phase):\n    plan.file.mkdir('/a')\ndef teardown(package, phase):\n    plan.file.remove('/a')\n"
    found = built(tmp_path, {"package.star": script}, teardown=True).order
    assert [node.id for node in found.nodes] == ["demo/teardown/file.remove:/a"]
    manifest = {"package.yaml": "name: demo\nteardown: [{rmdir: {path: /b}}]\n", "package.star": script}
    assert [node.slots["path"] for node in built(tmp_path, manifest, teardown=True).order.nodes] == ["/b"]
    assert [node.action for node in built(tmp_path, manifest).order.nodes] == ["file.mkdir"]


@pytest.mark.parametrize("manifest", ["type: meta", "children: [{url: ../x}]", "teardown: []"])
def test_a_package_of_children_alone_does_nothing_itself(tmp_path, manifest):
    assert built(tmp_path, {"package.yaml": f"name: demo\n{manifest}\n"}).order.nodes == ()


@pytest.mark.parametrize("manifest", ["actions: []", "type: meta", "type: declarative\nactions: []"])
def test_a_script_that_would_never_be_read_is_told(tmp_path, manifest):
    files = {"package.yaml": f"name: demo\n{manifest}\n", "install.star": "def install(package, phase):\n    pass\n"}
    with pytest.raises(BadInput, match="has no scripts, and this one has install.star"):
        built(tmp_path, files)


def test_a_package_without_starlark_can_be_nested(tmp_path):
    write(tmp_path / "inner", {"package.yaml": "name: inner\nactions: [{symlink: {src: x, dst: /x}}]\n", "x": ""})
    script = "def install(package, phase):\n    plan.deploy('inner')\n"
    order = built(tmp_path, {"package.star": script}, checkout="/src/demo").order
    assert [(one.id, one.location, one.slots["target"]) for one in order.nodes] == [
        ("demo/inner/install/file.link:/x", "inner/package.yaml:2", "/src/demo/inner/x")
    ]


def test_a_package_of_a_home_is_not_put_into_one_of_the_system(tmp_path):
    write(tmp_path / "inner", {"package.yaml": "name: inner\nscope: home\nactions: [{mkdir: {path: ~/x}}]\n"})
    script = "def install(package, phase):\n    plan.deploy('inner')\n"
    with pytest.raises(BadInput, match="inner is for a home, and demo"):
        built(tmp_path, {"package.star": script})
    found = built(tmp_path, {"package.yaml": "name: demo\nscope: home\n", "package.star": script}).order.nodes
    assert found[0].slots["path"] == "/x"


def test_a_nested_package_is_in_the_home_of_the_one_around_it(tmp_path):
    write(tmp_path / "inner", {"package.yaml": "name: inner\nactions: [{mkdir: {path: ~/x}}]\n"})
    script = "def install(package, phase):\n    plan.deploy('inner')\n"
    files = {"package.yaml": "name: demo\nscope: home\n", "package.star": script}
    assert built(tmp_path, files, target_root="/mnt/me").order.nodes[0].slots["path"] == "/x"


def test_a_mistake_of_a_nested_package_is_told_with_its_folder(tmp_path):
    write(tmp_path / "inner", {"package.yaml": "name: inner\nactions: [{mkdir: {path: x}}]\n"})
    with pytest.raises(BadInput) as refused:
        built(tmp_path, {"package.star": "def install(package, phase):\n    plan.deploy('inner')\n"})
    assert refused.value.diagnostics[0].where == "inner/package.yaml:2:26"


def test_a_manifest_in_another_encoding_is_told_or_read_and_never_fails(tmp_path):
    text = "name: demo\nactions: [{mkdir: {path: /é/$x}}]\n"
    for encoding in ("utf-16", "utf-8-sig", "latin-1"):
        write(tmp_path, {})
        (tmp_path / "package.yaml").write_bytes(text.encode(encoding))
        with pytest.raises(BadInput):
            build(request(tmp_path))


def test_settings_are_checked_against_their_patterns_here_too(tmp_path):
    manifest = "name: demo\nsettings: {s: {pattern: '^a', default: b}}\nactions: []\n"
    with pytest.raises(BadInput, match="expected a match of"):
        built(tmp_path, {"package.yaml": manifest})


def test_check_finds_the_same_mistakes_as_a_build(tmp_path):
    write(tmp_path, {"package.yaml": "name: demo\nactions: [{mkdir: {path: x}}]\n"})
    for look in (check, build):
        with pytest.raises(BadInput, match="is not a path of the target"):
            look(request(tmp_path))


def test_check_needs_not_know_where_the_package_will_lie(tmp_path):
    write(tmp_path, {"package.yaml": "name: demo\nactions: [{exec: {cmd: [x]}}]\n"})
    assert check(request(tmp_path)) == ()


def test_check_looks_at_the_teardown_too(tmp_path):
    script = "def install(package, phase):\n    pass\n"
    for more in ({"package.star": script}, {}):
        write(tmp_path, {"package.yaml": "name: demo\nteardown: [{mkdir: {path: x}}]\n", **more})
        with pytest.raises(BadInput, match="is not a path of the target"):
            check(request(tmp_path))
        (tmp_path / "package.star").unlink(missing_ok=True)


def test_the_files_of_a_child_are_its_own(tmp_path):
    manifest = "name: demo\nchildren: [{url: ../lib, path: libs/lib}]\n"
    script = "def install(package, phase):\n    plan.file.copy('libs/lib/x', '/x')\n"
    files = {
        "package.yaml": manifest,
        "package.star": script,
        "libs/lib/x": "",
        "libs/lib/package.star": "not Starlark (",
    }
    with pytest.raises(BadInput, match="has no file 'libs/lib/x'"):
        built(tmp_path, files)
    write(tmp_path, {"package.yaml": manifest, "package.star": script.replace("copy('libs/lib/x'", "link('y'")})
    assert len(build(request(tmp_path)).order.nodes) == 1


# trees -------------------------------------------------------------------------------------------


def tree(folder, **packages):
    """The order of packages below one, which is for a home and has nothing to do itself."""
    write(folder, {"package.yaml": "name: root\nscope: home\ntype: meta\n"})
    for name, actions in packages.items():
        write(folder / name, {"package.yaml": f"name: {name}\nactions: [{actions}]\n", "x": ""})
    names = [*packages, ""]
    planted = [
        Planted(TreeMember(name, name or "root", "0" * 64), str(folder / name), read_manifest(str(folder / name)))
        for name in names
    ]
    return build_tree(request(folder, checkout="/src", target_root="/home/me"), planted).order


def test_packages_of_a_tree_lie_below_its_root_and_share_its_home(tmp_path):
    nodes = tree(tmp_path, a="symlink: {src: x, dst: ~/a}".join("{}")).nodes
    assert [(one.id, one.slots["target"]) for one in nodes] == [("a/install/file.link:/a", "/src/a/x")]


def test_a_folder_that_is_only_to_be_there_is_nobodys_in_a_tree(tmp_path):
    link = "{symlink: {src: x, dst: ~/.ssh/%s}}"
    order = tree(tmp_path, a='{mkdir: {path: ~/.ssh, mode: "0700"}}', b=link % "b", c=link % "c")
    assert len(order.nodes) == 5
    with pytest.raises(BadInput, match="both put something at /.ssh/b"):
        tree(tmp_path, b=link % "b", c=link % "b")


# laws --------------------------------------------------------------------------------------------

LAW = settings(deadline=None)
LISTS = st.sampled_from(["all_of", "any_of", "none_of"])
GOOD = st.sampled_from(["/a", "/b/c", "/é/${PACKAGE}", "/d e/%OS%", "/f$$", "/x/../y"])
BAD = st.sampled_from(["", "x", "~/x", "$HOME/y", "$nope", "$", "50%", "../x", "/../x", "a\nb", "\0", "-x"])


def some_actions(words, names):
    """Lists of actions whose texts are these words."""
    leaves = st.one_of(
        st.builds(lambda path: {"path_exists": path}, words),
        st.builds(lambda src, dst: {"symlink_ok": {"src": src, "dst": dst}}, words, words),
        st.sampled_from([{"os": "linux"}, {"os": "windows"}, {"psversion": "7"}, {"cmd_available": "git"}]),
    )
    tests = st.recursive(
        leaves, lambda one: st.dictionaries(LISTS, st.lists(one, min_size=1, max_size=2), min_size=1, max_size=1)
    )
    lists = st.lists(tests, min_size=1, max_size=3)
    gates = st.dictionaries(LISTS, lists, min_size=1, max_size=2)
    env = {"name": names, "value": words, "scope": st.sampled_from(["user", "machine", "session"])}
    simple = st.one_of(
        st.builds(lambda src, dst: {"symlink": {"src": src, "dst": dst}}, words, words),
        st.builds(lambda path: {"mkdir": {"path": path}}, words),
        st.builds(lambda path, force: {"rmdir": {"path": path, "force": force}}, words, st.booleans()),
        st.fixed_dictionaries(env).map(lambda one: {"env": one}),
        st.builds(lambda cmd, cwd: {"exec": {"cmd": cmd, "cwd": cwd}}, st.lists(words, min_size=1, max_size=2), words),
        st.builds(lambda line: {"exec": {"cmd_shell": line, "shell": True}}, words),
        st.builds(
            lambda name, found, fail: {"require": {name: found, "on_fail": fail}},
            LISTS, lists, st.sampled_from(["skip", "warn"]),
        ),
    )  # fmt: skip
    return st.recursive(
        st.lists(simple, max_size=4),
        lambda one: st.lists(st.builds(lambda gate, then: {"when": {**gate, "actions": then}}, gates, one), max_size=2),
        max_leaves=4,
    )


RIGHT = some_actions(GOOD, st.sampled_from("ABCDEFGH"))
ANY = some_actions(GOOD | BAD, st.sampled_from(["A", "PATH", "9", "é", ""]))


@settings(LAW, max_examples=150)
@given(st.builds(lambda first, then: first + then, RIGHT, RIGHT) | ANY, st.sampled_from(["system", "system", "home"]))
def test_any_actions_become_an_order_or_findings_with_places(actions, scope):
    text = json.dumps({"name": "demo", "scope": scope, "actions": actions}, ensure_ascii=False)
    with tempfile.TemporaryDirectory() as folder:
        try:
            order = built(Path(folder), {"package.yaml": text, "x": ""}, checkout="/src/demo").order
        except BadInput as failure:
            order, findings = None, failure.diagnostics
    if order is None:
        event("refused")
        assert all(re.search(r"package\.yaml:\d+(:\d+)?$", one.where) for one in findings)
    else:
        event(f"{min(len(order.nodes), 3)} nodes or more")
        assert decode(encode(order), Order) == order
        assert len(hydrate(order, Registry()).bound) == len(order.nodes)
