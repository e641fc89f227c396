"""Repositories that try to reach beyond their place."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from requisition.compiler.manifest import Manifest
from requisition.schemas.diagnostic import BadInput, Conflicted
from requisition.tree.bring import Signers
from requisition.tree.entries import address_fault
from requisition.tree.member import Member
from requisition.tree.walk import Walked, WalkOptions, walk
from support import walk_driver
from support.forest import BareRemote, manifest
from support.remotes import GpgKey, Repo, SshKey
from support.trees import snapshot


def walked(root: Path, **options) -> Walked:
    return walk(str(root), WalkOptions(cache=str(root.parent / "cache"), **options), say=lambda _: None)


def words(found: Walked) -> str:
    return "\n".join(str(one) for one in found.problems)


def root_of(folder: Path, children) -> Path:
    root = folder / "root"
    root.mkdir(exist_ok=True)
    (root / "package.yaml").write_text(manifest("root", children))
    return root


@pytest.fixture
def hostile(tmp_path: Path) -> BareRemote:
    return BareRemote(tmp_path / "hostile.git")


def test_submodules_hooks_and_filters_of_a_package_run_nothing(tmp_path, hostile):
    trap = f"touch {tmp_path}/ran"
    hostile.commit(
        {
            "package.yaml": manifest("hostile"),
            ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = ext::sh -c "{trap}"\n\tupdate = !{trap}\n',
            "hooks/post-checkout": f"#!/bin/sh\n{trap}\n",
            ".gitattributes": "* filter=trap\n",
            ".gitconfig": f'[filter "trap"]\n\tsmudge = {trap}\n[core]\n\tfsmonitor = {trap}\n',
        }
    )
    (hostile.folder / "hooks").mkdir()
    for hook in ("post-checkout", "post-update"):
        (hostile.folder / "hooks" / hook).write_text(f"#!/bin/sh\n{trap}\n")
        (hostile.folder / "hooks" / hook).chmod(0o755)
    root = root_of(tmp_path, {"h": hostile.url})
    assert words(walked(root)) == ""
    hostile.commit({"x.txt": "more"})
    assert words(walked(root, update=("h",))) == ""
    assert not (tmp_path / "ran").exists()
    assert not (root / "h/.git/hooks").exists()
    assert not (root / "h/x").exists()


def test_settings_of_user_and_machine_are_not_heeded(tmp_path, hostile, monkeypatch):
    hostile.commit({"package.yaml": manifest("hostile"), ".gitattributes": "* filter=trap\n"})
    (tmp_path / ".gitconfig").write_text(f'[filter "trap"]\n\tsmudge = touch {tmp_path}/ran\n\trequired = true\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert words(walked(root_of(tmp_path, {"h": hostile.url}))) == ""
    assert not (tmp_path / "ran").exists()


def test_a_child_is_not_put_behind_a_link_of_its_parent(tmp_path, hostile):
    leaf = BareRemote(tmp_path / "leaf.git")
    leaf.commit({"package.yaml": manifest("leaf")})
    outside = tmp_path / "outside"
    outside.mkdir()
    hostile.commit(
        {"package.yaml": manifest("hostile", {"way/leaf": leaf.url, "leaf": leaf.url})},
        links={"way": str(outside), "leaf": str(outside)},
    )
    root = root_of(tmp_path, {"h": hostile.url})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for place, options in ((scratch / "tree", {"change": False, "scratch": str(scratch)}), (root, {})):
        found = words(walked(root, **options))
        assert f"h/way/leaf: {place}/h/way is a link" in found
        assert f"h/leaf: {place}/h/leaf is a link" in found
        assert not list(outside.iterdir())


def test_a_manifest_that_is_a_link_is_not_read(tmp_path, hostile):
    (tmp_path / "secret.yaml").write_text("name: [secret")
    hostile.commit({"readme": "x"}, links={"package.yaml": str(tmp_path / "secret.yaml")})
    found = words(walked(root_of(tmp_path, {"h": hostile.url})))
    assert "package.yaml is a link" in found
    assert "secret" not in found.replace(str(tmp_path), "")


def test_the_places_that_are_kept_for_the_tree_may_be_no_links(tmp_path, hostile):
    hostile.commit({"package.yaml": manifest("hostile")})
    root = root_of(tmp_path, {"h": hostile.url})
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / ".plan").symlink_to(outside)
    with pytest.raises(Conflicted, match="is a link"):
        walked(root)
    assert not list(outside.iterdir())


def test_a_package_from_far_away_may_not_name_repositories_of_this_machine(tmp_path, hostile):
    far = Member("a", "/a", Manifest("a"), url="https://far.example/a.git")
    near = Member("a", "/a", Manifest("a"), url=hostile.url)
    for url in ("/etc/secrets", "file:///etc/secrets"):
        assert "an address of this machine" in address_fault(url, far)
        assert address_fault(url, near) == ""
    assert address_fault("https://far.example/b.git", far) == ""


def test_options_in_addresses_and_refs_of_a_package_never_reach_git(tmp_path, hostile):
    children = {"a": "-uhttps://x", "b": "ssh://-oProxyCommand=x/y", "c": "--upload-pack=x:y"}
    hostile.commit({"package.yaml": manifest("hostile", {**children, "d": {"url": hostile.url, "ref": "--x"}})})
    found = walked(root_of(tmp_path, {"h": hostile.url}))
    assert len(found.problems) == 4
    assert found.fetched == 1


def test_a_cache_that_others_may_write_is_not_used(tmp_path, hostile):
    hostile.commit({"package.yaml": manifest("hostile")})
    root = root_of(tmp_path, {"h": hostile.url})
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(BadInput, match="others may change the cache"):
        walked(root)


def signed_remote(tmp_path: Path, key: SshKey, *, tag: bool = False) -> tuple[Repo, str]:
    repo = Repo(tmp_path / "signed", getattr(key, "env", None))
    sign = [] if tag else ["-S"]
    (repo.folder / "package.yaml").write_text(manifest("signed"))
    repo.git("add", ".")
    repo.git(*key.settings, "commit", "-q", *sign, "-m", "x")
    if tag:
        repo.git(*key.settings, "tag", "-s", "-m", "x", "v1.0")
    return repo, f"file://{repo.folder}"


def test_only_commits_that_a_trusted_key_signed_are_put_there(tmp_path):
    mine, other = SshKey(tmp_path, "mine"), SshKey(tmp_path, "other")
    repo, url = signed_remote(tmp_path, mine)
    root = root_of(tmp_path, {"s": url})
    refused = walked(root, trust=Signers(allowed=other.allowed))
    assert "is not signed by one of the given keys" in words(refused)
    assert not (root / "s").exists()
    assert words(walked(root, trust=Signers(allowed=mine.allowed))) == ""
    repo.commit("x", "unsigned")
    assert "is not signed" in words(walked(root, trust=Signers(allowed=mine.allowed), update=("s",)))
    assert not (root / "s/x").exists()


def test_keys_that_are_taken_out_of_the_policy_count_no_more(tmp_path):
    mine, other = SshKey(tmp_path, "mine"), SshKey(tmp_path, "other")
    root = root_of(tmp_path, {"s": signed_remote(tmp_path, mine)[1]})
    trust = Signers(allowed=mine.allowed + other.allowed)
    assert words(walked(root, trust=trust)) == ""
    again = walked(root, trust=trust)
    assert (words(again), again.fetched) == ("", 0)
    assert "is not signed" in words(walked(root, trust=Signers(allowed=other.allowed)))


def test_a_signed_tag_counts_where_tags_are_asked_for(tmp_path):
    mine, other = SshKey(tmp_path, "mine"), SshKey(tmp_path, "other")
    _, url = signed_remote(tmp_path, mine, tag=True)
    root = root_of(tmp_path, {"s": {"url": url, "version": ">=1"}})
    assert "the tag v1.0 is not signed" in words(walked(root, trust=Signers(allowed=other.allowed, tags=True)))
    trust = Signers(allowed=mine.allowed, tags=True)
    assert words(walked(root, trust=trust)) == ""
    for place in (root / "s", tmp_path / "cache"):
        place.rename(f"{place}.away")
    assert words(walked(root, trust=trust)) == ""
    assert "the tag v1.0 is not signed" in words(walked(root, trust=Signers(allowed=other.allowed, tags=True)))


def test_a_tag_that_was_moved_since_is_not_the_pinned_commit(tmp_path):
    mine = SshKey(tmp_path, "mine")
    repo, url = signed_remote(tmp_path, mine, tag=True)
    root = root_of(tmp_path, {"s": {"url": url, "ref": "v1.0"}})
    trust = Signers(allowed=mine.allowed, tags=True)
    assert words(walked(root, trust=trust)) == ""
    for place in (root / "s", tmp_path / "cache"):
        place.rename(f"{place}.away")
    repo.commit("x", "more")
    repo.git(*mine.settings, "tag", "-f", "-s", "-m", "x", "v1.0")
    assert "the tag v1.0 is not" in words(walked(root, trust=trust))


def test_openpgp_keys_count_as_well(tmp_path):
    key = GpgKey(tmp_path / "home", "mine")
    try:
        _, url = signed_remote(tmp_path, key)
        root = root_of(tmp_path, {"s": url})
        assert words(walked(root, trust=Signers(keys=key.public))) == ""
    finally:
        key.close()


def stuck(folder: Path) -> Path:
    """A repository whose HEAD is a pipe that nobody writes to: git waits for it without end."""
    made = folder / "stuck"
    for name in ("objects", "refs"):
        (made / name).mkdir(parents=True)
    os.mkfifo(made / "HEAD")
    (made / "config").write_text("")
    return made


def processes_at(path: Path) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(place.read_bytes().decode("utf-8", "replace"))
    return [words for words in found if str(path) in words]


def ended(path: Path) -> bool:
    """Whether they end: one that was killed works on until the kernel comes to it."""
    deadline = time.monotonic() + 30
    while processes_at(path):
        if time.monotonic() > deadline:
            return False
    return True


def test_git_processes_end_when_a_walk_takes_too_long(tmp_path):
    made = stuck(tmp_path)
    root = root_of(tmp_path, {"s": f"file://{made}"})
    assert "did not end in time" in words(walked(root, timeout_ms=500))
    assert ended(made)


def test_git_processes_end_when_a_walk_is_interrupted(tmp_path):
    made = stuck(tmp_path)
    root = root_of(tmp_path, {"s": f"file://{made}", "t": f"file://{made}"})
    command = [sys.executable, walk_driver.__file__, str(root), str(tmp_path / "cache"), "", "0"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # who runs the tests may have it ignored
    walking = subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=heard)
    with open(made / "HEAD", "wb"):  # opens when git reads there
        walking.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in walking.communicate(timeout=30)[1]
    assert ended(made)


def test_paths_of_a_manifest_stay_in_the_tree(tmp_path, hostile):
    leaf = BareRemote(tmp_path / "leaf.git")
    leaf.commit({"package.yaml": manifest("leaf")})
    names = ["../x", "/x", "a/../../x", ".git", "a/.GIT/x", ".plan/x", "-x", "a//b", "a\nb", "c:d", "a/./b"]
    hostile.commit({"package.yaml": manifest("hostile", dict.fromkeys(names, leaf.url))})
    before = set(snapshot(tmp_path))
    found = walked(root_of(tmp_path, {"h": hostile.url}))
    assert len(found.problems) == len(names)
    assert found.fetched == 1
    assert {one for one in snapshot(tmp_path) if not one.startswith(("root", "cache"))} == before
