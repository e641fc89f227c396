"""`--host`: the runtime at the far end of a real sshd."""

import fcntl
import hashlib
import os
import signal
import subprocess

import pytest

from requisition.runtime.frames import Request, Visit
from requisition.schemas import orderfile
from support import sshd
from support.orders import OrderBuilder
from support.process import encoded, parse

pytestmark = sshd.skip_without()


@pytest.fixture
def far(tmp_path):
    made = sshd.Far(tmp_path)
    made.plan("key", "new", "mine")
    made.plan("trust", "add", "mine", made.near / "config/requisition/keys/mine.pub")
    made.trust.write_bytes((made.near / "config/requisition/trust.yaml").read_bytes())
    made.trust.chmod(0o644)
    yield made
    made.close()


def order_of(far, **fields):
    """An order whose root is on the far side and whose input is on the near side."""
    (far.far / "root").mkdir(exist_ok=True)
    order = OrderBuilder(far.near / "package", far.far / "root", **fields)
    order.node("file.copy", source=order.input("data", b"data\n" * 1000), path="/data")
    order.node("file.write", content="x", path="/x")
    return order


def signed(far, order):
    path = order.write()
    far.plan("sign", path, "--key", "mine")
    return path


def test_an_order_is_applied_looked_at_and_taken_back_at_the_far_end_and_its_receipts_are_kept_here_too(far):
    path = signed(far, order_of(far))
    root = far.far / "root"
    assert "2 nodes would change" in far.plan("apply", path, "--host", far.url, "--dry-run")
    assert not list(root.iterdir())
    assert "2 done" in far.plan("apply", path, "--host", far.url)
    assert (root / "data").read_bytes() == b"data\n" * 1000
    (run,) = far.runs()
    kept = far.near / f"state/hosts/root@127.0.0.1:{far.port}/{run.name}.plan"
    assert kept.read_bytes() == (run / "receipt.plan").read_bytes()
    assert "Nothing to do" in far.plan("apply", path, "--host", far.url)
    assert "2 paths are as left" in far.plan("status", "--host", far.url)
    (root / "x").write_text("y")
    assert "/x" in far.plan("status", "--host", far.url, "--root", root, "--detailed-exitcode", code=2)
    (root / "x").write_text("x")
    assert run.name in far.plan("receipts", "--host", far.url)
    assert "file.copy:/data" in far.plan("receipts", "show", run.name, "--host", far.url)
    assert "Taken back" in far.plan("rollback", "--host", far.url, run.name, "--force")
    assert not (root / "data").exists()
    assert kept.with_name(f"{run.name}.rollback.plan").exists()
    assert not list((far.state / "incoming").iterdir())
    assert not (far.near / "state/runs").exists() or not list((far.near / "state/runs").iterdir())


STEPS = 3


def stepped(far):
    """An order that writes a file before each of its steps, and at each step tells and waits: the test drops
    the connection exactly there."""
    (far.far / "root").mkdir()
    order = OrderBuilder(far.near / "package", far.far / "root")
    reached, go = far.folder / "reached", far.folder / "go"
    for fifo in (reached, go):
        os.mkfifo(fifo)
    before = []
    for step in range(STEPS):
        wrote = order.node("file.write", content=f"{step}", path=f"/{step}", phase=f"phase{step}", needs=before)
        tell = f"echo {step} > {reached}; read word < {go}"
        script = f'[ -e "{far.folder}/free" ] || {{ {tell}; }}'
        at = {"argv": [script], "shell": True, "checks_only": True, "phase": f"phase{step}"}
        before = [order.node("shell.exec", name=str(step), needs=[wrote], **at)]
    return order, reached, go


def dropped_at(far, step, *options):
    """Drop the connection when the far run waits at a step; what the near side says then. The far run has
    ended when this returns: it holds its lock no longer."""
    order, reached, go = stepped(far)
    near = far.start("apply", signed(far, order), "--host", far.url, *options)
    for at in range(step + 1):
        assert reached.read_text() == f"{at}\n"
        if at < step:
            go.write_text("on\n")
    (far.folder / "free").touch()  # nothing waits from here on
    far.hang_up()
    text = near.communicate(timeout=60)[0].decode()
    assert near.returncode == 6, text
    assert "ended before the answer" in text
    return text, go


def wait_until_it_ended(far):
    (lock,) = far.state.glob("roots/*/lock")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def content(far):
    return {path.name: path.read_text() for path in (far.far / "root").iterdir()}


ALL = {str(step): str(step) for step in range(STEPS)}


@pytest.mark.parametrize("step", range(STEPS))
def test_a_connection_dropped_at_any_step_leaves_a_journal_that_resume_picks_up(far, step):
    text, _ = dropped_at(far, step)
    assert f"plan recover --host {far.url}" in text
    wait_until_it_ended(far)
    assert content(far) == {str(at): str(at) for at in range(step + 1)}
    (run,) = far.runs()
    assert f"plan resume {run.name} --host {far.url}" in far.plan("recover", "--host", far.url, code=6)
    assert "was cut off" in far.plan("apply", far.near / "package/order.plan", "--host", far.url, code=6)
    far.plan("resume", "--host", far.url)
    assert content(far) == ALL
    assert (far.near / f"state/hosts/root@127.0.0.1:{far.port}/{run.name}.plan").exists()
    assert "no run was cut off" in far.plan("recover", "--host", far.url)


@pytest.mark.parametrize("step", range(STEPS))
def test_a_connection_dropped_at_any_step_leaves_a_journal_that_rollback_picks_up(far, step):
    dropped_at(far, step)
    wait_until_it_ended(far)
    far.plan("rollback", "--host", far.url)
    assert content(far) == {}


def test_a_run_that_lost_its_connection_is_taken_back_over_there_when_that_was_asked(far):
    dropped_at(far, 1, "--on-interrupted", "rollback")
    wait_until_it_ended(far)
    assert content(far) == {}
    assert "rolled back" in far.plan("receipts", "--host", far.url)


def test_a_run_that_lost_its_connection_goes_on_over_there_when_that_was_asked(far):
    _, go = dropped_at(far, 1, "--on-interrupted", "resume")
    go.write_text("on\n")
    wait_until_it_ended(far)
    assert content(far) == ALL
    assert "complete" in far.plan("receipts", "--host", far.url)


def test_an_interrupt_is_passed_on_and_answered_from_the_far_end(far):
    order, reached, _ = stepped(far)
    near = far.start("apply", signed(far, order), "--host", far.url)
    assert reached.read_text() == "0\n"
    near.send_signal(signal.SIGINT)
    text = near.communicate(timeout=60)[0].decode()
    assert near.returncode == 1, text
    assert "taken back" in text
    assert content(far) == {}


# refused -----------------------------------------------------------------------------------------------------


def test_a_host_key_that_is_not_the_known_one_is_refused(far):
    path = signed(far, order_of(far))
    wrong = far.near / "id.pub"
    far.known_hosts.write_text(f"[127.0.0.1]:{far.port} {' '.join(wrong.read_text().split()[:2])}\n")
    text = far.plan("apply", path, "--host", far.url, code=1)
    assert "Host key verification failed" in text
    assert "cannot be reached" in text
    assert not far.state.exists()


def test_a_host_key_that_nobody_knows_is_refused_without_a_question(far):
    far.known_hosts.write_text("")
    assert "cannot be reached" in far.plan("receipts", "--host", far.url, code=1)


def test_the_far_machine_judges_by_its_own_trust(far):
    path = signed(far, order_of(far))
    far.plan("verify", path)
    far.plan("key", "new", "other")
    far.trust.write_text((far.near / "config/requisition/trust.yaml").read_text().replace("mine:", "theirs:"))
    other = (far.near / "config/requisition/keys/other.pub").read_text().strip()
    far.trust.write_text(f"keys:\n  theirs:\n    key: {other}\nrequire: {{author: 1}}\n")
    assert "not trusted here" in far.plan("apply", path, "--host", far.url, code=3)
    assert not list((far.far / "root").iterdir())
    assert not far.runs()


def test_without_a_policy_over_there_nothing_is_applied(far):
    path = signed(far, order_of(far))
    far.trust.unlink()
    assert "no trust policy" in far.plan("apply", path, "--host", far.url, code=3)


@pytest.mark.parametrize("option", ["--allow-unsigned", "--allow-downgrade"])
def test_nobody_weakens_the_rules_of_a_far_machine_from_here(far, option):
    path = order_of(far).write()
    assert f"{option} cannot be used with --host" in far.plan("apply", path, "--host", far.url, option, code=4)


def test_an_input_that_is_not_what_was_pinned_is_found_before_anything_is_sent(far):
    path = signed(far, order_of(far))
    (far.near / "package/data").write_bytes(b"other")
    assert "not what the order pins" in far.plan("apply", path, "--host", far.url, code=4)
    assert not far.state.exists()


def test_a_host_without_the_runtime_is_told_with_the_next_step(far):
    path = signed(far, order_of(far))
    text = far.plan("apply", path, "--host", f"{far.url}/opt/none/plan-runtime", code=1)
    assert "there is no /opt/none/plan-runtime" in text
    assert "install requisition there" in text


FAKES = {
    "older": ("printf 'usage\\n' >&2; exit 4", "takes no visitors", "install the same version"),
    "noisy": ("echo Welcome, stranger; cat > /dev/null", "not of our protocol", "print nothing"),
    "deaf": ("exit 0", "ended before the answer", "plan recover"),
}


@pytest.mark.parametrize("name", FAKES)
def test_a_far_program_that_speaks_otherwise_is_told_with_the_next_step(far, name):
    script, what, advice = FAKES[name]
    program = far.far / "plan-runtime"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    text = far.plan("apply", signed(far, order_of(far)), "--host", f"{far.url}{program}", code=None)
    assert what in text
    assert advice in text


# hostile visitors --------------------------------------------------------------------------------------------


def visit_of(far, request, bundle=b""):
    """Frames of a visitor who wrote them himself."""
    done = subprocess.run(
        [far.near / "bin/ssh", "-p", str(far.port), "-T", "root@127.0.0.1", "plan-runtime", "remote"],
        input=encoded(request) + bundle,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return parse(done.stdout, done.returncode, done.stderr)


HOSTILE = {
    "no visit": ({}, b"", "only takes requests of visitors"),
    "own trust": ({"visit": Visit(), "trust_path": "/tmp/trust.yaml"}, b"", "cannot choose trust_path"),
    "own state": ({"visit": Visit(), "state_dir": "/tmp/state"}, b"", "cannot choose state_dir"),
    "a file of that machine": ({"visit": Visit(), "order_path": "/etc/passwd"}, b"", "cannot choose order_path"),
    "its folder": ({"visit": Visit(), "source_root": "/root"}, b"", "cannot choose source_root"),
    "unsigned": ({"visit": Visit(), "allow_unsigned": True}, b"", "cannot choose allow_unsigned"),
    "cut short": ({"visit": Visit(bundle=100)}, b"x" * 99, "ends 1 bytes too early"),
    "endless": ({"visit": Visit(bundle=1 << 62)}, b"x", "there is room for"),
    "below zero": ({"visit": Visit(bundle=-1)}, b"x", "there is room for"),
    "no bundle at all": ({"visit": Visit(bundle=4)}, b"\0\1\2\3", "not a .plan file"),
    "nothing brought": ({"visit": Visit()}, b"", "brought no order"),
    "another version": ({"visit": Visit(), "version": 3}, b"", "protocol version 3"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_visitor_brings_an_order_and_chooses_nothing_else(far, name):
    fields, bundle, words = HOSTILE[name]
    answer = visit_of(far, Request(**{"verb": "apply", "state_dir": "", **fields}), bundle)
    assert answer.status in ("refused", "bad_input"), answer.text
    assert words in answer.text
    assert "Traceback" not in answer.stderr
    assert not far.runs()


def test_a_bundle_whose_content_was_altered_on_the_way_is_refused(far):
    path = signed(far, order_of(far))
    whole = far.near / "whole.plan"
    sealed = orderfile.read(str(path))
    digest = hashlib.sha256(b"data\n" * 1000).hexdigest()
    orderfile.write(str(whole), sealed, {digest: str(far.near / "package/data")})
    altered = whole.read_bytes().replace(b"data\ndata\n", b"data\nDATA\n", 1)
    answer = visit_of(far, Request(verb="apply", state_dir="", visit=Visit(bundle=len(altered))), altered)
    assert answer.status == "bad_input", answer.text
    assert "altered" in answer.text
    assert not list((far.far / "root").iterdir())


def test_a_key_that_may_only_run_the_runtime_is_enough(tmp_path):
    far = sshd.Far(tmp_path, forced=f"{sshd.BIN}/plan-runtime remote")
    try:
        assert "nothing was applied" in far.plan("receipts", "--host", far.url)
    finally:
        far.close()
