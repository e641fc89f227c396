import os
import shutil
import tempfile
from pathlib import Path

import pytest

from requisition.stdlib.action import ActionError, Change, Satisfied, UndoConflict
from requisition.stdlib.providers.git import Checkout, Clone, Pull
from requisition.stdlib.providers.git_repository import check_ref, remote
from support.hosts import Bench
from support.orders import OrderBuilder
from support.packages import built
from support.process import request
from support.remotes import GpgKey, Repo, SshKey
from support.session import ask
from support.trees import snapshot

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


class Scene:
    """A remote of two commits and a bench to clone it on."""

    def __init__(self, folder: Path, inputs=None):
        self.remote = Repo(folder / "remote")
        self.first = self.remote.commit("a", "one")
        self.second = self.remote.commit("a", "two")
        self.url = f"file://{folder}/remote"
        self.bench = Bench(folder, inputs)
        self.tree = self.bench.root / "srv/app"

    def clone(self, **slots) -> Change:
        slots = {"commit": self.first} | slots
        return self.bench.do(Clone(), url=self.url, path="/srv/app", **slots)

    def local(self) -> Repo:
        return Repo(self.tree)


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_a_clone_stands_at_the_pinned_commit_and_a_second_apply_changes_nothing(scene):
    scene.clone()
    assert (scene.tree / "a").read_text() == "one"
    assert scene.local().git("rev-parse", "HEAD") == scene.first
    assert scene.local().git("symbolic-ref", "--short", "HEAD") == "main"
    before = snapshot(scene.tree)
    found = scene.bench.observe(Clone(), url=scene.url, path="/srv/app", commit=scene.first)
    assert isinstance(found, Satisfied)
    assert found.left[0].token == scene.first
    assert snapshot(scene.tree) == before
    assert sorted(os.listdir(scene.bench.root / "srv")) == ["app"]


def test_a_clone_is_taken_back_with_the_parents_that_were_made_for_it(scene):
    change = scene.clone()
    scene.bench.undo(Clone(), change)
    assert os.listdir(scene.bench.root) == []
    scene.bench.undo(Clone(), change)


def test_an_empty_directory_gives_way_to_a_clone_and_comes_back(scene):
    scene.tree.mkdir(parents=True, mode=0o750)
    scene.tree.chmod(0o750)
    before = snapshot(scene.bench.root)
    change = scene.clone()
    assert (scene.tree / "a").exists()
    scene.bench.undo(Clone(), change)
    assert snapshot(scene.bench.root) == before


def test_what_stands_at_the_path_is_not_cloned_over(scene):
    scene.tree.mkdir(parents=True)
    (scene.tree / "mine").write_text("mine")
    with pytest.raises(ActionError, match="not empty"):
        scene.clone()
    shutil.rmtree(scene.tree)
    scene.tree.write_text("mine")
    with pytest.raises(ActionError, match="no directory"):
        scene.clone()
    assert scene.tree.read_text() == "mine"


WORK = {
    "an edited file": lambda repo: (repo.folder / "a").write_text("edited"),
    "an untracked file": lambda repo: (repo.folder / "new").write_text("new"),
    "an ignored file": lambda repo: (
        (repo.folder / ".git/info").mkdir(),
        (repo.folder / ".git/info/exclude").write_text("new\n"),
        (repo.folder / "new").write_text("new"),
    ),
    "a commit": lambda repo: repo.commit("b", "b"),
    "a commit on another branch": lambda repo: (
        repo.git("checkout", "-q", "-b", "topic"),
        repo.commit("b", "b"),
        repo.git("checkout", "-q", "main"),
    ),
    "a commit under a tag only": lambda repo: (
        repo.git("checkout", "-q", "--detach"),
        repo.commit("b", "b"),
        repo.git("tag", "kept"),
        repo.git("checkout", "-q", "main"),
        shutil.rmtree(repo.folder / ".git/logs"),
    ),
    "a commit that only the reflog knows": lambda repo: (
        repo.git("checkout", "-q", "--detach"),
        repo.commit("b", "b"),
        repo.git("checkout", "-q", "main"),
    ),
    "a stash": lambda repo: ((repo.folder / "a").write_text("edited"), repo.git("stash", "-q")),
    "a hook": lambda repo: (repo.folder / ".git/hooks").mkdir(),
    "a setting": lambda repo: repo.git("config", "user.name", "Me"),
    "another checkout": lambda repo: repo.git("checkout", "-q", "--detach", "origin/main"),
}


@pytest.mark.parametrize("work", WORK)
def test_a_clone_that_someone_worked_in_is_not_removed(scene, work):
    change = scene.clone()
    WORK[work](scene.local())
    before = snapshot(scene.tree)
    with pytest.raises(UndoConflict):
        Clone().undo(scene.bench.host, change.undo)
    after = snapshot(scene.tree)
    assert after.keys() == before.keys()


def test_a_clone_of_someone_else_is_not_removed(scene):
    change = scene.bench.observe(Clone(), url=scene.url, path="/srv/app", commit=scene.first)
    scene.tree.parent.mkdir()
    scene.remote.git("clone", "-q", scene.url, str(scene.tree))
    with pytest.raises(UndoConflict, match="not the clone"):
        Clone().undo(scene.bench.host, change.undo)
    assert (scene.tree / "a").exists()


def test_a_clone_that_failed_half_way_leaves_nothing_after_undo(scene):
    change = scene.bench.observe(Clone(), url=scene.url, path="/srv/app", commit="0" * 40)
    with pytest.raises(ActionError):
        Clone().do(scene.bench.host, Clone.slots(url=scene.url, path="/srv/app", commit="0" * 40), change)
    assert not scene.tree.exists()
    scene.bench.undo(Clone(), change)
    assert os.listdir(scene.bench.root) == []


def test_a_clone_that_is_there_is_brought_to_another_commit_and_back(scene):
    scene.clone()
    third = scene.remote.commit("a", "three")
    change = scene.clone(commit=third, ref="main")
    assert (scene.tree / "a").read_text() == "three"
    scene.bench.undo(Clone(), change)
    assert (scene.tree / "a").read_text() == "one"
    assert scene.local().git("symbolic-ref", "--short", "HEAD") == "main"


def test_local_changes_are_a_conflict_whatever_is_asked(scene):
    scene.clone()
    (scene.tree / "a").write_text("mine")
    for action, slots in (
        (Clone(), {"url": scene.url, "commit": scene.first}),
        (Clone(), {"url": scene.url, "commit": scene.second}),
        (Checkout(), {"commit": scene.second}),
        (Pull(), {"commit": scene.second}),
    ):
        with pytest.raises(ActionError, match="local changes: a"):
            scene.bench.observe(action, path="/srv/app", **slots)
    assert (scene.tree / "a").read_text() == "mine"


def test_an_untracked_file_in_the_way_of_a_commit_is_kept(scene):
    scene.clone()
    later = scene.remote.commit("b", "theirs")
    (scene.tree / "b").write_text("mine")
    for action in (Checkout(), Pull()):
        with pytest.raises(ActionError, match="git (checkout|merge)"):
            scene.bench.do(action, path="/srv/app", commit=later)
    with pytest.raises(ActionError, match="git reset"):
        scene.clone(commit=later)
    assert (scene.tree / "b").read_text() == "mine"
    assert scene.local().git("rev-parse", "HEAD") == scene.first


def test_commits_that_no_remote_has_are_not_moved_away_from(scene):
    scene.clone(commit=scene.second)
    mine = scene.local().commit("b", "mine")
    with pytest.raises(ActionError, match="commits that no remote has"):
        scene.clone(commit=scene.first)
    later = scene.remote.commit("c", "theirs")
    with pytest.raises(ActionError, match="commits of its own"):
        scene.bench.do(Pull(), path="/srv/app", commit=later)
    assert scene.local().git("rev-parse", "HEAD") == mine


def test_another_address_than_the_one_it_was_cloned_from_is_told(scene):
    scene.clone()
    with pytest.raises(ActionError, match="is a clone of file://"):
        scene.bench.observe(Clone(), url="https://example.org/x", path="/srv/app", commit=scene.first)


def test_a_checkout_is_detached_and_goes_back_to_the_branch(scene):
    scene.clone(commit=scene.second)
    change = scene.bench.do(Checkout(), path="/srv/app", commit=scene.first)
    assert (scene.tree / "a").read_text() == "one"
    assert scene.local().git("rev-parse", "--abbrev-ref", "HEAD") == "HEAD"
    assert isinstance(scene.bench.observe(Checkout(), path="/srv/app", commit=scene.first), Satisfied)
    scene.bench.undo(Checkout(), change)
    assert scene.local().git("symbolic-ref", "--short", "HEAD") == "main"
    assert (scene.tree / "a").read_text() == "two"
    scene.bench.undo(Checkout(), change)


def test_a_pull_fetches_goes_forward_and_back(scene):
    scene.clone()
    third = scene.remote.commit("a", "three")
    change = scene.bench.do(Pull(), path="/srv/app", commit=third, ref="main")
    assert (scene.tree / "a").read_text() == "three"
    assert isinstance(scene.bench.observe(Pull(), path="/srv/app", commit=scene.second), Satisfied), "it has it"
    scene.bench.undo(Pull(), change)
    assert (scene.tree / "a").read_text() == "one"


def test_a_move_that_someone_worked_on_since_is_not_taken_back(scene):
    scene.clone()
    change = scene.bench.do(Pull(), path="/srv/app", commit=scene.second)
    scene.local().commit("b", "mine")
    with pytest.raises(UndoConflict, match="worked on since"):
        scene.bench.undo(Pull(), change)
    assert (scene.tree / "b").read_text() == "mine"


def test_without_commit_or_keys_the_remote_decides_only_when_that_is_asked_for(scene):
    with pytest.raises(ActionError, match="neither a commit nor keys"):
        scene.clone(commit="")
    scene.clone(commit="", insecure_any_commit=True)
    assert (scene.tree / "a").read_text() == "two"
    third = scene.remote.commit("a", "three")
    scene.bench.do(Pull(), path="/srv/app", ref="main", insecure_any_commit=True)
    assert scene.local().git("rev-parse", "HEAD") == third


def test_a_commit_must_be_on_the_branch_and_be_what_the_tag_names(scene):
    scene.remote.git("tag", "v1", scene.first)
    scene.remote.git("branch", "old", scene.first)
    with pytest.raises(ActionError, match="not on the branch old"):
        scene.clone(ref="old", commit=scene.second)
    scene.bench.undo(Clone(), scene.bench.observe(Clone(), url=scene.url, path="/srv/app", commit=scene.first))
    with pytest.raises(ActionError, match="the tag v1 is"):
        scene.clone(ref="v1", commit=scene.second)
    scene.clone(ref="v1", commit=scene.first)
    assert (scene.tree / "a").read_text() == "one"


def test_a_commit_that_no_branch_names_is_fetched_by_its_name(scene):
    scene.clone()
    scene.remote.git("checkout", "-q", "--detach")
    aside = scene.remote.commit("a", "aside")
    scene.remote.git("checkout", "-q", "main")
    scene.remote.git("config", "uploadpack.allowAnySHA1InWant", "true")
    scene.bench.do(Checkout(), path="/srv/app", commit=aside)
    assert (scene.tree / "a").read_text() == "aside"


def test_no_hook_filter_template_or_setting_of_the_user_takes_part(scene, tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    script = tmp_path / "run-me"
    script.write_text(f"#!/bin/sh\ntouch {trap}\n")
    script.chmod(0o755)
    home = tmp_path / "home"
    (home / "template/hooks").mkdir(parents=True)
    shutil.copy(script, home / "template/hooks/post-checkout")
    (home / ".gitconfig").write_text(
        f"[core]\nhooksPath = {home}/template/hooks\nfsmonitor = {script}\n[init]\ntemplateDir = {home}/template\n"
        f'[filter "x"]\nsmudge = {script}\n[url "ext::{script}"]\ninsteadOf = file://\n'
    )
    scene.remote.commit(".gitattributes", "* filter=x\n")
    last = scene.remote.commit("a", "three")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(home / "template"))
    scene.clone(commit=last)
    hooks = scene.tree / ".git/hooks"
    hooks.mkdir()
    for hook in ("post-checkout", "post-merge", "reference-transaction"):
        shutil.copy(script, hooks / hook)
    scene.local().git("config", "core.fsmonitor", str(script))
    scene.bench.do(Checkout(), path="/srv/app", commit=scene.first)
    scene.bench.do(Pull(), path="/srv/app", commit=scene.second)
    assert not trap.exists()


def test_submodules_come_only_when_asked_for_and_only_from_where_the_clone_may_go(scene, tmp_path):
    inner = Repo(tmp_path / "inner")
    inner.commit("x", "inner")
    scene.remote.git("submodule", "--quiet", "add", f"file://{tmp_path}/inner", "sub")
    scene.remote.git("commit", "-q", "-m", "sub")
    commit = scene.remote.git("rev-parse", "HEAD")
    change = scene.clone(commit=commit)
    assert os.listdir(scene.tree / "sub") == []
    scene.bench.undo(Clone(), change)
    change = scene.clone(commit=commit, submodules=True)
    assert (scene.tree / "sub/x").read_text() == "inner"
    assert isinstance(
        scene.bench.observe(Clone(), url=scene.url, path="/srv/app", commit=commit, submodules=True), Satisfied
    )
    Repo(scene.tree / "sub").commit("y", "mine")
    with pytest.raises(UndoConflict):
        scene.bench.undo(Clone(), change)
    assert remote("https://example.org/x").protocols == "https"


def test_what_stands_there_now_is_told_for_drift(scene):
    scene.clone()
    left = scene.bench.observe(Clone(), url=scene.url, path="/srv/app", commit=scene.first).left
    assert Clone().fingerprint(scene.bench.host, left) == left
    (scene.tree / "a").write_text("mine")
    assert Clone().fingerprint(scene.bench.host, left)[0].token == f"{scene.first} with local changes"
    shutil.rmtree(scene.tree)
    assert Clone().fingerprint(scene.bench.host, left)[0].kind == "absent"


def test_a_repository_above_is_never_taken_for_the_one_that_is_missing(scene):
    Repo(scene.bench.root / "srv").commit("above", "x")
    (scene.bench.root / "srv/app").mkdir()
    with pytest.raises(ActionError, match="no git repository"):
        scene.bench.observe(Checkout(), path="/srv/app", commit=scene.first)
    (scene.bench.root / "srv/app/.git").mkdir()
    with pytest.raises(ActionError, match="not a git repository"):
        scene.bench.observe(Checkout(), path="/srv/app", commit=scene.first)


@pytest.mark.parametrize(
    "url",
    ["-x", "--upload-pack=x", "ext::sh -c x", "ext::x", "fd::7", "ssh://-oProxyCommand=x/y", "-oProxyCommand=x:y",
     "host:-x", "https://me:geheim@example.org/x", "https://token@example.org/x", "ftp://example.org/x", "rel/ative",
     "", "https://a b/", "https:///x", "file:///a\nb", "ssh://-x@host/y", "host::x"],
)  # fmt: skip
def test_an_address_that_could_be_anything_else_is_refused(scene, url):
    with pytest.raises(ActionError) as refused:
        scene.bench.observe(Clone(), url=url, path="/srv/app", commit=scene.first)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "protocols"),
    [("https://example.org/x.git", "https"), ("http://example.org/x", "https:http"), ("/srv/git/x", "file"),
     ("git@example.org:me/x.git", "ssh"), ("ssh://git@example.org:22/x", "https:ssh"), ("host:x", "ssh"),
     ("git://example.org/x", "https:git")],
)  # fmt: skip
def test_an_address_allows_its_own_transport_and_no_local_one_behind_it(url, protocols):
    assert remote(url) == (url, protocols)


@pytest.mark.parametrize(
    "ref", ["-x", "a..b", "a b", "a~1", "a^", "x:y", "a\0", "/a", "a/", "a.lock", "@{-1}", "a" * 201]
)
def test_a_ref_that_git_could_read_otherwise_is_refused(scene, ref):
    with pytest.raises(ActionError, match="no name of a branch or tag"):
        check_ref(ref)


@pytest.mark.parametrize("commit", ["main", "abc", "-f", "0" * 39, "A" * 40, "0" * 40 + "\n"])
def test_a_commit_is_named_in_full(scene, commit):
    with pytest.raises(ActionError, match="is no commit"):
        scene.clone(commit=commit)


# signatures --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ssh_keys(tmp_path_factory):
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    folder = tmp_path_factory.mktemp("ssh")
    return SshKey(folder, "good"), SshKey(folder, "other")


@pytest.fixture(scope="module")
def gpg_keys():
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # its agent's socket wants a short path
        keys = GpgKey(Path(folder, "good"), "good"), GpgKey(Path(folder, "other"), "other")
        yield keys
        for key in keys:
            key.close()


@pytest.fixture(params=["ssh", "gpg"])
def signing(request, tmp_path):
    """(scene, the slots that name the good key, how the good key signs, how another does)."""
    good, other = request.getfixturevalue(f"{request.param}_keys")
    if request.param == "ssh":
        slots, inputs, env = {"allowed_signers": "keys"}, {"keys": good.allowed}, ({}, {})
    else:
        slots, inputs, env = {"gpg_keys": "keys"}, {"keys": good.public}, (good.env, other.env)
    scene = Scene(tmp_path, inputs)

    def by(key, env):
        def sign(*words):
            scene.remote.env |= env
            return scene.remote.git(*key.settings, *words)

        return sign

    return scene, slots, by(good, env[0]), by(other, env[1])


def test_a_commit_signed_by_the_given_key_is_taken_pinned_or_not(signing):
    scene, slots, good, _ = signing
    good("commit", "-q", "--allow-empty", "-S", "-m", "signed")
    commit = scene.remote.git("rev-parse", "HEAD")
    change = scene.clone(commit=commit, **slots)
    scene.bench.undo(Clone(), change)
    scene.clone(commit="", ref="main", **slots)
    assert scene.local().git("rev-parse", "HEAD") == commit


def test_a_commit_that_is_unsigned_or_signed_by_another_is_refused_and_nothing_is_put_there(signing):
    scene, slots, _, other = signing
    change = scene.bench.observe(Clone(), url=scene.url, path="/srv/app", commit=scene.second)
    for sign in (None, other):
        if sign is not None:
            sign("commit", "-q", "--allow-empty", "-S", "-m", "signed")
        with pytest.raises(ActionError, match="not signed by one of the given keys"):
            scene.clone(commit=scene.remote.git("rev-parse", "HEAD"), **slots)
        assert not scene.tree.exists()
        scene.bench.undo(Clone(), change)
    scene.clone()
    for action in (Pull(), Checkout()):
        with pytest.raises(ActionError, match="not signed by one of the given keys"):
            scene.bench.do(action, path="/srv/app", commit=scene.second, **slots)
    assert scene.local().git("rev-parse", "HEAD") == scene.first


def test_keys_of_one_kind_do_not_open_the_door_to_the_other(signing):
    scene, slots, good, _ = signing
    good("commit", "-q", "--allow-empty", "-S", "-m", "signed")
    swapped = {"gpg_keys": "keys"} if "allowed_signers" in slots else {"allowed_signers": "keys"}
    with pytest.raises(ActionError, match="holds no OpenPGP public key|not signed by one of the given keys"):
        scene.clone(commit=scene.remote.git("rev-parse", "HEAD"), **swapped)
    assert not scene.tree.exists()


def test_a_signed_tag_is_taken_and_a_tag_under_another_name_or_of_another_key_is_not(signing):
    scene, slots, good, other = signing
    good("tag", "-s", "-m", "v1", "v1", scene.first)
    other("tag", "-s", "-m", "v2", "v2", scene.first)
    scene.remote.git("tag", "v3", "v1^{}")
    scene.remote.git("update-ref", "refs/tags/v4", scene.remote.git("rev-parse", "refs/tags/v1"))
    change = scene.bench.observe(Clone(), url=scene.url, path="/srv/app", commit=scene.first)
    refused = {"v2": "not signed by", "v3": "carries no signature", "v4": "signed under another name"}
    for ref, why in refused.items():
        with pytest.raises(ActionError, match=why):
            scene.clone(commit="", ref=ref, signed="tag", **slots)
        assert not scene.tree.exists()
        scene.bench.undo(Clone(), change)
    scene.clone(commit="", ref="v1", signed="tag", **slots)
    assert (scene.tree / "a").read_text() == "one"


def test_a_repository_cannot_name_the_keys_that_count(signing, tmp_path):
    scene, slots, _, other = signing
    other("commit", "-q", "--allow-empty", "-S", "-m", "signed")
    scene.clone()
    allowed = tmp_path / "anyone"
    allowed.write_text("* " + SshKey(tmp_path, "x").public)
    for key, value in {"gpg.ssh.allowedSignersFile": str(allowed), "gpg.program": "true", "gpg.ssh.program": "true",
                       "gpg.minTrustLevel": "undefined"}.items():  # fmt: skip
        scene.local().git("config", key, value)
    with pytest.raises(ActionError, match="not signed by one of the given keys"):
        scene.bench.do(Pull(), path="/srv/app", commit=scene.remote.git("rev-parse", "HEAD"), **slots)


# as nodes of an order ----------------------------------------------------------------------------


def test_an_order_of_work_trees_is_applied_watched_and_rolled_back(scene, tmp_path):
    order, root = OrderBuilder(tmp_path / "package", tmp_path / "root"), tmp_path / "root"
    clone = order.node("git.clone", url=scene.url, path="/srv/app", commit=scene.second)
    order.node("git.checkout", path="/srv/app", commit=scene.second, needs=[clone])
    order.node("git.clone", url=scene.url, path="/srv/other", commit=scene.first)
    state = tmp_path / "state"
    first = ask(request("apply", state, order.write()))
    assert first.status == "done", first.text
    assert ask(request("apply", state, order.write())).result.summary == {"unchanged": 3}
    assert ask(request("status", state, target_root=str(root))).status == "done"
    (root / "srv/other/a").write_text("mine")
    drift = ask(request("status", state, target_root=str(root)))
    assert drift.status == "changes"
    assert f"git:/srv/other: was {scene.first}, is {scene.first} with local changes" in drift.text
    kept = ask(request("rollback", state, first.result.receipt, force=True))
    assert (root / "srv/other/a").read_text() == "mine", kept.text
    assert not (root / "srv/app").exists()


def test_a_clone_that_fails_in_the_middle_of_an_order_leaves_nothing(scene, tmp_path):
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    order.node("git.clone", url=scene.url, path="/srv/app", commit=scene.first)
    order.node("git.clone", url=scene.url, path="/srv/deep/other", commit="0" * 40, phase="late")
    answer = ask(request("apply", tmp_path / "state", order.write()))
    assert answer.status == "failed"
    assert "package.star:2" in answer.text
    assert os.listdir(tmp_path / "root") == []


def test_packages_say_it_in_the_language(tmp_path):
    script = (
        "def install(package, phase):\n"
        '    tree = plan.git.clone("https://example.org/x.git", "/srv/app", ref = "v1", allowed_signers = "keys", signed = "tag")\n'
        '    plan.git.pull(tree.path, ref = "main", commit = "0" * 40)\n'
        '    plan.file.write(tree.commit, "/etc/version")\n'
    )
    order = built(tmp_path, {"package.star": script, "keys": "x"}).order
    assert [node.action for node in order.nodes] == ["git.clone", "git.pull", "file.write"]
    assert [pin.path for pin in order.inputs] == ["keys"]
