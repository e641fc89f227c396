"""Packages without Starlark: what each action becomes, what is refused and where, and the laws of variables."""

import itertools
import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from requisition.compiler import build, check
from requisition.compiler.variables import BadText, NoValue, escape, expand
from requisition.runtime.hydrate import hydrate
from requisition.runtime.registry import Registry
from requisition.schemas import strictyaml
from requisition.schemas.canonical import decode, encode
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Order
from requisition.schemas.yamlchars import Characters
from support.packages import built, request, write

# refusals ----------------------------------------------------------------------------------------

CHUNKS = (Path(__file__).parent / "refused/actions.yaml").read_text().split("\n---\n")
CARET = re.compile(r"#( *)\^ (.*)")


@pytest.mark.parametrize("text", CHUNKS, ids=range(1, len(CHUNKS) + 1))
def test_each_mistake_is_told_at_its_character(tmp_path, text):
    wanted, line = {}, 0
    for number, content in enumerate(text.splitlines(), 1):
        found = CARET.fullmatch(content)
        if found:
            wanted[f"{line}:{len(found[1]) + 2}"] = found[2]
        else:
            line = number
    with pytest.raises(BadInput) as refused:
        built(tmp_path, {"package.yaml": text, "files/x": ""})
    told = {one.where.partition("package.yaml:")[2]: one for one in refused.value.diagnostics}
    assert told.keys() == wanted.keys()
    assert len(refused.value.diagnostics) == len(wanted)
    for place, pattern in wanted.items():
        one = told[place]
        assert re.search(pattern, f"{one.what} {one.why} {one.next}"), one
        assert one.next


# what actions become -----------------------------------------------------------------------------


def declared(folder, actions, head="", target="linux/debian/amd64", **fields):
    manifest = f"name: demo\nprojects: {{checkout: /src/demo}}\n{head}\nactions:\n{actions}"
    return built(folder, {"package.yaml": manifest, "files/x": ""}, target=target, **fields)


def nodes(folder, actions, head="", **fields):
    return declared(folder, actions, head, **fields).order.nodes


def slots(folder, actions, head="", **fields):
    return [(node.action, node.slots) for node in nodes(folder, actions, head, **fields)]


def test_a_link_points_into_the_package_and_its_folder_is_made(tmp_path):
    assert slots(tmp_path, "  - symlink: {src: ./files//x, dst: /etc/demo/x}") == [
        ("file.mkdir", {"path": "/etc/demo", "keep": True}),
        ("file.link", {"path": "/etc/demo/x", "target": "/src/demo/files/x"}),
    ]
    assert slots(tmp_path, "  - symlink: {src: ./files//x, dst: /x, normalize: false}") == [
        ("file.link", {"path": "/x", "target": "/src/demo/./files//x"}),
    ]


def test_what_is_in_the_way_of_a_link_is_moved_aside_when_asked(tmp_path):
    first, second = nodes(tmp_path, "  - symlink: {src: files, dst: /x, backup: true}\n  - symlink: {src: /y, dst: /z}")
    assert (first.on_conflict, second.on_conflict) == ("backup", None)
    assert second.slots["target"] == "/y"


def test_a_link_within_the_home_is_relative_since_the_home_has_no_name_yet(tmp_path):
    found = slots(tmp_path, "  - symlink: {src: $HOME/data, dst: ~/.config/demo/data}", "scope: home")
    assert found[1] == ("file.link", {"path": "/.config/demo/data", "target": "../../data"})


def test_whoever_builds_says_where_the_package_lies(tmp_path):
    found = slots(tmp_path, "  - symlink: {src: files/x, dst: /x}", checkout="/else/where")
    assert found[0][1]["target"] == "/else/where/files/x"


def test_a_link_into_a_child_may_be_made_before_the_child_is_there(tmp_path):
    head = "children: [{url: ../lib, path: libs/lib}]"
    assert slots(tmp_path, "  - symlink: {src: libs/lib/x, dst: /x}", head)[0][1]["target"] == "/src/demo/libs/lib/x"


def test_everything_is_done_in_the_order_in_which_it_is_written(tmp_path):
    actions = """
  - exec: {cmd: [one]}
  - mkdir: {path: /b}
  - when: {any_of: [{path_exists: /x}, {path_exists: /y}], actions: [{exec: {cmd: [two]}}, {exec: {cmd: [three]}}]}
  - env: {name: A, value: b}
  - rmdir: {path: /c}
"""
    order = declared(tmp_path, actions).order
    assert [node.action for node in order.nodes] == [
        "shell.exec", "file.mkdir", "require.condition", "flow.choose", "env.user", "file.remove", "shell.exec", "shell.exec",
    ]  # fmt: skip
    for chain in (order.nodes[:6], order.nodes[6:]):
        for before, after in itertools.pairwise(chain):
            assert before.id in after.needs
    assert [node.location for node in order.nodes] == [f"package.yaml:{n}" for n in (6, 7, 8, 8, 9, 10, 8, 8)]
    assert decode(encode(order), Order) == order


def test_directories_and_variables_are_what_the_actions_say(tmp_path):
    actions = """
  - mkdir: {path: /a}
  - mkdir: {path: /b, mode: 0750}
  - rmdir: {path: /c}
  - rmdir: {path: /d, force: true}
  - rmdir: {path: /e, backup: true, force: true}
  - env: {name: A, value: "it's"}
  - env: {name: A, value: b, scope: machine}
  - env: {name: PATH, value: "/opt/${PACKAGE}/bin:/b:$PATH"}
"""
    assert slots(tmp_path, actions) == [
        ("file.mkdir", {"path": "/a", "keep": True}),
        ("file.mkdir", {"path": "/b", "mode": 0o750}),
        ("file.remove", {"path": "/c", "kind": "dir"}),
        ("file.remove", {"path": "/d", "kind": "dir", "recursive": True}),
        ("file.remove", {"path": "/e", "kind": "dir", "aside": ".bak"}),
        ("env.user", {"variables": {"A": "it's"}, "name": "demo.A"}),
        ("env.machine", {"variables": {"A": "b"}, "name": "demo.A"}),
        ("env.user", {"path": ["/opt/demo/bin", "/b"], "name": "demo.PATH"}),
    ]
    home = slots(tmp_path, '  - env: {name: PATH, value: "~/bin:%HOME%/b:%PATH%"}', "scope: home")
    assert home[0][1]["path"] == ["~/bin", "~/b"]


def test_a_long_name_of_a_variable_still_gets_a_block_of_its_own(tmp_path):
    actions = f"  - env: {{name: {'A' * 80}, value: b}}\n  - env: {{name: {'A' * 80}B, value: b}}"
    names = [one["name"] for _, one in slots(tmp_path, actions)]
    assert len(set(names)) == 2
    assert all(re.fullmatch(r"[\w.-]{1,64}", name, re.ASCII) for name in names)


def test_a_command_runs_in_the_package_and_nothing_in_a_shell_line_is_replaced(tmp_path):
    actions = """
  - exec: {cmd: [echo, "$$5 100%% ${PACKAGE} é"]}
  - exec: {cmd_shell: "echo $(date) $HOME ${x%%.*} $? 50%", shell: true, cwd: files, on_fail: warn}
  - exec: {cmd: [x], cwd: /srv, env: {B: "%OS%"}, creates: /done, unless: [u], undo: [v], timeout: 5s, on_fail: ignore}
"""
    assert slots(tmp_path, actions) == [
        ("shell.exec", {"argv": ["echo", "$5 100% demo é"], "folder": "/src/demo"}),
        (
            "shell.exec",
            {"argv": ["echo $(date) $HOME ${x%%.*} $? 50%"], "shell": True, "folder": "/src/demo/files", "on_fail": "warn"},
        ),
        (
            "shell.exec",
            {
                "argv": ["x"], "cwd": "/srv", "env": {"B": "linux"}, "creates": "/done", "unless": ["u"], "undo": ["v"],
                "timeout": 5000, "on_fail": "ignore",
            },
        ),
    ]  # fmt: skip


def test_variables_of_the_session_are_for_what_follows_and_end_with_their_when(tmp_path):
    actions = """
  - exec: {cmd: [one]}
  - env: {name: A, value: "1", scope: session}
  - when:
      os: linux
      actions:
        - env: {name: B, value: "$A$A", scope: session}
        - exec: {cmd: [two, $B], env: {A: "2"}}
  - exec: {cmd: [three]}
"""
    assert [one.get("env") for _, one in slots(tmp_path, actions)] == [None, {"A": "2", "B": "11"}, {"A": "1"}]
    assert slots(tmp_path, actions)[1][1]["argv"] == ["two", "11"]


def test_settings_are_variables_and_a_value_is_not_read_again(tmp_path):
    head = (
        "settings: {where: {default: /opt/$HOME}, n: {type: integer, default: 3}, on: {type: boolean, default: true}}"
    )
    found = slots(tmp_path, '  - exec: {cmd: ["$where", "${n}%%", "%on%"]}', head)
    assert found[0][1]["argv"] == ["/opt/$HOME", "3%", "true"]


def test_a_known_home_can_stand_in_any_text(tmp_path):
    found = slots(
        tmp_path, '  - exec: {cmd: ["x=$HOME"]}\n  - mkdir: {path: $HOME/y}', "scope: home", target_root="/home/me"
    )
    assert (found[0][1]["argv"], found[1][1]["path"]) == (["x=/home/me"], "/y")


@pytest.mark.parametrize(
    ("condition", "test"),
    [
        ("all_of: [{path_exists: /x}]", {"path_exists": "/x"}),
        ("any_of: [{cmd_available: git}, {os: windows}]", {"cmd_available": "git"}),
        ("none_of: [{cmd_available: git}]", {"none_of": [{"cmd_available": "git"}]}),
        ("os: linux\n      all_of: [{os: linux}, {path_exists: /x}]", {"path_exists": "/x"}),
        (
            "all_of: [{path_exists: /x}]\n      none_of: [{path_exists: /y}]",
            {"all_of": [{"path_exists": "/x"}, {"none_of": [{"path_exists": "/y"}]}]},
        ),
        (
            "all_of: [{symlink_ok: {src: files/x, dst: /x}}]",
            {"symlink_ok": {"src": "/src/demo/files/x", "dst": "/x"}},
        ),
        ("any_of: [{reg_key: {path: HKCU}}, {path_exists: /x}]", {"path_exists": "/x"}),
    ],
)
def test_what_the_target_decides_is_asked_there(tmp_path, condition, test):
    found = slots(tmp_path, f"  - when:\n      {condition}\n      actions: [{{mkdir: {{path: /made}}}}]")
    assert found[0] == ("require.condition", {"test": test, "on_fail": "tell"})
    assert found[1][1]["cases"] == [{"when": ["name", "value"], "body": "demo/install/choose-1/case-1"}]
    assert found[2] == ("file.mkdir", {"path": "/made", "keep": True})


@pytest.mark.parametrize(
    ("condition", "made"),
    [
        ("os: linux", True),
        ("os: macos", False),
        ("os: linux\n      none_of: [{os: windows}]", True),
        ("any_of: [{os: macos}, {os: windows}]", False),
        ('all_of: [{os: windows}, {path_exists: "%APPDATA%/x"}]', False),
        ("any_of: [{os: linux}, {path_exists: relative}]", True),
        ('none_of: [{psversion: ">=7"}, {reg_key: {path: HKCU, name: x}}]', True),
        ("all_of: [{none_of: [{os: linux}]}]", False),
    ],
)
def test_what_the_system_decides_is_decided_at_build(tmp_path, condition, made):
    found = slots(tmp_path, f"  - when:\n      {condition}\n      actions: [{{mkdir: {{path: /made}}}}]")
    assert found == ([("file.mkdir", {"path": "/made", "keep": True})] if made else [])


def test_each_system_gets_its_own_actions(tmp_path):
    actions = """
  - when: {os: linux, actions: [{symlink: {src: files/x, dst: /l}}]}
  - when: {os: macos, actions: [{symlink: {src: files/x, dst: /l}}]}
"""
    for target, line in (("linux", 6), ("darwin", 7)):
        assert [node.location for node in nodes(tmp_path, actions, target=target)] == [f"package.yaml:{line}"]
    assert nodes(tmp_path, actions, target="freebsd") == ()


def test_a_condition_of_windows_is_told_and_does_not_hold(tmp_path):
    result = declared(tmp_path, "  - when: {any_of: [{psversion: '7'}], actions: []}")
    assert [(one.severity, one.where) for one in result.warnings] == [("warn", "package.yaml:5")]


def test_a_requirement_that_no_target_of_this_system_meets_is_told_skipped_or_refused(tmp_path):
    actions = "  - mkdir: {path: /a}\n  - require: {all_of: [{os: windows}], on_fail: FAIL}\n  - mkdir: {path: /b}\n"
    assert len(nodes(tmp_path, actions.replace("FAIL", "warn"))) == 2
    assert [node.slots["path"] for node in nodes(tmp_path, actions.replace("FAIL", "skip"))] == ["/a"]
    assert [one.severity for one in declared(tmp_path, actions.replace("FAIL", "warn")).warnings] == ["warn"]


def test_a_requirement_is_asked_before_what_follows(tmp_path):
    gate, made = nodes(
        tmp_path, "  - require: {any_of: [{cmd_available: git}], on_fail: skip}\n  - mkdir: {path: /b}\n"
    )
    assert gate.slots == {"test": {"cmd_available": "git"}, "on_fail": "skip"}
    assert gate.id in made.needs


# packages ----------------------------------------------------------------------------------------


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


def test_a_mistake_of_a_nested_package_is_told_with_its_folder(tmp_path):
    write(tmp_path / "inner", {"package.yaml": "name: inner\nactions: [{mkdir: {path: x}}]\n"})
    with pytest.raises(BadInput) as refused:
        built(tmp_path, {"package.star": "def install(package, phase):\n    plan.deploy('inner')\n"})
    assert refused.value.diagnostics[0].where == "inner/package.yaml:2:26"


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


# laws --------------------------------------------------------------------------------------------

LAW = settings(deadline=None)
TEXTS = st.text(max_size=40)
SIGILS = st.text(st.sampled_from("${}%ab_1 é𝄞\n"), max_size=12)


def _none(name, at):
    raise NoValue(f"no {name}", "")


@LAW
@given(TEXTS.filter(lambda text: not {"$", "%"} & set(text)))
def test_a_text_without_variables_stays_as_it_is(text):
    assert expand(text, _none) == text


@LAW
@given(TEXTS | SIGILS)
def test_an_escaped_text_expands_to_itself(text):
    assert expand(escape(text), _none) == text


@LAW
@given(TEXTS | SIGILS, st.sampled_from(["$NAME", "${NAME}", "%NAME%"]), TEXTS | SIGILS, TEXTS | SIGILS)
def test_a_value_is_put_in_once_and_as_it_is(before, variable, value, after):
    before, after = escape(before), escape(after)
    text = f"{before}{variable}{'' if variable != '$NAME' else '-'}{after}"
    seen = []

    def look(name, at):
        seen.append((name, at))
        return value

    found = expand(text, look)
    assert seen == [("NAME", len(before))]
    assert found == expand(before, _none) + value + ("-" if variable == "$NAME" else "") + expand(after, _none)


@LAW
@given(TEXTS | SIGILS)
def test_a_text_expands_or_its_mistake_has_a_place_in_it(text):
    try:
        expand(text, lambda name, at: name)
    except BadText as error:
        offset = error.offset
    else:
        return
    assert text[offset] in "$%"
    expand(escape(text[:offset]), _none)


@LAW
@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x85\u2028\u2029\ufeff\ufffe\uffff"),
        min_size=1,
        max_size=30,
    ),
    st.data(),
)
def test_each_character_of_a_quoted_value_is_found_in_the_file(value, data):
    offset = data.draw(st.integers(0, len(value) - 1))
    for quote, written in (
        ("'", [one.replace("'", "''") for one in value]),
        ('"', [one.replace("\\", "\\\\").replace('"', '\\"') for one in value]),
        ('"', [f"\\U{ord(one):08x}" for one in value]),
    ):
        text = f"a: {quote}{''.join(written)}{quote}"
        loaded, positions = strictyaml.load(text, "f")
        assert loaded == {"a": value}
        assert Characters(text).place(positions["a",], offset) == (1, 5 + len("".join(written[:offset])))


@LAW
@given(st.lists(st.text("ab é", min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=4), st.data())
def test_each_character_of_a_block_is_found_in_the_file(lines, data):
    lines = [f"x{line.rstrip()}" for line in lines]
    text = "a:\n  - |\n" + "".join(f"      {line}\n" for line in lines)
    value = "\n".join(lines) + "\n"
    loaded, positions = strictyaml.load(text, "f")
    assert loaded == {"a": [value]}
    offset = data.draw(st.integers(0, len(value) - 2).filter(lambda at: value[at] != "\n"))
    line, column = Characters(text).place(positions["a", 0], offset)
    assert text.split("\n")[line - 1][column - 1] == value[offset]
    assert line - 3 == value.count("\n", 0, offset)


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
