"""What is read is what was looked at; what is moved stays whole; what is given away is given on purpose."""

import io
import os
import tarfile

import pytest

from requisition.stdlib.action import ActionError, Raced, Satisfied, UndoConflict
from requisition.stdlib.providers.accounts import gid_of, uid_of
from requisition.stdlib.providers.archive import Extract
from requisition.stdlib.providers.file_changes import Remove
from requisition.stdlib.providers.file_moves import Backup, Rename
from support.hosts import Bench
from support.trees import build, snapshot


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    build(made.root, {"file": (b"old", 0o640), "dir": {"inner": b"x"}, "tool": (b"#!", 0o4755)})
    return made


def tar(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_an_archive_that_changes_after_it_was_looked_at_is_not_extracted(bench):
    (bench.root / "a.tar").write_bytes(tar(x=b"reviewed"))
    slots = {"archive": "/a.tar", "path": "/out"}
    change = bench.observe(Extract(), **slots)
    (bench.root / "a.tar").write_bytes(tar(x=b"swapped!"))
    with pytest.raises(Raced, match="changed while it was read"):
        Extract().do(bench.host, Extract.slots(**slots), change)
    assert os.listdir(bench.root / "out") == []


def test_only_what_an_archive_lacks_on_the_target_is_written(bench):
    (bench.root / "a.tar").write_bytes(tar(x=b"1", y=b"2"))
    bench.do(Extract(), archive="/a.tar", path="/deep/er/out")
    (bench.root / "deep/er/out/y").unlink()
    change = bench.do(Extract(), archive="/a.tar", path="/deep/er/out")
    assert [one.path for one in change.files] == ["/deep/er/out/y"]


def test_a_file_that_changes_after_it_was_looked_at_is_not_backed_up(bench):
    change = bench.observe(Backup(), path="/file")
    (bench.root / "file").write_bytes(b"new")
    with pytest.raises(Raced, match="changed while it was copied"):
        Backup().do(bench.host, Backup.slots(path="/file"), change)
    assert not (bench.root / "file.bak").exists()


def test_a_backup_does_not_run_as_its_owner(bench):
    bench.do(Backup(), path="/tool")
    assert (bench.root / "tool.bak").stat().st_mode & 0o7777 == 0o755


def test_an_older_backup_is_kept(bench):
    (bench.root / "file.bak").write_text("the first")
    assert isinstance(bench.observe(Backup(), path="/file"), Satisfied)


def test_a_directory_is_moved_whole_and_its_old_name_is_known_to_be_gone(bench):
    inode = (bench.root / "dir").stat().st_ino
    change = bench.do(Rename(), source="/dir", path="/moved")
    assert (bench.root / "moved").stat().st_ino == inode
    assert change.files == ()
    assert [left.kind for left in bench.observe(Rename(), source="/dir", path="/moved").left] == ["absent"]


@pytest.mark.parametrize("path", ["/dir/inside", "/dir/a/b"])
def test_a_directory_is_not_moved_into_itself(bench, path):
    before = snapshot(bench.root)
    with pytest.raises(ActionError, match="into itself"):
        bench.observe(Rename(), source="/dir", path=path)
    assert snapshot(bench.root) == before


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="needs a second file system")
def test_a_move_to_another_file_system_says_so(tmp_path):
    bench = Bench(tmp_path)
    shared, here = f"/dev/shm/rq-{os.getpid()}", str(tmp_path / "file")
    (tmp_path / "file").write_text("x")
    bench.host.root.close()
    bench.host.root = type(bench.host.root)("/")
    change = bench.observe(Rename(), source=here, path=shared)
    with pytest.raises(ActionError, match="different file systems"):
        Rename().do(bench.host, Rename.slots(source=here, path=shared), change)
    assert not os.path.exists(shared)


def test_a_move_is_not_taken_back_over_something_new(bench):
    change = bench.do(Rename(), source="/file", path="/moved")
    (bench.root / "file").write_text("new")
    with pytest.raises(UndoConflict, match="exists again"):
        bench.undo(Rename(), change)
    assert (bench.root / "moved").read_text() == "old"


def test_the_root_itself_is_not_removed(bench):
    before = snapshot(bench.root)
    with pytest.raises(ActionError, match="root itself"):
        bench.observe(Remove(), path="/", recursive=True)
    assert snapshot(bench.root) == before


@pytest.mark.parametrize("find", [uid_of, gid_of])
@pytest.mark.parametrize("name", ["4294967295", "99999999999999999999", "-1", "²", "no such", "a\0b", "+0"])
def test_an_account_that_is_none_is_an_ordinary_error(bench, find, name):
    with pytest.raises(ActionError):
        find(bench.host, name)


def test_accounts_are_found_by_name_and_number(bench):
    host = bench.host
    found = (uid_of(host, "root"), gid_of(host, "root"), uid_of(host, "12345"), uid_of(host, ""), gid_of(host, ""))
    assert found == (0, 0, 12345, -1, -1)


def test_a_root_that_has_accounts_goes_by_those_alone(bench):
    (bench.root / "etc").mkdir()
    (bench.root / "etc/passwd").write_text("shop:x:777:778::/srv:/bin/sh\n")
    (bench.root / "etc/group").write_text("shop:x:778:\n")
    assert (uid_of(bench.host, "shop"), gid_of(bench.host, "shop")) == (777, 778)
    with pytest.raises(ActionError, match="no user 'root' here"):
        uid_of(bench.host, "root")
