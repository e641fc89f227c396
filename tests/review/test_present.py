"""What somebody changed since, and what no run made."""

import os

import pytest

from requisition.review.history.present import changed_since, unmanaged
from requisition.runtime.store import UndoStore
from requisition.schemas.receipt import Left

HELLO = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d/file").write_text("hello\n")
    (root / "d/file").chmod(0o640)
    (root / "d").chmod(0o755)
    (root / "link").symlink_to("d/file")
    return root


def since(root, left):
    return changed_since(str(root.parent / "state"), str(root), left)


FILE = Left("/d/file", "file", 0o640, os.getuid(), os.getgid(), 6, HELLO)


@pytest.mark.parametrize(
    "left",
    [
        FILE,
        Left("/d/file", "file", 0o640, -1, -1, -1, HELLO),
        Left("/d", "dir", 0o755),
        Left("/link", "link", target="d/file"),
        Left("/nothing", "absent"),
        Left("/nothing/at/all", "absent"),
        Left("apt:nginx", "token", token="1.22"),
    ],
    ids=lambda left: f"{left.kind} {left.path}",
)
def test_what_is_as_it_was_left_has_no_changes(root, left):
    assert since(root, left) == []


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (Left("/d/file", "file", 0o644, sha256=HELLO), "mode 0644 becomes 0640"),
        (Left("/d/file", "file", 0o640, sha256="0" * 64), "the content is another one, of 6 bytes"),
        (Left("/d/file", "file", 0o640, size=7, sha256=HELLO), "the content is another one, of 6 bytes"),
        (
            Left("/d/file", "file", 0o640, uid=os.getuid() + 1, sha256=HELLO),
            f"owner {os.getuid() + 1} becomes {os.getuid()}",
        ),
        (Left("/d/file", "absent"), "absent becomes file with mode 0640"),
        (Left("/d", "file", 0o755, sha256=HELLO), "file becomes directory with mode 0755"),
        (Left("/link", "link", target="else"), "link to else becomes link to d/file"),
        (Left("/gone", "file", 0o644, sha256=HELLO), "missing"),
        (Left("/gone/deeper", "dir", 0o755), "missing"),
    ],
)
def test_a_change_is_told_in_words(root, left, words):
    assert since(root, left) == [words]


def test_content_with_a_secret_is_compared_by_its_keyed_digest(root):
    (root.parent / "state").mkdir(mode=0o700)
    store = UndoStore(str(root.parent / "state/store"))
    digest = store.keyed_digest(b"hello\n")
    store.close()
    sealed = Left("/d/file", "file", 0o640, sha256=digest, sealed=True)
    assert since(root, sealed) == []
    (root / "d/file").write_text("other\n")
    assert since(root, sealed) == ["the content is another one, of 6 bytes"]


def test_a_link_in_the_way_is_not_followed_out_of_the_root(root):
    (root / "out").symlink_to("/etc")
    assert since(root, Left("/out/hostname", "file", 0o644, sha256=HELLO)) == ["missing"]


def test_a_root_that_is_gone_is_told(tmp_path):
    assert "cannot be opened" in since(tmp_path / "nothing", FILE)[0]


def test_what_no_run_made_is_named_and_a_folder_of_it_by_itself(root):
    (root / "d/mine/deep").mkdir(parents=True)
    (root / "d/other").write_text("")
    (root / "far").symlink_to("/")
    managed = {f"{root}/d/file", f"{root}/link"}
    assert sorted(unmanaged([str(root)], managed)) == [f"{root}/d/mine/", f"{root}/d/other", f"{root}/far"]
    assert sorted(unmanaged([f"{root}/d", str(root)], managed)) == sorted(unmanaged([str(root)], managed))
    assert list(unmanaged([f"{root}/nothing"], set())) == [f"{root}/nothing/ (cannot be read)"]


def test_what_somebody_put_into_a_folder_of_ours_is_named(root):
    assert sorted(unmanaged([str(root)], {f"{root}/d"})) == [f"{root}/d/file", f"{root}/link"]
