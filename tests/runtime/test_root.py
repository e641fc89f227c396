import os

import pytest

from requisition.runtime.root import Escapes, TargetRoot


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root/usr/bin").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    opened = TargetRoot(str(tmp_path / "root"))
    yield opened
    opened.close()


def inode(root, path):
    directory, name = root.parent(path)
    return os.stat(name, dir_fd=directory).st_ino


def test_a_path_is_resolved_below_the_root(root, tmp_path):
    (tmp_path / "root/usr/bin/x").write_text("")
    assert inode(root, "/usr/bin/x") == (tmp_path / "root/usr/bin/x").stat().st_ino


def test_our_own_link_inside_the_root_is_followed(root, tmp_path):
    (tmp_path / "root/bin").symlink_to("usr/bin")
    (tmp_path / "root/usr/bin/x").write_text("")
    assert inode(root, "/bin/x") == (tmp_path / "root/usr/bin/x").stat().st_ino


def test_an_absolute_link_starts_at_the_root_not_at_the_machine(root, tmp_path):
    (tmp_path / "root/abs").symlink_to("/usr")
    (tmp_path / "root/usr/here").write_text("")
    assert inode(root, "/abs/here") == (tmp_path / "root/usr/here").stat().st_ino


@pytest.mark.parametrize("target", ["../outside", "../../../../../../../outside", "usr/../../outside"])
def test_a_link_cannot_lead_out_of_the_root(root, tmp_path, target):
    (tmp_path / "root/evil").symlink_to(target)
    with pytest.raises(FileNotFoundError):
        root.parent("/evil/x")


def test_a_loop_of_links_ends(root, tmp_path):
    (tmp_path / "root/a").symlink_to("b")
    (tmp_path / "root/b").symlink_to("a")
    with pytest.raises(Escapes, match="loop|links to follow"):
        root.parent("/a/x")


def test_a_file_in_the_middle_of_a_path_is_named(root, tmp_path):
    (tmp_path / "root/file").write_text("")
    with pytest.raises(Escapes, match="'file' is not a directory"):
        root.parent("/file/x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a link of another user")
def test_a_link_planted_by_another_user_is_not_followed(root, tmp_path):
    (tmp_path / "root/planted").symlink_to("usr")
    os.chown(tmp_path / "root/planted", 12345, 12345, follow_symlinks=False)
    with pytest.raises(Escapes, match="owned by user 12345"):
        root.parent("/planted/x")


def test_more_directories_than_descriptors_are_walked(root, tmp_path, monkeypatch):
    for number in range(100):
        (tmp_path / f"root/d{number}/inner").mkdir(parents=True)
        (tmp_path / f"root/d{number}/inner/x").write_text("")
    monkeypatch.setattr("requisition.runtime.root.MAX_OPEN", 50)
    few = TargetRoot(root.path)
    for number in range(100):
        assert inode(few, f"/d{number}/inner/x") > 0
        assert len(few.kept) <= 51  # and a parent on the way
    few.close()


def test_what_is_kept_below_a_forgotten_directory_is_forgotten_with_it(root, tmp_path):
    (tmp_path / "root/d/inner").mkdir(parents=True)
    (tmp_path / "root/d2").mkdir()
    root.parent("/d/inner/x")
    root.parent("/d2/x")
    root.forget("/d")
    assert {"/d", "/d/inner"}.isdisjoint(root.kept)
    assert "/d2" in root.kept


def test_a_forgotten_directory_is_opened_anew(root, tmp_path):
    (tmp_path / "root/d").mkdir()
    root.parent("/d/x")
    (tmp_path / "root/d").rename(tmp_path / "root/old")
    (tmp_path / "root/d").mkdir()
    (tmp_path / "root/d/new").write_text("")
    root.forget("/d")
    assert inode(root, "/d/new") > 0
