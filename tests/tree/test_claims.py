import fcntl
import os
import subprocess
import sys
import threading
from contextlib import ExitStack

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from requisition.schemas.diagnostic import BadInput
from requisition.tree.claims import Busy, Claim, Owner, claim, held, holder, lock_path
from support.treelog import AT, noon

ME = Owner.this_process("plan sync")
HOLDS = """
import sys
from requisition.tree.claims import Owner, claim
with claim(sys.argv[1], sys.argv[2], Owner.this_process("plan sync")):
    print("held", flush=True)
    sys.stdin.read()
"""


def take(root, path, owner=ME):
    return claim(str(root), path, owner, clock=noon)


def locks(root):
    return sorted(os.listdir(root / ".plan" / "locks"))


class Other:
    """Another process that holds a package."""

    def __init__(self, root, path):
        words = [sys.executable, "-c", HOLDS, str(root), path]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"held\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        self.process.kill()
        self.process.communicate()


def left_over(root, path, owner):
    """The file of a holder that is gone."""
    with take(root, "other"):
        pass
    file = lock_path(str(root), path)
    with open(file, "wb") as out:
        out.write(msgspec.json.encode(Claim(path, owner, AT)))
    return file


def test_a_lock_tells_its_owner_and_time_and_goes_when_it_is_released(tmp_path):
    with take(tmp_path, "libs/a") as mine:
        assert locks(tmp_path) == ["libs%2Fa"]
        found = holder(lock_path(str(tmp_path), "libs/a"))
        assert found == Claim("libs/a", ME, AT) == mine
        assert (found.owner.pid, found.owner.user) == (os.getpid(), os.geteuid())
    assert locks(tmp_path) == []


def test_two_packages_are_held_at_once_but_none_twice_even_by_one_process(tmp_path):
    with take(tmp_path, "a"), take(tmp_path, ""):
        assert locks(tmp_path) == ["@root", "a"]
        with pytest.raises(Busy), take(tmp_path, "a"):
            pass
        with pytest.raises(Busy, match="the root"), take(tmp_path, ""):
            pass
    with take(tmp_path, "a"):
        pass


def test_a_sync_may_hold_more_packages_than_a_shell_allows_descriptors(tmp_path):
    code = """
import resource, sys
from contextlib import ExitStack
from requisition.tree.claims import Owner, claim
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 400))
with ExitStack() as claims:
    for number in range(300):
        claims.enter_context(claim(sys.argv[1], f"p/{number}", Owner.this_process("plan sync")))
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert locks(tmp_path) == []


def test_who_finds_it_taken_is_told_by_whom_and_since_when(tmp_path):
    with Other(tmp_path, "a") as other:
        with pytest.raises(Busy) as caught, take(tmp_path, "a"):
            pass
        since = holder(lock_path(str(tmp_path), "a")).since
        what = caught.value.diagnostics[0].what
        assert f"process {other.process.pid} of user {os.geteuid()}" in what
        assert f"since {since}" in what
        assert held(lock_path(str(tmp_path), "a"))


def test_what_a_killed_holder_left_is_recognised_and_taken_over(tmp_path):
    with Other(tmp_path, "a") as other:
        other.kill()
        file = lock_path(str(tmp_path), "a")
        assert locks(tmp_path) == ["a"]
        assert holder(file).owner.gone
        assert not held(file)
        with take(tmp_path, "a") as mine:
            assert mine.took_over.pid == other.process.pid
    assert locks(tmp_path) == []


def test_a_process_that_got_the_same_number_later_is_not_taken_for_the_owner():
    assert not ME.gone
    assert msgspec.structs.replace(ME, began=ME.began - 1).gone
    assert msgspec.structs.replace(ME, boot="another").gone
    assert not msgspec.structs.replace(ME, boot="another", host="elsewhere").gone


def test_a_holder_on_another_machine_is_not_judged_from_here(tmp_path):
    elsewhere = msgspec.structs.replace(ME, boot="another", host="elsewhere")
    file = left_over(tmp_path, "a", elsewhere)
    assert held(file)
    with pytest.raises(Busy) as caught, take(tmp_path, "a"):
        pass
    assert "on elsewhere" in str(caught.value)
    assert file in caught.value.diagnostics[0].next
    assert os.path.exists(file)


def test_a_file_that_says_nothing_is_taken_over(tmp_path):
    file = left_over(tmp_path, "a", ME)
    open(file, "w").close()
    assert holder(file) is None
    assert not held(file)
    with take(tmp_path, "a") as mine:
        assert mine.took_over is None


def test_a_lock_that_is_held_is_known_even_when_its_owner_cannot_be_seen(tmp_path):
    file = left_over(tmp_path, "a", msgspec.structs.replace(ME, began=1))
    fd = os.open(file, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert held(file)
    os.close(fd)
    assert not held(file)


def test_a_lock_that_was_released_while_it_was_being_taken_is_taken_anew(tmp_path, monkeypatch):
    file = left_over(tmp_path, "a", ME)
    real = fcntl.flock

    def after_the_other_released_it(fd, how):
        monkeypatch.setattr(fcntl, "flock", real)
        os.unlink(file)
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", after_the_other_released_it)
    with take(tmp_path, "a"):
        assert holder(file).owner == ME
        with pytest.raises(Busy), take(tmp_path, "a"):
            pass
    assert locks(tmp_path) == []


def test_a_lock_that_a_person_removed_and_someone_else_took_is_not_released_with_ours(tmp_path):
    with take(tmp_path, "a"):
        os.unlink(lock_path(str(tmp_path), "a"))
        other = Other(tmp_path, "a")
    with other, pytest.raises(Busy), take(tmp_path, "a"):
        pass


def test_a_block_that_fails_releases_too(tmp_path):
    with pytest.raises(ZeroDivisionError), take(tmp_path, "a"):
        raise ZeroDivisionError
    assert locks(tmp_path) == []


def test_a_link_in_a_locks_place_is_not_followed(tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    file = left_over(tmp_path, "a", ME)
    os.unlink(file)
    os.symlink("../../victim", file)
    with pytest.raises(BadInput), take(tmp_path, "a"):
        pass
    assert (tmp_path / "victim").read_bytes() == b"precious"


@given(st.lists(st.text(max_size=300), unique=True, max_size=5))
@settings(deadline=None)
def test_every_path_has_one_name_of_its_own_that_a_file_can_have(paths):
    names = [os.path.relpath(lock_path("/r", path), "/r/.plan/locks") for path in paths]
    assert len(set(names)) == len(paths)
    for name in names:
        assert "/" not in name
        assert len(name.encode()) <= 255
        assert not name.startswith(".")


def test_of_many_that_want_it_at_once_never_two_have_it(tmp_path):
    inside, most, had = [], [], []

    def work():
        while len(had) < 200:
            try:
                with take(tmp_path, "a"):
                    inside.append(1)
                    most.append(len(inside))
                    had.append(1)
                    inside.pop()
            except Busy:
                continue

    with ExitStack() as stack:
        for _ in range(4):
            thread = threading.Thread(target=work)
            thread.start()
            stack.callback(thread.join)
    assert max(most) == 1
    assert locks(tmp_path) == []
