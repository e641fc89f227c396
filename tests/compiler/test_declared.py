"""Packages without Starlark: what each action becomes, and what is refused and where."""

import itertools
import re
from pathlib import Path

import pytest

from requisition.schemas.canonical import decode, encode
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Order
from support.packages import built

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


def test_a_shell_line_is_named_for_its_first_word(tmp_path):
    (node,) = nodes(tmp_path, "  - exec: {cmd_shell: 'cat a/b > \"$HOME/c\"', shell: true}")
    assert node.id == "demo/install/shell.exec:cat"


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


def test_what_is_skipped_within_a_when_ends_with_it_on_the_systems_own_branch_too(tmp_path):
    actions = """
  - when:
      os: linux
      actions:
        - require: {all_of: [{path_exists: /x}], on_fail: skip}
        - mkdir: {path: /inside}
  - mkdir: {path: /behind}
"""
    choice, behind, gate, inside = nodes(tmp_path, actions)
    assert choice.slots["cases"] == [{"when": ["lit", True], "body": "demo/install/choose-1/case-1"}]
    assert behind.needs == (choice.id,)
    assert gate.id in inside.needs


def test_a_requirement_is_asked_before_what_follows(tmp_path):
    gate, made = nodes(
        tmp_path, "  - require: {any_of: [{cmd_available: git}], on_fail: skip}\n  - mkdir: {path: /b}\n"
    )
    assert gate.slots == {"test": {"cmd_available": "git"}, "on_fail": "skip"}
    assert gate.id in made.needs
