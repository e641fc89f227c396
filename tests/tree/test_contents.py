"""The digest of a package changes with everything that it is built from, and with nothing else."""

import os

import pytest

from requisition.schemas.document import Platform
from requisition.tree.contents import digest

LINUX = Platform("linux", "debian", "amd64")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "package.yaml").write_text("name: x\n")
    (tmp_path / "files/a").write_text("a\n")
    (tmp_path / "child").mkdir()
    (tmp_path / "child/package.yaml").write_text("name: child\n")
    return tmp_path


def of(folder, target=LINUX, root="/", **chosen):
    return digest(str(folder), ["child"], target, root, chosen)


CHANGES = {
    "content": lambda folder: (folder / "files/a").write_text("b\n"),
    "a new file": lambda folder: (folder / "files/b").touch(),
    "a name": lambda folder: (folder / "files/a").rename(folder / "files/c"),
    "a file that may run": lambda folder: (folder / "files/a").chmod(0o755),
    "a link": lambda folder: (folder / "files/l").symlink_to("a"),
    "a file that is gone": lambda folder: (folder / "files/a").unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_it_changes_with(folder, change):
    before = of(folder)
    change(folder)
    assert of(folder) != before


def test_it_changes_with_what_was_chosen_and_where_it_is_for(folder):
    found = {of(folder), of(folder, settings={"a": "1"}), of(folder, root="/x"), of(folder, Platform("linux"))}
    assert len(found) == 4


def test_it_does_not_change_with_times_git_what_is_kept_pins_or_packages_below(folder):
    before = of(folder)
    (folder / "plan.lock").write_text('version: "1"\n')
    os.utime(folder / "files/a", (1, 1))
    for name in (".git", ".plan"):
        (folder / name).mkdir()
        (folder / name / "x").write_text("x")
    (folder / "child/package.yaml").write_text("name: other\n")
    assert of(folder) == before


def test_two_files_cannot_pass_for_one(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    (one / "a").write_text("x")
    (one / "b").write_text("y")
    (two / "a").write_text("x\0/b\0y")
    assert digest(str(one), [], LINUX, "/", {}) != digest(str(two), [], LINUX, "/", {})
