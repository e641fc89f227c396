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


def test_the_documentation_shows_more_than_one_package():
    assert len(SHOWN) == 2
