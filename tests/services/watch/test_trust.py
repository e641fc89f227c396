"""Only what is signed by one who counts is read, built and applied, where a watch says so."""

import shutil
import subprocess

import pytest

from requisition.services.watch.signature import main
from support.remotes import SshKey
from support.stories import story
from support.watched import PLAN, Gate, Watched, daemon, writes

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


@pytest.fixture
def keys(tmp_path):
    """A key that counts, one that does not, and the file of those that count."""
    good, bad = SshKey(tmp_path, "good"), SshKey(tmp_path, "bad")
    (tmp_path / "signers").write_bytes(good.allowed)
    (tmp_path / "signers").chmod(0o644)
    return good, bad, tmp_path / "signers"


def signed(key):
    return (*key.settings, "-c", "commit.gpgSign=true")


@story
async def test_a_commit_that_nobody_signed_who_counts_is_never_even_read(tmp_path, keys):
    repo, gate = Watched(tmp_path), Gate(tmp_path / "gate")
    good, bad, signers = keys
    first = repo.push(writes("one"), "main", *signed(good))
    async with daemon(tmp_path, repo.watch(trust="commit", signers=str(signers), retries=0), plan=gate.plan) as it:
        await it.good("web", first)
        for words in ((), signed(bad)):
            commit = repo.push(writes("evil"), "main", *words)
            await it.until(lambda commit=commit: it.ref("web").failed == commit)
            assert "not signed by one of the given keys" in it.ref("web").reason
        assert repo.site() == "one"
        assert gate.reached("check") == 1
        last = repo.push(writes("two"), "main", *signed(good))
        await it.good("web", last)


@story
async def test_a_tag_counts_by_its_own_signature_and_under_its_own_name(tmp_path, keys):
    repo = Watched(tmp_path)
    good, _, signers = keys
    watch = repo.watch(refs=("tag:v*",), trust="tag", signers=str(signers), retries=0)
    commit = repo.push(writes("one"))
    repo.work.git(*good.settings, "tag", "-s", "-m", "x", "v1")
    repo.work.git("push", "--quiet", "origin", "refs/tags/v1")
    async with daemon(tmp_path, watch) as it:
        await it.good("web", commit, "refs/tags/v1")
        repo.push(writes("two"))
        repo.work.git("tag", "-a", "-m", "x", "v2")
        repo.work.git("push", "--quiet", "origin", "refs/tags/v2")
        await it.until(lambda: it.ref("web", "refs/tags/v2").status == "failed")
        repo.work.git("push", "--quiet", "origin", "refs/tags/v1:refs/tags/v3")
        await it.until(lambda: it.ref("web", "refs/tags/v3").status == "failed")
        assert "signed under another name" in str(
            [line async for line in it.supervisor.follow(it.state.runs("web")[0].id)]
        )
        assert repo.site() == "one"


@story
async def test_a_signed_order_of_the_repository_is_applied_as_it_was_signed(tmp_path, keys):
    repo = Watched(tmp_path)
    good = keys[0]
    trust = tmp_path / "trust.yaml"
    trust.write_text(f"keys:\n  good: {{key: {good.public.strip()}}}\n")
    trust.chmod(0o644)

    def plan(*words):
        subprocess.run([*PLAN, *words], cwd=repo.work.folder, check=True, capture_output=True)

    def release(text, key):
        (repo.work.folder / "package.yaml").write_text("name: web\n")
        (repo.work.folder / "package.star").write_text(writes(text))
        plan("build", ".", "-o", "web.plan", "--root", "")
        plan("sign", "web.plan", "--key", str(tmp_path / key))
        return repo.push(writes("not what was signed"))

    watch = repo.watch(trust="order", order="web.plan", policy=str(trust), retries=0)
    first = release("signed", "good")
    async with daemon(tmp_path, watch) as it:
        await it.good("web", first)
        assert repo.site() == "signed"
        assert [step.step for step in it.state.steps(it.state.runs("web")[0].id)] == [
            "fetch",
            "verify",
            "apply",
            "receipt",
        ]
        second = release("by another", "bad")
        await it.until(lambda: it.ref("web").failed == second)
        assert it.state.runs("web")[0].step == "verify"
        assert repo.site() == "signed"


@story
async def test_what_is_built_here_is_signed_by_the_key_that_the_machines_policy_names(tmp_path, keys):
    repo = Watched(tmp_path)
    trust = tmp_path / "trust.yaml"
    trust.write_text(f"keys:\n  builder: {{key: {keys[0].public.strip()}}}\n")
    trust.chmod(0o644)
    first = repo.push(writes("one"))
    watches = [
        repo.watch(key=str(tmp_path / name), policy=str(trust), name=name, retries=0) for name in ("good", "bad")
    ]
    async with daemon(tmp_path, *watches) as it:
        await it.good("good", first)
        await it.until(lambda: it.ref("bad").failed == first)
        assert it.state.runs("bad")[0].step == "apply"
    assert repo.site() == "one"


def test_a_file_of_signers_that_others_may_change_counts_for_nothing(tmp_path, keys, capsys):
    signers = keys[2]
    signers.chmod(0o666)
    assert main([str(tmp_path), "refs/heads/main", "0" * 40, str(signers), "commit"]) == 3
    assert "others may change the list of signers" in capsys.readouterr().err
