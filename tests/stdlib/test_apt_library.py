"""`@std//apt.star` with real apt, on a repository made here."""

import shutil

import pytest

from requisition.compiler import build
from requisition.schemas import orderfile
from support.aptroot import MISSING, machine, repository
from support.packages import request

__all__ = ["machine", "repository"]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING}")
SCRIPT = """
load("@std//apt.star", "packages", "pin", "repository")

def install(package, phase):
    ours = repository("ours", "file:%s", ["./"], signed_by = "%s")
    packages({"app": "%s", "tool": ""}, after = [ours, pin("tool", ["tool"], "version 1.0", 900)])
"""


@pytest.fixture
def bare(machine):
    """A root that knows no repository."""
    (machine.root / "etc/apt/sources.list").write_text("")
    shutil.rmtree(machine.root / "var/lib/apt/lists")
    (machine.root / "var/lib/apt/lists/partial").mkdir(parents=True)
    return machine


def order(machine, repository, version=">=1,<2"):
    folder = machine.folder / "package"
    folder.mkdir(exist_ok=True)
    (folder / "package.yaml").write_text("name: demo\n")
    (folder / "package.star").write_text(SCRIPT % (repository.folder, repository.key, version))
    path = str(folder / "order.plan")
    orderfile.write(path, orderfile.seal(build(request(folder, target_root=str(machine.root))).order))
    return path


def test_a_repository_is_trusted_by_its_own_key_and_packages_come_from_it(bare, repository):
    before = bare.whole()
    path = order(bare, repository)
    applied = bare.run("apply", path)
    assert applied.status == "done", applied.text
    assert bare.packages() == {"app": "1.5", "lib": "2.0", "tool": "1.0"}
    assert bare.run("apply", path).result.summary == {"unchanged": applied.result.summary["done"]}
    assert bare.run("rollback", applied.result.receipt).status == "done"
    assert bare.whole() == before


def test_a_source_that_was_changed_since_is_fetched_again(bare, repository):
    path = order(bare, repository)
    assert bare.run("apply", path).status == "done"
    (bare.root / "etc/apt/sources.list.d/more.list").write_text(
        f"deb [signed-by={repository.key}] file:{repository.folder} ./\n"
    )
    assert bare.run("dry-run", path).result.summary["change"] == 1


def test_versions_that_no_repository_has_are_told_and_all_is_taken_back(bare, repository):
    before = bare.whole()
    failed = bare.run("apply", order(bare, repository, "=9"))
    assert failed.status == "failed"
    assert "package.star:6" in failed.text
    assert "app" in failed.text
    assert bare.whole() == before
