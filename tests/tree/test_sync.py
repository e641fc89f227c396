"""`plan sync` whole: real git, the real compiler, the real runtime."""

import contextlib
import json
import os
import signal
import subprocess

import pytest
import yaml

from support.synced import Grove, writes

ALL = {"a.txt", "b.txt", "top.txt"}


@pytest.fixture
def grove(tmp_path):
    return Grove(tmp_path)


@pytest.fixture
def small(grove):
    """Two children, and a root that needs what they made."""
    a = grove.remote("a", writes("/a.txt"))
    b = grove.remote("b", writes("/b.txt"))
    look = f'    plan.shell.exec(["test", "-e", "{grove.target}/a.txt"], checks_only = True)\n'
    grove.names({"a": a.url, "vendor/b": b.url}, writes("/top.txt", more=look))
    return grove


def pins(grove):
    return yaml.safe_load((grove.root / "plan.lock").read_text())["packages"]


def test_children_are_installed_before_their_parent_and_each_step_is_told(small):
    small.sync()
    assert small.there() == ALL
    assert small.steps() == [
        ("add", "a"), ("add", "vendor/b"),
        ("started", "a"), ("started", "vendor/b"), ("started", ""),
        ("completed", "a"), ("completed", "vendor/b"), ("completed", ""),
    ]  # fmt: skip
    assert [event["step"] for event in small.events() if event["kind"] == "sync"] == ["begin", "end"]
    assert len(small.runs()) == 1


def test_a_second_sync_does_nothing_at_all(small):
    small.sync()
    before = small.everything()
    assert "Nothing to do" in small.sync()
    assert small.everything() == before
    assert len(small.runs()) == 1


def test_what_was_skipped_is_not_even_evaluated(small):
    small.sync()
    script = small.root / "a/package.star"
    script.write_text(script.read_text())
    assert "Nothing to do" in small.sync()
    script.write_text("this is no Starlark (")
    assert "package.star" in small.sync(code=4)


def test_a_file_that_went_missing_is_put_back_by_its_package_alone(small):
    small.sync()
    (small.target / "b.txt").unlink()
    assert "1 package to install, 2 packages as installed" in small.sync()
    assert small.there() == ALL


def test_after_a_rollback_and_after_a_teardown_a_sync_installs_again(small):
    small.sync()
    small.plan("rollback", "--yes")
    assert small.there() == set()
    small.sync()
    assert small.there() == ALL
    small.teardown()
    assert small.there() == set()
    small.sync()
    assert small.there() == ALL


def test_a_dry_run_changes_nothing_and_tells_what_would_be(small):
    before = small.everything()
    said = small.plan("sync", "--dry-run", "--diff")
    assert "+ file.write:/b.txt" in said
    assert "+top.txt" not in small.there()
    assert small.everything() == before
    assert small.runs() == []
    small.plan("sync", "--dry-run", "--detailed-exitcode", code=2)


def test_a_package_that_fails_halts_those_above_it_and_what_is_mended_is_done_next_time(grove):
    good = grove.remote("good", writes("/good.txt"))
    bad = grove.remote("bad", writes("/half.txt", more='    plan.shell.exec(["false"])\n'))
    middle = grove.remote("middle", writes("/middle.txt"), children={"bad": bad.url})
    grove.names({"good": good.url, "middle": middle.url}, writes("/top.txt"))
    said = grove.sync(code=1)
    assert "middle/bad/package.star:3" in said
    assert "halted, because middle/bad failed: middle, the root" in said
    assert grove.there() == {"good.txt"}
    halted = {event["path"]: event for event in grove.events() if event["kind"] == "halted"}
    assert halted.keys() == {"middle/bad", "middle", ""}
    assert halted["middle/bad"]["action"] == "bad/install/shell.exec:false"
    assert halted["middle"]["why"] == "middle/bad failed"
    assert "1 package as installed" in grove.sync(code=1)
    grove.remote("bad", writes("/half.txt"))
    grove.sync("--update", "bad")
    assert grove.there() == {"good.txt", "half.txt", "middle.txt", "top.txt"}


def test_two_packages_that_write_one_target_are_found_before_anything_runs(grove):
    one = grove.remote("one", writes("/same.txt"))
    two = grove.remote("two", 'def install(package, phase):\n    plan.file.write("other", "/same.txt")\n')
    grove.names({"one": one.url, "two": two.url})
    said = grove.sync(code=4)
    assert "both put something at /same.txt" in said
    assert "two/package.star:2" in said
    assert "one/package.star:2" in said
    assert grove.there() == set()


def test_mistakes_of_all_packages_are_told_at_once(grove):
    one = grove.remote("one", "def install(package, phase):\n    plan.file.nothing()\n")
    two = grove.remote("two", "def install(package, phase):\n    plan.file.write(5)\n")
    grove.names({"one": one.url, "two": two.url})
    said = grove.sync(code=4)
    assert "one/package.star:2" in said
    assert "two/package.star:2" in said


def test_a_pin_moves_when_asked_and_for_that_package_only(small):
    small.sync()
    for name in ("a", "b"):
        small.remote(name, writes(f"/{name}.txt", f"/{name}-2.txt"))
    assert "Nothing to do" in small.sync()
    was = {path: pin["commit"] for path, pin in pins(small).items()}
    small.sync("--update", "a")
    assert small.there() == ALL | {"a-2.txt"}
    now = {path: pin["commit"] for path, pin in pins(small).items()}
    moved = [(one["path"], one["from"], one["to"]) for one in small.events() if one["kind"] == "update"]
    assert moved == [("a", was["a"], now["a"])]
    assert now["vendor/b"] == was["vendor/b"]
    small.sync("--update", "*")
    assert small.there() == ALL | {"a-2.txt", "b-2.txt"}


def test_another_ref_is_for_the_package_that_is_named(small):
    a = small.remote("a", writes("/a.txt"))
    a.commit({"package.yaml": "name: a\n", "package.star": writes("/a.txt", "/next.txt")}, branch="next")
    small.sync("--ref", "a=next")
    assert small.there() == ALL | {"next.txt"}


def test_only_some_packages_and_what_they_need(small):
    small.sync("--only", "vendor/*")
    assert small.there() == {"b.txt"}
    assert "no package matches 'nobody'" in small.sync("--only", "nobody", code=4)


def test_force_installs_what_is_there(small):
    small.sync()
    assert "3 packages to install" in small.sync("--force")


def test_the_order_of_a_tree_can_be_reviewed_signed_and_applied_by_itself(small, tmp_path):
    small.plan("key", "new", "mine")
    small.plan("trust", "init")
    order = str(tmp_path / "tree.yaml")
    small.plan("sync", "-o", order)
    assert small.there() == set()
    shown = small.plan("show", order)
    assert f"b/install  1 node, vendor/b at {pins(small)['vendor/b']['commit'][:12]}" in shown
    small.plan("apply", order, "--yes", code=3)
    small.plan("sign", order, "--key", "mine")
    small.plan("apply", order, "--yes")
    assert small.there() == ALL
    small.plan("sync", "--yes", "--key", "mine")
    assert "Nothing to do" in small.plan("sync", "--yes", "--key", "mine")


def test_offline_works_from_the_cache_and_says_what_it_lacks(small):
    small.sync()
    for name in ("a", "vendor/b"):
        (small.folder / f"{name.rpartition('/')[2]}.git").rename(small.folder / f"{name.rpartition('/')[2]}.gone")
    small.teardown()
    assert "done" in small.sync("--offline")
    assert small.there() == ALL
    small.names({"new": f"file://{small.folder}/new.git"})
    assert "not in the cache" in small.sync("--offline", code=4)


def test_with_json_every_line_is_an_object(small):
    lines = small.plan("sync", "--allow-unsigned", "--yes", "--json").splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    assert json.loads(lines[-1])["status"] == "done"


def test_a_sync_that_was_killed_is_ended_by_the_next_one(grove):
    wait = f'    plan.shell.exec(["sh", "-c", "touch {grove.folder}/here; sleep 60"])\n'
    slow = grove.remote("slow", writes("/slow.txt", more=wait))
    grove.names({"slow": slow.url}, writes("/top.txt"))
    process = grove.start("sync", "--allow-unsigned", "--yes")
    while not (grove.folder / "here").exists():
        assert process.poll() is None
    runtimes = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    for runtime in runtimes:
        _kill_all(runtime)
    process.communicate()
    grove.remote("slow", writes("/slow.txt"))
    said = grove.sync("--update", "slow")
    assert "slow" in said
    assert grove.there() == {"slow.txt", "top.txt"}
    assert "Nothing to do" in grove.sync()


def test_a_child_is_added_and_taken_out_once_in_the_log(small):
    small.sync()
    c = small.remote("c", writes("/c.txt"))
    small.plan("tree", "add", c.url, "libs/c")
    small.sync()
    assert small.there() == ALL | {"c.txt"}
    assert "libs/c is installed" in small.plan("tree", "rm", "libs/c", code=4)
    small.teardown("libs/c")
    small.plan("tree", "rm", "libs/c")
    small.sync()
    assert [kind for kind, path in small.steps() if path == "libs/c"] == [
        "add", "started", "completed", "started", "rm", "rm",
    ]  # fmt: skip


def test_recover_mends_what_is_safe_and_says_it_once(small):
    small.sync()
    events = small.root / ".plan/events.jsonl"
    events.write_bytes(events.read_bytes() + b'{"kind":"comp')
    said = small.plan("recover")
    assert "never announced" in said
    assert "never announced" not in small.plan("recover")
    assert "Nothing to do" in small.sync()


def test_a_trust_policy_wants_packages_signed_by_its_authors(grove):
    key = grove.folder / "mine"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    a = grove.remote("a", writes("/a.txt"))
    grove.names({"a": a.url})
    grove.plan("trust", "add", "mine", f"{key}.pub")
    policy = grove.folder / "config/requisition/trust.yaml"
    policy.write_text(policy.read_text() + "packages: commits\n")
    grove.plan("trust", "require", "author=1")  # writes the policy anew
    assert "is not signed by one of the given keys" in grove.plan("sync", "--yes", "--key", str(key), code=4)
    assert grove.there() == set()
    a.sign(key)
    grove.plan("sync", "--yes", "--key", str(key), "--update", "a")
    assert grove.there() == {"a.txt"}


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(one) for one in file.read().split()]


def _kill_all(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ends when its child does
        for child in _children(pid):
            _kill_all(child)
        os.kill(pid, signal.SIGKILL)


def test_one_repository_at_two_paths_is_installed_once_and_seen_by_both_parents(grove):
    leaf = grove.remote("leaf", writes("/leaf.txt"))
    grove.names({"x/leaf": leaf.url, "y/leaf": leaf.url}, writes("/top.txt"))
    grove.sync()
    assert grove.there() == {"leaf.txt", "top.txt"}
    assert [step for step in grove.steps() if step[0] == "completed"] == [("completed", "x/leaf"), ("completed", "")]
    assert "Nothing to do" in grove.sync()
    assert grove.plan("tree", "status", "--detailed-exitcode").count("installed") == 3
    (grove.target / "leaf.txt").unlink()
    grove.sync("--only", "y/leaf")
    assert grove.there() == {"leaf.txt", "top.txt"}


def test_what_a_package_depends_on_is_installed_before_it_wherever_it_is_listed(grove):
    log = grove.folder / "log"
    say = '    plan.shell.exec(["sh", "-c", "echo %s >> ' + str(log) + '"])\n'
    a = grove.remote("a", writes(more=say % "a"), depends_on=["b"])
    b = grove.remote("b", writes(more=say % "b"))
    grove.names({"a": a.url, "b": b.url}, writes(more=say % "top"))
    grove.sync()
    assert log.read_text().split() == ["b", "a", "top"]
