"""`examples/declared`, and what docs/package.md shows of packages without Starlark: applied, applied again, taken back."""

import re
from pathlib import Path

import pytest

from requisition.compiler import build
from requisition.schemas import orderfile
from support.packages import request, write
from support.process import request as asked
from support.session import ask
from support.trees import build as planted
from support.trees import snapshot

HERE = Path(__file__).parents[2]
SECTION = (HERE / "docs/package.md").read_text().split("## Packages without Starlark")[1].split("\n## ")[0]
SHOWN = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)


class Machine:
    """A home with a few things in it, which is also the target root."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.root = folder, folder / "home"
        planted(self.root, {".inputrc": b"old\n", ".bashrc": b"# mine\n", "etc": {"motd": b"hello\n"}})
        monkeypatch.setenv("HOME", str(self.root))

    def run(self, package, verb="apply", **fields):
        order = build(request(package, target_root=str(self.root), checkout=str(package), **fields)).order
        path = self.folder / f"{order.name}.yaml"
        orderfile.write(str(path), orderfile.seal(order, source=str(package)))
        answer = ask(asked(verb, self.folder / "state", path, on_conflict="backup"))
        assert answer.status in ("done", "rolled_back"), answer.text
        return answer.result.summary

    def take_back(self):
        return ask(asked("rollback", self.folder / "state", target_root=str(self.root)))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_a_home_is_set_up_set_up_again_and_given_back(machine):
    package = HERE / "examples/declared"
    before = snapshot(machine.root)
    machine.run(package)
    assert (machine.root / ".inputrc").readlink() == package / "files/inputrc"
    assert (machine.root / ".config/greeting/seen").read_text() == "Welcome home.\n"
    assert "export EDITOR='vi'" in (machine.root / ".profile").read_text()
    assert (machine.root / "bin").stat().st_mode & 0o777 == 0o700
    assert set(machine.run(package)) == {"unchanged"}
    (machine.root / ".inputrc").unlink()
    assert machine.run(package)["done"] == 1
    machine.take_back()
    machine.take_back()
    assert snapshot(machine.root) == before


@pytest.mark.parametrize("text", SHOWN, ids=range(len(SHOWN)))
def test_what_the_documentation_shows_works(machine, tmp_path, text):
    package = write(tmp_path / "package", {"package.yaml": text, "files/rc": "rc\n"})
    before = snapshot(machine.root)
    machine.run(package)
    assert snapshot(machine.root) != before
    if "teardown:" in text:
        machine.run(package, teardown=True)
        assert (machine.root / "notes.bak/first").is_file()
    machine.take_back()


def test_what_follows_an_unmet_requirement_is_left_out_to_its_end(machine, tmp_path):
    text = """name: demo
scope: home
actions:
  - mkdir: {path: ~/before}
  - require: {all_of: [{path_exists: ~/missing}], on_fail: skip}
  - mkdir: {path: ~/behind}
  - when: {none_of: [{path_exists: ~/missing}], actions: [{mkdir: {path: ~/inside}}]}
  - exec: {cmd_shell: 'touch "$HOME/run"', shell: true}
"""
    package = write(tmp_path / "package", {"package.yaml": text})
    machine.run(package)
    assert sorted(one.name for one in machine.root.iterdir()) == [".bashrc", ".inputrc", "before", "etc"]
    (machine.root / "missing").touch()
    machine.run(package)
    assert (machine.root / "run").exists()
    assert not (machine.root / "inside").exists()


@pytest.mark.parametrize("condition", ["any_of: [{path_exists: ~/etc}]", "os: linux"])
def test_a_requirement_within_a_when_leaves_out_only_what_follows_there(machine, tmp_path, condition):
    text = f"""name: demo
scope: home
actions:
  - when:
      {condition}
      actions:
        - require: {{all_of: [{{path_exists: ~/missing}}], on_fail: skip}}
        - mkdir: {{path: ~/inside}}
  - mkdir: {{path: ~/behind}}
"""
    machine.run(write(tmp_path / "package", {"package.yaml": text}))
    assert (machine.root / "behind").is_dir()
    assert not (machine.root / "inside").exists()


def test_conditions_see_what_was_done_before_them(machine, tmp_path):
    text = """name: demo
scope: home
actions:
  - symlink: {src: rc, dst: ~/deep/er/rc}
  - require: {all_of: [{symlink_ok: {src: rc, dst: ~/deep/er/rc}}, {path_exists: ~/deep}]}
  - when: {all_of: [{path_exists: ~/deep/er}], actions: [{rmdir: {path: ~/deep, backup: true}}]}
"""
    package = write(tmp_path / "package", {"package.yaml": text, "rc": ""})
    before = snapshot(machine.root)
    machine.run(package)
    assert (machine.root / "deep.bak/er/rc").readlink() == package / "rc"
    machine.take_back()
    assert snapshot(machine.root) == before


def test_a_command_whose_failure_does_not_matter_ends_nothing(machine, tmp_path):
    text = """name: demo
scope: home
actions:
  - exec: {cmd: ["false"], on_fail: ignore}
  - env: {name: WORD, value: "a 'b' $$c é", scope: session}
  - exec: {cmd_shell: 'printf %s "$WORD" > out', shell: true, on_fail: warn}
"""
    package = write(tmp_path / "package", {"package.yaml": text})
    machine.run(package)
    assert (package / "out").read_text() == "a 'b' $c é"


def test_the_documentation_shows_more_than_one_package():
    assert len(SHOWN) == 2
