"""The cache with remotes that can do less, and with itself."""

import http.server
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from requisition.stdlib.action import ActionError, Cancelled
from requisition.tree.cache import Cache, Found, Wanted
from requisition.tree.git import Control
from requisition.tree.locks import held
from support.forest import BareRemote


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def dumb(tmp_path: Path) -> Iterator[tuple[BareRemote, str]]:
    """A repository behind a server of plain files: no protocol of git's own, so no shallow fetches."""
    remote = BareRemote(tmp_path / "served/r.git")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path / "served")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield remote, f"http://127.0.0.1:{server.server_port}/r.git"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def cache_in(folder: Path, **options) -> Cache:
    return Cache(str(folder / "cache"), Control(), **options)


def test_all_is_fetched_where_a_remote_cannot_give_a_commit_alone(tmp_path, dumb):
    remote, url = dumb
    old, new = remote.commit({"x": "1"}), remote.commit({"x": "2"})
    remote.git("update-server-info")
    bare = cache_in(tmp_path).of(url)
    assert bare.find(Wanted("main")) == Found("main", new)
    assert bare.git().run("cat-file", "blob", f"{new}:x").stdout == b"2"
    bare.hold(old)
    assert bare.kept(old)


def test_a_commit_that_a_remote_does_not_hand_out_is_looked_for_in_all_it_has(tmp_path, dumb):
    remote, url = dumb
    old = remote.commit({"x": "1"})
    remote.commit({"x": "2"})
    remote.git("update-server-info")
    bare = cache_in(tmp_path).of(url)
    bare.hold(old)
    assert bare.git().run("cat-file", "blob", f"{old}:x").stdout == b"1"
    with pytest.raises(ActionError, match="has no commit cccccccccccc"):
        bare.hold("c" * 40)


def test_a_commit_that_is_nowhere_is_told_and_the_cache_goes_on(tmp_path):
    remote = BareRemote(tmp_path / "r.git")
    commit = remote.commit({"x": "1"})
    bare = cache_in(tmp_path).of(remote.url)
    bare.find(Wanted())
    with pytest.raises(ActionError, match="has no commit cccccccccccc"):
        bare.hold("c" * 40)
    tree = remote.git("rev-parse", f"{commit}^{{tree}}")
    with pytest.raises(ActionError, match="is no commit|has no commit"):
        bare.hold(tree)
    assert bare.find(Wanted()) == Found("", commit)


def test_an_older_commit_comes_to_a_cache_that_has_newer_ones_alone(tmp_path):
    remote = BareRemote(tmp_path / "r.git")
    commits = [remote.commit({"x": str(number)}) for number in range(4)]
    bare = cache_in(tmp_path).of(remote.url)
    bare.find(Wanted())
    for number in (1, 0, 2):
        bare.hold(commits[number])
        assert bare.git().run("cat-file", "blob", f"{commits[number]}:x").stdout == str(number).encode()
    assert bare.git().run("rev-list", "--count", commits[3]).stdout == b"1\n"


def test_what_is_held_asks_no_remote_and_what_has_not_changed_is_not_fetched_again(tmp_path):
    remote = BareRemote(tmp_path / "r.git")
    commit = remote.commit({"x": "1"})
    cache = cache_in(tmp_path)
    bare = cache.of(remote.url)
    bare.find(Wanted())
    asked = cache.asked
    bare.hold(commit)
    assert cache.asked == asked
    packs = list((Path(bare.path) / "objects/pack").iterdir())
    assert bare.find(Wanted()) == Found("", commit)
    assert cache.asked == asked + 1
    assert list((Path(bare.path) / "objects/pack").iterdir()) == packs


def test_a_branch_may_become_a_folder_of_branches(tmp_path):
    remote = BareRemote(tmp_path / "r.git")
    remote.commit({"x": "1"}, "a")
    bare = cache_in(tmp_path).of(remote.url)
    bare.find(Wanted("a"))
    remote.git("update-ref", "-d", "refs/heads/a")
    new = remote.commit({"x": "2"}, "a-b")
    remote.git("update-ref", "refs/heads/a/b", new)
    assert bare.find(Wanted("a/b")) == Found("a/b", new)


def test_many_may_fetch_one_address_at_the_same_time(tmp_path):
    remote = BareRemote(tmp_path / "r.git")
    for number in range(6):
        remote.commit({"x": str(number)}, f"b{number}")
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda n: cache_in(tmp_path).of(remote.url).find(Wanted(f"b{n}")), range(6)))
    bare = cache_in(tmp_path, offline=True).of(remote.url)
    assert [one.commit for one in found] == [bare.find(Wanted(f"b{n}")).commit for n in range(6)]
    assert bare.git().run("fsck", "--connectivity-only").status == 0


def test_a_cache_whose_files_were_emptied_is_made_anew(tmp_path):
    remote = BareRemote(tmp_path / "r.git")
    remote.commit({"x": "1"})
    bare = cache_in(tmp_path).of(remote.url)
    bare.find(Wanted())
    (Path(bare.path) / "config").write_text("")
    new = remote.commit({"x": "2"})
    assert bare.find(Wanted()) == Found("", new)


def test_a_lock_lives_as_long_as_a_process_that_inherited_it(tmp_path):
    path = str(tmp_path / "lock")
    with held(path, "it", Control()) as fd:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[fd])
    with pytest.raises(ActionError, match="it is in use by another process"), held(path, "it", Control(timeout_ms=50)):
        pass
    with pytest.raises(Cancelled), held(path, "it", Control(lambda: True)):
        pass
    child.communicate()
    with held(path, "it", Control()):
        pass
