"""What a remote has is asked for in bounded time, and one commit of it checked out with nothing of the machine's git."""

import os
import socket

import pytest

from requisition.schemas.diagnostic import Failed
from requisition.services.watch import remote
from requisition.services.watch.remote import Clone, Unreachable
from support.stories import story
from support.watched import Watched, writes


@story
async def test_heads_are_branches_and_tags_with_their_commits(tmp_path):
    repo = Watched(tmp_path)
    assert await remote.heads(repo.url, 30) == {}
    commit = repo.push(writes("one"))
    repo.work.git("tag", "-a", "-m", "x", "v1")
    repo.work.git("push", "--quiet", "origin", "v1", "HEAD:refs/changes/1")
    assert await remote.heads(repo.url, 30) == {"refs/heads/main": commit, "refs/tags/v1": commit}


@story
async def test_a_remote_that_accepts_and_says_nothing_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(Unreachable) as caught:
        await remote.heads(f"git://127.0.0.1:{server.getsockname()[1]}/x", 0.3)
    assert "took longer than 0.3 s" in caught.value.diagnostics[0].why


@pytest.mark.parametrize("url", ["/nowhere/at/all.git", "git://127.0.0.1:1/x"])
def test_a_remote_that_is_not_there_is_told_in_gits_own_words(url):
    @story
    async def ask():
        with pytest.raises(Unreachable) as caught:
            await remote.heads(url, 30)
        assert "status 128" in caught.value.diagnostics[0].why

    ask()


@story
async def test_a_commit_is_checked_out_as_it_is_whatever_was_there_and_whatever_hooks_and_settings_say(
    tmp_path, monkeypatch
):
    repo = Watched(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(f"[core]\n\thooksPath = {home}\n")
    (home / "post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    (home / "post-checkout").chmod(0o755)
    monkeypatch.setenv("HOME", str(home))
    first, second = repo.push(writes("one")), repo.push(writes("two"))
    clone = Clone(str(tmp_path / "clone.git"), repo.url, (), lambda _: None)
    clone.prepare()
    await clone.fetch("refs/heads/main", 30)
    assert await clone.has(first, 30)
    assert await clone.follows(second, first, 30)
    assert not await clone.follows(first, second, 30)
    assert not await clone.follows(second, "0" * 39 + "1", 30)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "left").write_text("of a run that was cut off")
    for commit, text in ((first, "one"), (second, "two"), (second, "two")):
        await clone.check_out(commit, str(tree), 30)
        assert text in (tree / "package.star").read_text()
        assert not (tree / "left").exists()
    assert not (tmp_path / "hooked").exists()


@story
async def test_a_checkout_has_the_modes_of_the_commit_whatever_umask_the_service_has(tmp_path):
    repo = Watched(tmp_path)
    commit = repo.push(writes("one"))
    before = os.umask(0o077)
    try:
        clone = Clone(str(tmp_path / "clone.git"), repo.url, (), lambda _: None)
        clone.prepare()
        await clone.fetch("refs/heads/main", 30)
        await clone.check_out(commit, str(tmp_path / "tree"), 30)
    finally:
        os.umask(before)
    assert (tmp_path / "tree/package.star").stat().st_mode & 0o777 == 0o644


@story
async def test_what_a_killed_fetch_left_is_removed_and_a_damaged_clone_made_anew(tmp_path):
    repo = Watched(tmp_path)
    commit = repo.push(writes("one"))
    folder = tmp_path / "clone.git"
    clone = Clone(str(folder), repo.url, (), lambda _: None)
    clone.prepare()
    for left in ("packed-refs.lock", "refs/known/refs%2Fheads%2Fmain.lock", "objects/pack/tmp_pack_x"):
        (folder / left).touch()
    clone.prepare()
    await clone.fetch("refs/heads/main", 30)
    assert await clone.has(commit, 30)
    (folder / "HEAD").write_text("")
    clone.prepare()
    assert not await clone.has(commit, 30)


@story
async def test_a_ref_that_is_gone_is_a_failure_that_says_so(tmp_path):
    repo = Watched(tmp_path)
    clone = Clone(str(tmp_path / "clone.git"), repo.url, (), lambda _: None)
    clone.prepare()
    with pytest.raises(Failed, match="couldn't find remote ref"):
        await clone.fetch("refs/heads/main", 30)


def test_git_hears_of_the_machine_only_how_remotes_are_reached(monkeypatch):
    monkeypatch.setenv("TOKEN", "hunter2")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("https_proxy", "http://proxy.example.org")
    found = remote.environment("https://git.example.org/x")
    assert "TOKEN" not in found
    assert "GIT_DIR" not in found
    assert found["https_proxy"] == "http://proxy.example.org"
    assert found["GIT_ALLOW_PROTOCOL"] == "https"
