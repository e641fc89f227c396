"""Nodes that need root, through real sudo: done, taken back, cut off; and what a hostile user is refused."""

import io
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import msgspec
import pytest

from requisition.review.risks import risks
from requisition.runtime.frames import EXIT_CODES, write_frame
from requisition.runtime.halves import (
    Close,
    Denied,
    Do,
    Found,
    Join,
    Look,
    Made,
    Opening,
    Ready,
    Unable,
    Undo,
    read_answer,
)
from requisition.runtime.journal import Intent, read_journal
from requisition.schemas import orderfile
from requisition.schemas.receipt import OtherHalf
from support import aptroot, elevated
from support.process import parse
from support.receipts import read_receipt

pytestmark = elevated.skip_without()


@pytest.fixture
def world(tmp_path):
    return elevated.World(tmp_path)


def both(world, **fields):
    """User's and root's nodes in turns, values passed from one to the other both ways."""
    order = world.order(**fields)
    name = order.node("shell.exec", argv=["printf", "from the user"], name="say", checks_only=True)
    first = order.node(
        "file.write", content={"$ref": name, "output": "stdout"}, path="/by-root", needs=[name], elevate=True
    )
    who = order.node("shell.exec", argv=["id", "-un"], name="who", checks_only=True, needs=[first], elevate=True)
    mine = order.node("file.write", content={"$ref": who, "output": "stdout"}, path="/home/who", needs=[who])
    source = order.input("data", b"input\n")
    order.node("file.copy", source=source, path="/copied", mode=0o600, needs=[mine], elevate=True)
    return order


def owners(world):
    found = {}
    for path in sorted(world.root.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(world.root))] = (path.read_text(), path.stat().st_uid)
    return found


DONE = {"by-root": ("from the user", 0), "home/who": ("root\n", elevated.UID), "copied": ("input\n", 0)}


def test_nodes_of_both_kinds_run_in_one_order_each_as_who_they_need(world):
    path = world.signed(both(world))
    looked = world.ask("dry-run", path)
    assert looked.status == "changes", looked.text
    assert owners(world) == {}
    answer = world.ask("apply", path)
    assert answer.status == "done", answer.text + answer.stderr
    assert owners(world) == DONE
    again = world.ask("apply", path)
    assert again.result.summary.get("done", 0) <= 2, again.text  # the two commands, which only look
    back = world.ask("rollback")
    assert back.status == "done", back.text
    assert owners(world) == {}


def test_the_receipt_names_the_other_half_whose_receipt_is_root_s(world):
    answer = world.ask("apply", world.signed(both(world)))
    mine = read_receipt(str(world.folder / f"user/state/runs/{answer.result.run_id}/receipt.plan"))
    other = f"{answer.result.run_id}-u{elevated.UID}"
    path = world.rootstate / f"runs/{other}/receipt.plan"
    theirs = read_receipt(str(path))
    sealed = orderfile.read(str(path))
    assert mine.elevated == OtherHalf(other, orderfile.checksum_of(sealed, theirs))
    assert path.stat().st_uid == 0
    assert {theirs.order.nodes[run.node].id for run in theirs.nodes if run.status == "done"} == {
        node.id for node in mine.order.nodes if node.elevate and node.action != "shell.exec"
    }
    assert theirs.order_checksum == mine.order_checksum
    assert world.ask("status", user=False, target_root=f"{elevated.SEEN}/root").status == "done"


def test_a_failure_takes_both_kinds_back_the_last_first(world):
    order = both(world)
    (world.root / "copied").write_text("before")
    order.node("shell.exec", argv=["false"], name="fails", phase="verify")
    answer = world.ask("apply", world.signed(order), on_conflict="overwrite")
    assert answer.status == "failed", answer.text
    assert answer.result.data["state"] == "rolled_back", answer.text
    assert owners(world) == {"copied": ("before", 0)}
    back = [event.node.rpartition(":")[2] for event in answer.events if event.kind == "rollback"]
    assert [name for name in back if name.startswith("/")] == ["/copied", "/home/who", "/by-root"]
    assert not world.active()


def test_a_node_that_root_cannot_do_fails_with_its_place_and_is_taken_back(world):
    order = both(world)
    order.node("shell.exec", argv=["sh", "-c", "exit 7"], name="seven", elevate=True, phase="verify")
    answer = world.ask("apply", world.signed(order))
    assert answer.status == "failed"
    assert "seven" in answer.text
    assert "7" in answer.text
    assert owners(world) == {}


def test_a_gather_may_run_its_body_as_root(world):
    order = world.order()
    body = order.phase("each", kind="body")
    gather = order.node("flow.gather", items=["a", "b", "c"], body=body, name="g")
    order.node("file.mkdir", path={"$item": gather, "field": ""}, phase="each", name="m", elevate=True)
    order.nodes[-1].slots["path"] = {"$item": gather, "field": "path"}
    order.nodes[0].slots["items"] = [{"path": f"/{name}"} for name in "abc"]
    answer = world.ask("apply", world.signed(order))
    assert answer.status == "done", answer.text
    assert {path.name for path in world.root.iterdir()} == {"home", "a", "b", "c"}
    assert world.ask("rollback").status == "done"
    assert {path.name for path in world.root.iterdir()} == {"home"}


def test_what_a_user_may_choose_for_root_is_shown_to_the_reviewer(world):
    shown = [f"{one.node} {one.text}" for one in risks(both(world).order())]
    assert "demo/install/file.write:/by-root runs as root, with what demo/install/shell.exec:say gives it" in shown
    assert "demo/install/file.copy:/copied runs as root" in shown


def test_without_elevate_the_order_is_refused_with_the_next_step(world):
    answer = world.ask("apply", world.signed(both(world)), elevate="")
    assert answer.status == "bad_input"
    assert "--elevate sudo" in answer.text


def test_what_another_changed_since_is_found_before_either_half_takes_anything_back(world):
    assert world.ask("apply", world.signed(both(world))).status == "done"
    (world.root / "copied").write_text("changed by another")
    answer = world.ask("rollback")
    assert answer.status == "conflict", answer.text
    assert "/copied" in answer.text
    assert len(owners(world)) == 3
    assert not world.active()
    forced = world.ask("rollback", force=True)
    assert owners(world) == {"copied": ("changed by another", 0)}, forced.text


def test_a_stop_reaches_a_command_of_root_s_and_both_halves_take_back(world):
    near = world.start(world.request("apply", world.signed(stepped(world))))
    for at in range(2):
        assert (world.folder / "reached").read_text() == f"{at}\n"
        if not at:
            (world.folder / "go").write_text("on\n")
    near.send_signal(signal.SIGINT)
    out, err = near.communicate(timeout=60)
    answer = parse(out, near.returncode, err)
    assert answer.status == "failed", answer.text
    assert answer.result.data["state"] == "rolled_back"
    assert owners(world) == {}
    assert not world.active()


def test_a_terminal_sees_one_run(world):
    environment = (
        "env",
        "HOME=/mnt/w/user",
        "XDG_CONFIG_HOME=/mnt/w/user/config",
        "REQUISITION_STATE=/mnt/w/user/state",
    )
    plan = (*elevated.AS_USER, *environment, str(elevated.BIN / "plan"))
    path, trust = world.signed(both(world)), f"{elevated.SEEN}/user/trust.yaml"
    told = world.enter(*plan, "apply", path, "--trust", trust, "--elevate", "sudo", "--full")
    assert "✓ file.write:/by-root" in told
    assert "✓ file.write:/home/who" in told
    (run,) = (world.folder / "user/state/runs").iterdir()
    assert f"{run.name}-u{elevated.UID}" in world.enter(*plan, "receipts", "show", run.name)
    assert "Taken back" in world.enter(*plan, "rollback")
    assert owners(world) == {}


# cut off -----------------------------------------------------------------------------------------------------


PLACES = 6
EVERYTHING = {"one": ("/one", 0), "home/two": ("/home/two", elevated.UID), "three": ("/three", 0)}


def stepped(world):
    """A file of root's, of the user's, of root's; after each a command of the user's and one of root's, which
    tell and wait."""
    order = world.order()
    for fifo in ("reached", "go"):
        os.mkfifo(world.folder / fifo)
        (world.folder / fifo).chmod(0o666)
    seen, before = elevated.SEEN, []
    for step, path in enumerate(("/one", "/home/two", "/three")):
        rest = {"phase": f"phase{step}", "checks_only": True, "shell": True}
        wrote = order.node("file.write", content=path, path=path, elevate=step != 1, needs=before, phase=f"phase{step}")
        before = [wrote]
        for as_root in (False, True):
            place = 2 * step + as_root
            tell = f"echo {place} > {seen}/reached; read word < {seen}/go"
            script = f"[ -e {seen}/free ] || {{ {tell}; }}"
            before = [order.node("shell.exec", argv=[script], name=f"{place}", elevate=as_root, needs=before, **rest)]
    return order


def cut_off(world, place, who):
    """Kill one half, or both, when the run waits at a place; then nothing waits any more."""
    near = world.start(world.request("apply", world.signed(stepped(world))))
    for at in range(place + 1):
        assert (world.folder / "reached").read_text() == f"{at}\n"
        if at < place:
            (world.folder / "go").write_text("on\n")
    (world.folder / "free").touch()
    half = elevated.privileged_half(near.pid)
    for name, pid in (("user", near.pid), ("root", half)):
        if who in (name, "both"):
            os.kill(pid, signal.SIGKILL)
    if not (place % 2 and who == "user"):  # there root's half has ended its command; others wait with nobody left
        (world.folder / "go").write_text("on\n")
    out, err = near.communicate(timeout=60)
    world.wait_until_ended()
    return parse(out, near.returncode, err)


def everywhere(*often):
    """Every place and victim; those that are not tried often are left to the night."""
    every = [(who, place) for who in ("user", "root", "both") for place in range(PLACES)]
    return [pytest.param(*one, marks=() if one in often else pytest.mark.long) for one in every]


@pytest.mark.parametrize(("who", "place"), everywhere(("user", 3), ("root", 1), ("root", 4), ("both", 2)))
def test_killed_at_any_place_the_run_is_resumed_by_both_halves(world, place, who):
    cut_off(world, place, who)
    resumed = world.ask("resume")
    assert resumed.status == "done", resumed.text + resumed.stderr
    assert owners(world) == EVERYTHING
    assert not world.active()
    assert world.ask("rollback").status == "done"
    assert owners(world) == {}


@pytest.mark.parametrize(("who", "place"), everywhere(("user", 5), ("root", 2), ("both", 3)))
def test_killed_at_any_place_the_run_is_rolled_back_by_both_halves(world, place, who):
    cut_off(world, place, who)
    back = world.ask("rollback")
    assert back.status == "done", back.text + back.stderr
    assert owners(world) == {}
    assert not world.active()


def test_when_the_privileged_half_dies_the_run_says_that_it_can_be_taken_up(world):
    answer = cut_off(world, 1, "root")
    assert answer.status == "interrupted", answer.text
    assert "plan resume" in answer.text


def test_root_can_take_back_the_half_that_a_user_left_and_not_resume_it(world):
    cut_off(world, 5, "user")
    run = world.active()
    assert run.endswith(f"-u{elevated.UID}")
    assert world.ask("apply", world.signed(both(world))).status == "interrupted"
    assert "resume that run" in world.ask("resume", user=False, run_id=run).text
    assert world.ask("rollback", user=False, run_id=run).status == "done"
    assert owners(world) == {"home/two": ("/home/two", elevated.UID)}
    assert world.ask("rollback").status == "done"
    assert owners(world) == {}


# refused by root's side --------------------------------------------------------------------------------------


def test_root_s_own_policy_decides_whatever_the_user_trusts(world):
    world.trust_of("mallory", world.folder / "user/trust.yaml")
    answer = world.ask("apply", world.signed(both(world), "mallory"))
    assert answer.status == "refused", answer.text
    assert "/etc/requisition/trust.yaml" in answer.text or "not trusted" in answer.text
    assert owners(world) == {}
    assert not list(world.rootstate.glob("runs/*"))


def test_without_a_policy_of_root_s_nothing_runs_as_root(world):
    (world.folder / "etc/requisition/trust.yaml").unlink()
    answer = world.ask("apply", world.signed(both(world)))
    assert answer.status in ("refused", "bad_input"), answer.text
    assert "trust policy" in answer.text
    assert owners(world) == {}


def test_a_policy_that_the_user_may_write_is_none(world):
    os.chown(world.folder / "etc/requisition/trust.yaml", elevated.UID, elevated.UID)
    assert world.ask("apply", world.signed(both(world))).status == "refused"


def test_an_older_order_is_refused_by_root_s_own_memory(world):
    assert world.ask("apply", world.signed(both(world, serial=5))).status == "done"
    shutil.rmtree(world.folder / "user/state")
    older = world.signed(both(world, serial=4))
    assert "serial" in world.ask("apply", older, allow_downgrade=True).text


def test_a_user_whom_sudoers_does_not_name_is_told(world):
    (world.folder / "etc/sudoers.d/requisition").unlink()
    answer = world.ask("apply", world.signed(both(world)))
    assert answer.status == "refused"
    assert "sudoers" in answer.text
    assert owners(world) == {}


class Session:
    """The privileged half, spoken to by a user who wrote the frames himself."""

    def __init__(self, world, verb="run", bundle=None, order=None, **fields):
        order = order or both(world)
        self.ids = {node.id.rpartition(":")[2]: index for index, node in enumerate(order.nodes)}
        path = world.folder / "package/order.plan"
        world.signed(order)
        sealed = orderfile.read(str(path))
        document = orderfile.decode(sealed)
        contents = {item.sha256: str(world.folder / "package" / item.path) for item in document.inputs}
        orderfile.write(str(world.folder / "whole.plan"), sealed, contents)
        brought = (world.folder / "whole.plan").read_bytes() if bundle is None else bundle
        given = {
            "verb": verb,
            "run_id": RUN,
            "checksum": orderfile.checksum_of(sealed, document),
            "target_root": f"{elevated.SEEN}/root",
            "bundle": len(brought),
        }
        self._frames = [Opening(**(given | fields)), brought]
        self._world = world

    def ask(self, *questions):
        """What it answers, the opening included."""
        opening, brought = self._frames
        answers = []
        sudo = (*elevated.AS_USER, "sudo", "-n", "--", "plan-runtime", "elevated")
        with subprocess.Popen(self._world.command(*sudo), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as half:
            write_frame(half.stdin, opening)
            half.stdin.write(brought)
            for question in (None, *questions):
                if question is not None:
                    write_frame(half.stdin, question)
                half.stdin.flush()
                answers.append(read_answer(half.stdout))
                if isinstance(answers[-1], Denied):
                    break
            half.stdin.close()
        assert half.returncode == (EXIT_CODES[answers[-1].kind] if isinstance(answers[-1], Denied) else 0)
        return answers


RUN = "20261121T000000.000000Z-abcd"


def denied(answers, words):
    assert isinstance(answers[-1], Denied), answers
    assert words in "\n".join(map(str, answers[-1].diagnostics))
    return True


def test_a_session_of_one_s_own_does_what_the_order_marks(world):
    session = Session(world)
    ready, found, made, closed = session.ask(
        Look(session.ids["/by-root"], ("said",)), Do(0), Close("executed", "complete")
    )
    assert isinstance(ready, Ready)
    assert (found.ticket, made, closed.run_id) == (0, Made((None,)), f"{RUN}-u{elevated.UID}")
    assert owners(world) == {"by-root": ("said", 0)}


def test_a_node_that_the_order_does_not_mark_is_refused(world):
    session = Session(world)
    assert denied(session.ask(Look(session.ids["/home/who"], ("x",))), "does not run as root")
    for index in (-1, 99):
        assert denied(Session(world).ask(Look(index)), "does not run as root")
    assert owners(world) == {}


def test_a_ticket_that_was_not_given_is_refused(world):
    assert denied(Session(world).ask(Do(0)), "ticket")
    session = Session(world)
    look = Look(session.ids["/by-root"], ("x",))
    assert denied(session.ask(look, Do(1)), "ticket")
    assert denied(session.ask(look, look, Join((0, 1))), "together with itself")
    assert denied(session.ask(look, Join((0, 1))), "ticket")
    assert denied(session.ask(look, Do(0), Do(0)), "ticket")


def test_slots_are_those_of_the_order_and_more_or_other_values_are_refused(world):
    session = Session(world)
    assert denied(session.ask(Look(session.ids["/by-root"], ("x", "/etc/passwd"))), "leaves 1 values open")
    assert denied(session.ask(Look(session.ids["/by-root"])), "leaves 1 values open")
    assert denied(session.ask(Look(session.ids["who"], ("sh",))), "leaves 0 values open")
    assert isinstance(session.ask(Look(session.ids["/by-root"], ({"a": 1},)))[-1], Unable)
    assert owners(world) == {}


def test_another_order_under_the_same_checksum_is_refused(world):
    other = Session(world)
    path = world.folder / "whole.plan"
    tampered = path.read_bytes().replace(b"by-root", b"as-root")
    assert denied(Session(world, bundle=tampered).ask(), "was altered")
    sealed = orderfile.read(str(path))
    orderfile.write(str(path), msgspec.structs.replace(sealed, payload=sealed.payload.replace(b"by-root", b"as-root")))
    assert denied(Session(world, bundle=path.read_bytes()).ask(), "not trusted")
    assert denied(Session(world, checksum="sha256:" + "0" * 64).ask(), "not the order")
    assert isinstance(other.ask()[0], Ready)


def test_an_unsigned_order_is_refused(world):
    path = both(world).write("unsigned.plan")
    assert denied(Session(world, bundle=path.read_bytes()).ask(), "not trusted")


def test_another_target_root_is_refused(world):
    assert denied(Session(world, target_root="/etc").ask(), "target root")


@pytest.mark.parametrize("run_id", ["../../etc", "", RUN + "/..", RUN + "-u0", "x" * 300])
def test_a_run_id_is_one_or_refused(world, run_id):
    assert denied(Session(world, run_id=run_id).ask(), "not a run")


def test_what_root_gave_out_cannot_be_given_back_as_something_else(world):
    order = both(world)
    who = next(node.id for node in order.nodes if node.id.endswith(":who"))
    order.node("file.write", content={"$ref": who, "output": "stdout"}, path="/root-said", needs=[who], elevate=True)
    told = Session(world, order=order)
    index = len(order.nodes) - 1
    assert denied(told.ask(Look(index, ("root\n",))), "does not have")  # nobody asked it yet
    answers = told.ask(Look(told.ids["who"]), Do(0), Look(index, ("root\n",)), Look(index, ("other",)))
    assert isinstance(answers[-2], Found), answers
    assert denied(answers, "does not have")


def test_the_half_of_another_user_is_out_of_reach(world):
    cut_off(world, 5, "user")
    run = world.active().removesuffix(f"-u{elevated.UID}")
    world.enter("useradd", "-M", "-u", "6108", "-U", "-s", "/bin/sh", "-d", "/nonexistent", "other")
    sudoers = world.folder / "etc/sudoers.d/requisition"
    sudoers.chmod(0o640)
    sudoers.write_text(sudoers.read_text().replace("elevator", "other"))
    sudoers.chmod(0o440)
    session = Session(world, "rollback", b"", run_id=run)
    stream = io.BytesIO()
    for one in (session._frames[0], Undo(0, 0), Undo(1, 1)):
        write_frame(stream, one)
    sudo = ("setpriv", "--reuid", "6108", "--regid", "6108", "--clear-groups", "sudo", "-n", "--", "plan-runtime")
    subprocess.run(world.command(*sudo, "elevated"), input=stream.getvalue(), capture_output=True, check=False)
    assert "one" in owners(world)


def test_it_is_of_no_use_without_root(world):
    done = subprocess.run(
        world.command(*elevated.AS_USER, str(elevated.BIN / "plan-runtime"), "elevated"),
        input=b"", capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert b"Traceback" not in done.stderr


# packages ----------------------------------------------------------------------------------------------------


@pytest.fixture
def apt_world():
    """A target root with a package database of its own; apt reads it as another user."""
    folder = Path(tempfile.mkdtemp(prefix="apt-"))
    folder.chmod(0o755)
    (folder / "repository").mkdir()
    (folder / "repository").chmod(0o755)
    repository = aptroot.Repository(folder / "repository")
    world = elevated.World(folder)
    yield world, aptroot.AptRoot(folder, repository)
    repository.close()
    shutil.rmtree(folder)


@pytest.mark.skipif(bool(aptroot.MISSING), reason=f"needs {aptroot.MISSING}")
def test_packages_that_root_installs_for_a_user_are_installed_together(apt_world):
    world, machine = apt_world
    order = world.order()
    for name in ("app", "tool", "extra"):
        aptroot.AptRoot.want(order, name)
        order.nodes[-1] = msgspec.structs.replace(order.nodes[-1], elevate=True)
    order.node("file.write", content="x", path="/home/x")
    answer = world.ask("apply", world.signed(order))
    assert answer.status == "done", answer.text
    assert {"app", "tool", "extra"} <= machine.packages().keys()
    (journal,) = world.rootstate.glob("runs/*/journal")
    intents = [record for record in read_journal(str(journal)) if isinstance(record, Intent)]
    assert len(intents) == 3
    assert len({intent.scope for intent in intents}) == 1, "one ticket, one command"
    back = world.ask("rollback")
    assert back.status == "done", back.text
    assert machine.packages() == {}
    assert not world.active()
