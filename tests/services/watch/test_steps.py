"""The words of each step: options where they belong, nothing of an untrusted repository taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.runtime.runinfo import RunInfo
from requisition.services.watch import steps
from requisition.services.watch.config import Watch, faults
from requisition.services.watch.pipeline import Earlier, earlier
from requisition.services.watch.records import Run
from requisition.services.watch.steps import Place

PLACE = Place(plan=("plan",), state_dir="/s", folder="/w", run="r1")
RUN = Run(id="r1", watch="web", ref="refs/heads/main", hash="a" * 40, good="", forced=False, status="running",
          attempt=1, started=0, applied="20260101T000000.000000Z-aaaa")  # fmt: skip


def watch(**fields):
    return Watch(name="web", url="/srv/web.git", **fields)


@pytest.mark.parametrize(
    ("step", "fields", "words"),
    [
        ("check", {"path": "a/b", "features": ("+x", "-y"), "settings": {"k": "v"}},
         "plan check --state /s --color never --with x --without y --set k=v -- /w/trees/r1/a/b"),
        ("build", {"root": "/r"}, "plan build --state /s --color never --root /r -o /w/orders/r1.plan -- /w/trees/r1"),
        ("apply", {"root": "/r", "secrets": {"T": "file:/t"}},
         ("plan apply --json --state /s --color never --allow-unsigned --on-conflict stop --jobs 4 --secret T=file:/t --source /w/trees/r1 -y --"
         " /w/orders/r1.plan")),
        ("verify", {"trust": "order", "order": "o.plan", "policy": "/p"},
         "plan verify --state /s --color never --trust /p -- /w/trees/r1/o.plan"),
        ("apply", {"trust": "order", "order": "o.plan", "root": "/r", "on_conflict": "backup", "jobs": 9},
         ("plan apply --json --state /s --color never --root /r --on-conflict backup --jobs 9 --source /w/trees/r1 -y --"
         " /w/trees/r1/o.plan")),
        ("sign", {"key": "/k"}, "plan sign --state /s --color never --key /k -- /w/orders/r1.plan"),
        ("apply", {"key": "/k", "policy": "/p"},
         ("plan apply --json --state /s --color never --trust /p --on-conflict stop --jobs 4 --source /w/trees/r1 -y --"
         " /w/orders/r1.plan")),
        ("receipt", {}, "plan receipts --state /s --color never show 20260101T000000.000000Z-aaaa"),
    ],
)  # fmt: skip
def test_each_step_is_one_command(step, fields, words):
    assert " ".join(steps.command(step, watch(**fields), RUN, PLACE)) == words


def test_what_is_signed_is_verified_before_any_of_it_is_read():
    for trust in ("commit", "tag", "order"):
        found = steps.steps_of(watch(trust=trust))
        assert found.index("verify") == 1, "right after it was fetched"


def test_what_is_built_is_signed_before_it_is_applied_where_there_is_a_key():
    assert steps.steps_of(watch(key="/k")) == ("fetch", "check", "build", "sign", "apply", "receipt")
    assert list(faults(watch(key="/k", trust="order", order="o.plan")))


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_path_or_setting_that_is_accepted_can_be_taken_for_an_option(path, key):
    one = watch(path=path, settings={key: "x"})
    if not list(faults(one)):
        words = steps.command("build", one, RUN, PLACE)
        assert words[words.index("--") + 1 :] == [f"/w/trees/r1/{path}".rstrip("/")]
        assert all(not word.startswith("-") for word in words if word.startswith(key) and key)


def test_the_environment_is_the_little_that_is_needed_and_what_is_declared(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("PYTHONPATH", "/evil")
    found = steps.environment(watch(environment={"STAGE": "live"}))
    assert found["STAGE"] == "live"
    assert "AWS_SECRET_ACCESS_KEY" not in found
    assert "PYTHONPATH" not in found


def past(run, state, source, outcome="complete"):
    return RunInfo(
        run_id=run, verb="apply", package="web", order="o", order_checksum="", target_root="/", source_root=source,
        started="", state=state, outcome=outcome,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ([], Earlier()),
        ([past("a", "executed", "/w/trees/r1")], Earlier(done="a")),
        ([past("a", "executed", "/w/trees/r1", "error")], Earlier()),
        ([past("a", "running", "/w/trees/r1", "")], Earlier(finish="a")),
        ([past("a", "rolled_back", "/w/trees/r1")], Earlier()),
        ([past("a", "executed", "/w/trees/r1"), past("b", "running", "/w/trees/r1", "")], Earlier(finish="b")),
        ([past("a", "running", "/w/trees/r0", ""), past("b", "running", "/w/trees/r00", "")], Earlier(("b", "a"))),
        ([past("a", "running", "/home/me/web", "")], Earlier()),
        ([past("a", "running", "/w/treesure/r1", "")], Earlier()),
    ],
)
def test_only_our_own_runs_are_finished_or_taken_back_never_a_persons(runs, found):
    assert earlier(runs, "/w/trees/r1", "/w/trees") == found
