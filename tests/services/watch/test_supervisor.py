"""The daemon, with real repositories and the real `plan`: what is new is applied, what fails is told and tried again,
and nothing that fails or hangs is in anybody's way."""

import os
import random
import socket
import subprocess
from pathlib import Path

import pytest

from requisition.schemas.diagnostic import BadInput, Conflicted
from requisition.services.clock import Clock
from requisition.services.watch.config import Config
from requisition.services.watch.supervisor import Settings, Supervisor
from support.stories import story
from support.watched import Gate, Watched, daemon, package, writes

BROKEN = "def install(package, phase):\n    plan.nothing()\n"


@pytest.fixture
def silent():
    """A machine that accepts, and says nothing: the address of its git."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"git://127.0.0.1:{server.getsockname()[1]}/silent.git"


@story
async def test_a_new_commit_is_applied_and_only_then_good(tmp_path):
    repo, gate = Watched(tmp_path), Gate(tmp_path / "gate")
    first = repo.push(writes("one"))
    gate.hold("apply")
    async with daemon(tmp_path, repo.watch(), plan=gate.plan) as it:
        await it.until(lambda: gate.reached("apply"))
        assert it.ref("web").good == ""
        assert it.ref("web").running == first
        gate.release("apply")
        await it.good("web", first)
        assert repo.site() == "one"
        (run,) = it.state.runs("web")
        assert [step.step for step in it.state.steps(run.id)] == ["fetch", "check", "build", "apply", "receipt"]
        assert {step.status for step in it.state.steps(run.id)} == {"done"}
        assert os.path.exists(run.receipt)
        lines = [line async for line in it.supervisor.follow(run.id)]
        assert lines[-1] == "good"
        assert any(run.applied in line for line in lines)


@story
async def test_commits_that_arrive_meanwhile_coalesce_to_the_newest(tmp_path):
    repo, gate = Watched(tmp_path), Gate(tmp_path / "gate")
    first = repo.push(writes("one"))
    gate.hold("build")
    async with daemon(tmp_path, repo.watch(), plan=gate.plan) as it:
        await it.until(lambda: gate.reached("build"))
        for text in ("two", "three", "four"):
            last = repo.push(writes(text))
            await it.until(lambda last=last: it.ref("web").queued == last)
        gate.release("build")
        await it.good("web", last)
        assert [(run.hash, run.status) for run in it.state.runs("web")] == [(last, "good"), (first, "good")]
        assert repo.site() == "four"


@story
async def test_the_commit_that_was_seen_is_run_whatever_the_branch_is_by_then(tmp_path):
    repo, gate = Watched(tmp_path), Gate(tmp_path / "gate")
    first = repo.push(writes("one"))
    gate.hold("check")
    async with daemon(tmp_path, repo.watch(interval=3600), plan=gate.plan) as it:
        await it.until(lambda: gate.reached("check"))
        repo.push(writes("two"))
        gate.release("check")
        await it.good("web", first)
        assert repo.site() == "one"


@story
async def test_the_same_watch_never_runs_twice_at_once(tmp_path):
    repo, gate = Watched(tmp_path), Gate(tmp_path / "gate")
    first = repo.push(writes("one"))
    gate.hold("check")
    async with daemon(tmp_path, repo.watch(), plan=gate.plan) as it:
        await it.until(lambda: gate.reached("check"))
        for _ in range(5):
            assert await it.supervisor.run_now("web") == ["refs/heads/main"]
            await it.supervisor.wake()
        polls = it.supervisor.counters.polls
        await it.until(lambda: it.supervisor.counters.polls > polls + 2)
        assert gate.reached("check") == 1
        gate.release("check")
        await it.until(lambda: [run.status for run in it.state.runs("web")] == ["good", "good"])
        assert it.ref("web").good == first


@story
async def test_a_failure_is_tried_again_by_policy_then_stands_and_the_last_good_commit_stays(tmp_path):
    repo = Watched(tmp_path)
    first = repo.push(writes("one"))
    async with daemon(tmp_path, repo.watch(retries=2)) as it:
        await it.good("web", first)
        bad = repo.push(BROKEN)
        await it.until(lambda: it.ref("web").status == "failed")
        ref = it.ref("web")
        assert (ref.good, ref.failed, ref.attempts) == (first, bad, 3)
        assert "plan.nothing" in ref.reason
        assert [run.attempt for run in it.state.runs("web")] == [3, 2, 1, 1]
        assert repo.site() == "one"
        fixed = repo.push(writes("two"))
        await it.good("web", fixed)
        assert it.ref("web").failed == ""


@story
async def test_a_watch_is_paused_after_so_many_failures_with_a_reason_and_resume_tries_again(tmp_path):
    repo, told = Watched(tmp_path), []

    async def tell(watch, run, why):
        told.append((run.status, why))

    repo.push(BROKEN)
    async with daemon(tmp_path, repo.watch(on_failure="pause", pause_after=2), tell=tell) as it:
        await it.until(lambda: it.state.watch("web").paused)
        why = it.state.watch("web").paused
        assert why.startswith("2 failures in a row: ")
        await it.until(lambda: len(told) == 2)
        assert told == [("failed", ""), ("failed", why)]
        with pytest.raises(Conflicted, match="paused"):
            await it.supervisor.run_now("web")
        runs = len(it.state.runs("web"))
        await it.supervisor.resume("web")
        await it.until(lambda: len(it.state.runs("web")) > runs)


@story
async def test_a_bad_branch_never_drops_what_others_bring_and_refs_match_exactly(tmp_path):
    repo = Watched(tmp_path)
    repo.push(BROKEN, "release/bad")
    good = repo.push(writes("good"), "release/good")
    repo.push(writes("never"), "fix-release/good")
    repo.push(writes("never"), "release/good/x".replace("good/x", "deep/er"))
    async with daemon(tmp_path, repo.watch(refs=("release/*",), retries=0)) as it:
        await it.good("web", good, "refs/heads/release/good")
        await it.until(lambda: it.ref("web", "refs/heads/release/bad").status == "failed")
        assert {row.ref for row in it.state.refs()} == {"refs/heads/release/bad", "refs/heads/release/good"}
        later = repo.push(writes("later"), "release/later")
        await it.good("web", later, "refs/heads/release/later")
        repo.work.git("push", "--quiet", "origin", ":refs/heads/release/bad")
        await it.until(lambda: it.ref("web", "refs/heads/release/bad").gone)
        assert any("was deleted" in note.text for note in it.state.notes("web"))
        assert repo.site() == "later"


@story
async def test_what_hangs_or_is_silent_is_in_nobodys_way(tmp_path, silent):
    repo, other = Watched(tmp_path), Watched(tmp_path, "other")
    hanging = repo.push(package('plan.shell.exec(["sleep", "1000"], undo = ["true"])'))
    gone = other.watch(name="gone", url=silent)
    async with daemon(tmp_path, repo.watch(), other.watch(), gone, jobs=2, poll_timeout=1) as it:
        await it.until(lambda: (runs := it.state.runs("web")) and runs[0].step == "apply")
        commit = other.push(writes("meanwhile"))
        await it.good("other", commit)
        assert it.ref("web").running == hanging
        await it.until(lambda: it.supervisor.counters.polls_failed)
        listed = {one.kept.watch.name: one.remote for one in await it.supervisor.list()}
        assert listed["gone"].failures
        assert "took longer than" in listed["gone"].reason
        assert listed["other"].failures == 0


@story
async def test_a_pipeline_ends_at_its_time_out_with_all_its_processes(tmp_path):
    repo, child = Watched(tmp_path), tmp_path / "child"
    hangs = f"""plan.shell.exec(["trap '' TERM; echo $$ > {child}; sleep 1000"], shell = True, undo = ["true"])"""
    repo.push(package(hangs))
    async with daemon(tmp_path, repo.watch(timeout=4, retries=100)) as it:
        await it.until(child.exists)
        run = it.state.runs("web")[0]
        await it.until(lambda: it.state.run(run.id).status == "failed")
        assert "took longer than" in it.state.run(run.id).reason
        assert not Path(f"/proc/{child.read_text().strip()}").exists() or it.state.runs("web")[0].id != run.id


@story
async def test_nothing_is_begun_while_programs_of_a_killed_daemon_still_work_on_the_watch(tmp_path):
    repo, gate = Watched(tmp_path), Gate(tmp_path / "gate")
    commit = repo.push(writes("one"))
    (tmp_path / "state/watch/locks").mkdir(parents=True)
    orphan = ["flock", "--no-fork", str(tmp_path / "state/watch/locks/web"), "sh", "-c", "echo held; read line"]
    with subprocess.Popen(orphan, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        async with daemon(tmp_path, repo.watch(), plan=gate.plan) as it:
            await it.until(lambda: any("still work on it" in line for line in it.said))
            polls = it.supervisor.counters.polls
            await it.until(lambda: it.supervisor.counters.polls > polls + 1)
            assert gate.reached("check") == 0
            process.stdin.close()
            await it.good("web", commit)


@story
async def test_a_rewritten_branch_is_refused_until_a_person_or_the_policy_accepts_it(tmp_path):
    repo = Watched(tmp_path)
    repo.push(writes("one"))
    second = repo.push(writes("two"))
    async with daemon(tmp_path, repo.watch()) as it:
        await it.good("web", second)
        repo.work.git("reset", "--quiet", "--hard", "HEAD~1")
        forced = repo.push(writes("rewritten"))
        await it.until(lambda: it.ref("web").status == "failed")
        assert "was rewritten" in it.ref("web").reason
        assert (it.ref("web").good, repo.site()) == (second, "two")
        assert [run.status for run in it.state.runs("web")] == ["refused", "good"], "it is not tried again"
        await it.supervisor.run_now("web", "main")
        await it.good("web", forced)
        assert repo.site() == "rewritten"


@story
async def test_only_the_newest_tag_is_run_and_a_moved_one_refused(tmp_path):
    repo = Watched(tmp_path)
    for version in ("v1.2.0", "v1.10.0", "v1.9.0"):
        commit = repo.push(writes(version))
        repo.work.git("tag", "-a", "-m", "x", version)
        repo.work.git("push", "--quiet", "origin", f"refs/tags/{version}")
    async with daemon(tmp_path, repo.watch(refs=("tag:v*",))) as it:
        commit = repo.work.git("rev-parse", "v1.10.0^{commit}")
        await it.good("web", commit, "refs/tags/v1.10.0")
        assert len(it.state.runs("web")) == 1
        repo.work.git("tag", "-f", "-a", "-m", "x", "v1.10.0", "v1.2.0^{commit}")
        repo.work.git("push", "--quiet", "--force", "origin", "refs/tags/v1.10.0")
        await it.until(lambda: it.ref("web", "refs/tags/v1.10.0").status == "failed")
        assert repo.site() == "v1.10.0"


@story
async def test_a_notification_that_fails_changes_no_result(tmp_path):
    repo = Watched(tmp_path)

    async def tell(*_):
        raise ConnectionError("nobody there")

    commit = repo.push(writes("one"))
    async with daemon(tmp_path, repo.watch(), tell=tell) as it:
        await it.good("web", commit)
        await it.until(lambda: it.supervisor.counters.untold == 1)
        assert it.state.runs("web")[0].status == "good"
        assert any("nobody there" in line for line in it.said)


@story
async def test_a_secret_is_read_where_it_is_and_kept_nowhere(tmp_path):
    repo, place = Watched(tmp_path), tmp_path / "token"
    place.write_text("hunter2-and-more\n")
    commit = repo.push(
        package('plan.file.write(plan.secret("TOKEN"), "/token")'), manifest="secrets: {TOKEN: a token}\n"
    )
    watch = repo.watch(secrets={"TOKEN": f"file:{place}"}, environment={"SPOKEN": "yes"})
    async with daemon(tmp_path, watch) as it:
        await it.good("web", commit)
        assert repo.site("token") == "hunter2-and-more"
    for folder, _, names in os.walk(tmp_path / "state/watch"):
        for name in names:
            assert b"hunter2" not in Path(folder, name).read_bytes(), name


@story
async def test_a_failed_run_that_still_stands_is_taken_back_where_that_is_the_policy(tmp_path):
    repo, gate = Watched(tmp_path), Gate(tmp_path / "gate")
    first = repo.push(writes("one"))
    async with daemon(tmp_path, repo.watch(on_failure="rollback", retries=0), plan=gate.plan) as it:
        await it.good("web", first)
        gate.fail("receipts")
        repo.push(writes("two"))
        await it.until(lambda: it.ref("web").status == "failed")
        assert it.ref("web").reason == "receipt: it was told to fail; it was taken back"
        assert repo.site() == "one"
        assert [step.step for step in it.state.steps(it.state.runs("web")[0].id)][-2:] == ["receipt", "rollback"]


@story
async def test_a_watch_can_be_added_and_removed_while_it_works_and_leaves_nothing(tmp_path):
    repo, gate = Watched(tmp_path), Gate(tmp_path / "gate")
    repo.push(writes("one"))
    gate.hold("build")
    async with daemon(tmp_path, plan=gate.plan) as it:
        await it.supervisor.add(repo.watch())
        with pytest.raises(Conflicted, match="already"):
            await it.supervisor.add(repo.watch())
        await it.until(lambda: gate.reached("build"))
        await it.supervisor.remove("web")
        with pytest.raises(BadInput, match="no watch"):
            await it.supervisor.show("web")
        pid = (gate.folder / "build.reached").read_text().strip()
        assert not Path(f"/proc/{pid}").exists()
        assert not (tmp_path / "state/watch/watches/web").exists()
        assert [run.reason for run in it.state.runs("")] == ["the watch was removed"]
        assert await it.supervisor.list() == []


@story
async def test_watches_of_one_repository_ask_it_once_a_cycle(tmp_path):
    repo = Watched(tmp_path)
    commit = repo.push(writes("one"))
    (tmp_path / "second").mkdir()
    two = (repo.watch(interval=3600), repo.watch(name="second", root=str(tmp_path / "second"), interval=3600))
    async with daemon(tmp_path, *two) as it:
        await it.good("web", commit)
        await it.good("second", commit)
        assert it.supervisor.counters.polls == 1
        assert await it.supervisor.wake(repo.url) == 2
        await it.until(lambda: it.supervisor.counters.polls == 2)


@story
async def test_a_restart_neither_loses_nor_repeats_a_commit(tmp_path):
    repo, gate = Watched(tmp_path), Gate(tmp_path / "gate")
    first = repo.push(writes("one"))
    async with daemon(tmp_path, repo.watch()) as it:
        await it.good("web", first)
    gate.hold("check")
    async with daemon(tmp_path, repo.watch(), plan=gate.plan) as it:
        await it.until(lambda: it.supervisor.counters.polls > 2)
        assert gate.reached("check") == 0, "what is good is not run again"
        second = repo.push(writes("two"))
        await it.until(lambda: gate.reached("check"))
    async with daemon(tmp_path, repo.watch()) as it:
        await it.good("web", second)
        assert [run.hash for run in it.state.runs("web")] == [second, first], "the run that was cut off went on"
        begun = [step.status for step in it.state.steps(it.state.runs("web")[0].id)]
        assert begun == ["done", "cut off", *["done"] * 5]


@story
async def test_two_services_never_work_with_one_state(tmp_path):
    async with daemon(tmp_path) as it:
        settings = Settings(
            config=Config(version="1"), state_dir=str(tmp_path / "state"), folder=str(tmp_path / "state/watch")
        )
        other = Supervisor(it.state, settings, Clock(), random.Random(), print)
        with pytest.raises(Conflicted, match="another service"):
            await other.run()
