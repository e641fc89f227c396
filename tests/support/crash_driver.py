"""Kills the runtime at chosen journal records and checks what rollback and resume make of it.

Run as a program of its own, single-threaded, with the runtime imported once: each run is a forked child
that executes the runtime's real `main` on real pipes. `Journal` is patched to die, nothing else.

    python -m support.crash_driver FOLDER FIRST LAST STEP [small|mixed STEP DEPTH]

tries every STEPth record from FIRST to LAST; with an order named, the recovery is killed too, DEPTH - 1 times.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from requisition.runtime import (
    __main__ as runtime,
)
from requisition.runtime import (
    journal,
)
from requisition.runtime.frames import Request
from support import small_order
from support.orders import OrderBuilder
from support.process import encoded, parse, request
from support.trees import build, snapshot

NODES = 200
NOT_BEGUN = ("no run was cut off", "nothing to roll back")


def old_tree(root: Path) -> None:
    """What there is before the mixed order."""
    old = {f"old{n}": (b"old %d\n" % n, 0o640) for n in range(20)}
    build(
        root,
        {
            "etc": old | {"keep": b"untouched\n", "l": ("link", "keep")},
            "gone": {"a": b"1", "b": {"c": b"2", "empty": {}}, "l": ("link", "a")},
            "move": {f"m{n}": b"moved %d" % n for n in range(10)},
            "srv": {},
        },
    )


def mixed_order(folder: Path) -> Path:
    """An order of NODES nodes of all file actions, over the old tree."""
    order = OrderBuilder(folder / "package", folder / "root")
    template = order.input("t.tmpl", b"port = {{ port }}\n")
    for number in range(20):
        made = order.node("file.mkdir", path=f"/srv/d{number}", mode=0o750)
        for inner in range(4):
            source = order.input(f"f{number}-{inner}", b"%d-%d " % (number, inner) * 40)
            order.node("file.copy", source=source, path=f"/srv/d{number}/c{inner}", needs=[made])
        order.node("file.link", target="c0", path=f"/srv/d{number}/l", needs=[made])
        order.node("template.render", source=template, data={"port": number}, path=f"/srv/d{number}/t", needs=[made])
    for number in range(20):
        order.node("file.write", content=f"new {number}\n", path=f"/etc/old{number}", phase="provision")
    for number in range(10):
        order.node("file.rename", source=f"/move/m{number}", path=f"/move/n{number}", phase="provision")
        order.node("file.chmod", path=f"/srv/d{number}/c1", mode=0o600, phase="provision")
    order.node("file.backup", path="/etc/keep", phase="provision")
    order.node("file.unlink", path="/etc/l", phase="provision")
    order.node("file.remove", path="/gone", recursive=True, phase="provision")
    while len(order.nodes) < NODES:
        number = len(order.nodes)
        order.node("file.write", content="x" * number, path=f"/etc/n{number}", phase="verify")
    return order.write()


class Killer:
    """Dies right after the given record (from 1) is durable; with `group`, many records a commit as usual."""

    def __init__(self, position: int):
        self.left = position

    def install(self) -> None:
        real_commit, real_note = journal.Journal.commit, journal.Journal.note

        def commit(this, records=()):
            records = list(records)
            if self.left > len(records):
                self.left -= len(records)
                return real_commit(this, records)
            real_commit(this, records[: self.left])
            os.kill(os.getpid(), signal.SIGKILL)

        def note(this, record):
            real_note(this, record)
            self.left -= 1
            if self.left == 0:
                real_commit(this)
                os.kill(os.getpid(), signal.SIGKILL)

        journal.Journal.commit, journal.Journal.note = commit, note


def in_child(
    asked: Request, prepare: Callable[[], None] = lambda: None, attend: Callable[[int], None] = lambda child: None
):
    """The runtime's main in a forked child; (answer, died by a signal). `prepare` runs in the child before
    it, `attend` in this process with the child's id."""
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as err:
        stdin.write(encoded(asked))
        stdin.seek(0)
        child = os.fork()
        if child == 0:
            for source, target in ((stdin, 0), (stdout, 1), (err, 2)):
                os.dup2(source.fileno(), target)
            sys.argv = ["plan-runtime"]
            sys.stdin = open(0, "rb", closefd=False)  # noqa: SIM115
            sys.stdin.buffer = sys.stdin
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            code = 70
            try:
                prepare()
                code = runtime.main()
            finally:
                sys.stderr.flush()
                os._exit(code)
        attend(child)
        _, status = os.waitpid(child, 0)
        stdout.seek(0)
        err.seek(0)
        answer = parse(stdout.read() if not os.WIFSIGNALED(status) else b"", status, err.read())
        return answer, os.WIFSIGNALED(status)


def fresh(folder: Path) -> tuple[Path, Path]:
    """(order, state directory) of a new start in the same place; the order is written once."""
    root, state, order = folder / "root", folder / "state", folder / "package" / "order.plan"
    for used in (root, state):
        shutil.rmtree(used, ignore_errors=True)
    old_tree(root)
    return order if order.exists() else mixed_order(folder), state


def check_position(folder: Path, position: int) -> str:
    """What went wrong when killed at this record; empty when nothing did, `end` past the last record."""
    problems = []
    for way in ("rollback", "resume"):
        order, state = fresh(folder)
        before = snapshot(folder / "root")
        asked = request("apply", state, order, on_conflict="overwrite")
        _, killed = in_child(asked, Killer(position).install)
        if not killed:
            return "end"
        answer, _ = in_child(request(way, state))
        begun = answer.status != "bad_input" or not any(words in answer.text for words in NOT_BEGUN)
        after = snapshot(folder / "root", times=way == "rollback" or not begun)
        wanted = before if way == "rollback" or not begun else finished(folder.parent)
        if not begun and position == 1:
            pass  # killed before the run was known to exist
        elif way == "resume" and answer.status == "bad_input" and "ended" in answer.text:
            pass  # killed after the last record: there is nothing left to resume
        elif answer.status != "done":
            problems.append(f"{way} at record {position}: {answer.status}: {answer.text[-600:]} {answer.stderr}")
        if after != wanted:
            differing = [k for k in after.keys() | wanted.keys() if after.get(k) != wanted.get(k)]
            problems.append(f"{way} at record {position}: tree differs at {sorted(differing)[:6]}")
    return "\n".join(problems)


class Work:
    """The order that is killed again and again: how to begin anew, and the trees before and after it."""

    def __init__(self, folder: Path, begin: Callable[[Path], tuple[Path, Path]]):
        self.folder, self._begin = folder / "work", begin
        asked = self.start()
        answer, _ = in_child(asked)
        assert answer.status == "done", answer.text
        self.after = snapshot(self.folder / "root", times=False)

    def start(self) -> Request:
        """Begin anew; files have the times of this beginning."""
        order, self.state = self._begin(self.folder)
        self.before = snapshot(self.folder / "root")
        return request("apply", self.state, order, on_conflict="overwrite")

    def difference(self, way: str) -> list[str]:
        """Paths that are not as they should be after a rollback or a resume."""
        wanted = self.before if way == "rollback" else self.after
        found = snapshot(self.folder / "root", times=way == "rollback")
        return sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))


def check_again(work: Work, position: int, step: int, depth: int) -> str:
    """Killed at a record, then again at every `step`th record of the recovery, then `depth` - 2 times more, at
    the same distance from where that recovery began; then recovered. `end` past the apply's last record."""
    problems = []
    for way in ("rollback", "resume"):
        for second in range(1, 100_000, step):
            asked = work.start()
            _, killed = in_child(asked, Killer(position).install)
            if not killed:
                return "end"
            _, killed = in_child(request(way, work.state), Killer(second).install)
            for _ in range(depth - 2):
                in_child(request(way, work.state), Killer(second).install)
            answer, _ = in_child(request(way, work.state))
            over = answer.status == "bad_input" and any(words in answer.text for words in OVER)
            differing = work.difference(way) if begun_by(answer) else []
            if (answer.status != "done" and not over) or differing:
                problems.append(f"{way} {position}/{second}: {answer.status} {answer.text[-300:]} {differing[:5]}")
            if not killed:
                break
    return "\n".join(problems)


OVER = ("ended", "rolled back already", *NOT_BEGUN)


def begun_by(answer) -> bool:
    return not any(words in answer.text for words in NOT_BEGUN)


def finished(scratch: Path) -> dict[str, tuple]:
    """The tree of an uninterrupted run, made once."""
    if "tree" not in _finished:
        order, state = fresh(scratch / "whole")
        answer, _ = in_child(request("apply", state, order, on_conflict="overwrite"))
        assert answer.status == "done", answer.text
        _finished["tree"] = snapshot(scratch / "whole" / "root", times=False)
    return _finished["tree"]


_finished: dict[str, dict[str, tuple]] = {}


def main() -> None:
    folder, first, last, step = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    folder.mkdir(parents=True, exist_ok=True)
    check = partial(check_position, folder / "work")
    if sys.argv[5:]:
        order, second, depth = sys.argv[5], int(sys.argv[6]), int(sys.argv[7])
        work = Work(folder, {"small": small_order.fresh, "mixed": fresh}[order])
        check = partial(check_again, work, step=second, depth=depth)
    problems, checked = [], 0
    for position in range(first, last, step):
        found = check(position)
        if found == "end":
            break
        checked += 1
        if found:
            problems.append(found)
    print(json.dumps({"checked": checked, "problems": problems, "ended": found == "end"}))


if __name__ == "__main__":
    main()
