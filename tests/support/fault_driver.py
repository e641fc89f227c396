"""Tries a fault at each mutating system call of an apply, and checks what rollback and resume make of it.

Run as a program of its own, single-threaded, with the runtime imported once, like `crash_driver`:

    python -m support.fault_driver FOLDER kill|ERROR once|always TIMES FIRST STEP

prints one JSON object: how many faults were tried, which calls they struck, what went wrong.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
import jinja2.sandbox  # noqa: F401

from requisition.runtime import apply, recover  # noqa: F401
from requisition.stdlib.providers import archive, template  # noqa: F401
from support.crash_driver import in_child
from support.faults import failing_at, killed_at, positions, recorded
from support.process import Answer, request
from support.small_order import fresh
from support.trees import snapshot

Tree = dict[str, tuple]


class Trial:
    """One order in one place; every fault starts from the same tree."""

    def __init__(self, folder: Path, times: int):
        self.folder, self.times = folder / "work", times
        self.root = self.folder / "root"
        asked = self.start()
        self.before = snapshot(self.root)
        self.calls = positions(recorded(asked, folder / "calls"))
        self.after = snapshot(self.root, times=False)

    def start(self):
        order, self.state = fresh(self.folder, self.times)
        return request("apply", self.state, order, on_conflict="overwrite")

    def undone(self, what: str, **how: bool) -> list[str]:
        """Roll back whatever run stands; the tree must be as before."""
        answer, _ = in_child(request("rollback", self.state, **how))
        return [*ended_well(answer, what, NOTHING_STANDS), *difference(snapshot(self.root), self.before, what)]

    def finished(self, what: str, **how: bool) -> list[str]:
        """Resume what was cut off, or apply when nothing had begun; the tree must be the whole run's."""
        answer, _ = in_child(request("resume", self.state, **how))
        if answer.status == "bad_input" and any(words in answer.text for words in NOTHING_BEGUN):
            order = self.folder / "package" / "order.plan"
            answer, _ = in_child(request("apply", self.state, order, on_conflict="overwrite"))
        return [*ended_well(answer, what, ("ended",)), *difference(snapshot(self.root, times=False), self.after, what)]


NOTHING_BEGUN = ("no run was cut off", "before it began anything", "changed nothing")
NOTHING_STANDS = ("nothing to roll back", "rolled back already", *NOTHING_BEGUN)


def ended_well(answer: Answer, what: str, excused: tuple[str, ...]) -> list[str]:
    if "Traceback" in answer.stderr or "internal error" in answer.text:
        return [f"{what}: {answer.text[-500:]} {answer.stderr[-1500:]}"]
    if answer.status == "done" or (answer.status == "bad_input" and any(words in answer.text for words in excused)):
        return []
    return [f"{what}: {answer.status}: {answer.text[-700:]} {answer.stderr[-500:]}"]


def difference(found: Tree, wanted: Tree, what: str) -> list[str]:
    paths = sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))
    return [f"{what}: differs at {path}: {found.get(path)} not {wanted.get(path)}" for path in paths[:4]]


def kill(trial: Trial, call: str, number: int) -> list[str] | None:
    """Both ways out of a run killed at this call; None when the run did not come so far."""
    problems = []
    for way in (trial.undone, trial.finished):
        answer, killed = killed_at(trial.start(), call, number)
        if not killed:
            return ended_well(answer, f"no kill at {call} {number}", ()) or None
        problems += way(f"{way.__name__} after a kill at {call} {number}")
    return problems


def fail(trial: Trial, call: str, number: int, error: str, *, always: bool) -> list[str] | None:
    """An apply whose call fails says so and is harmless; what then stands can be rolled back."""
    answer, died = failing_at(trial.start(), call, number, error, always=always)
    what = f"{error} at {call} {number}{'+' if always else ''}"
    if died or "Traceback" in answer.stderr or "internal error" in answer.text:
        return [f"{what}: {answer.status} {answer.text[-500:]} {answer.stderr[-1500:]}"]
    if answer.result is None and call == "write":
        return trial.undone(what)  # it could not tell: its own frame was what failed
    if answer.status == "done":
        return difference(snapshot(trial.root, times=False), trial.after, what)
    if not answer.result or not answer.result.diagnostics:
        return [f"{what}: no words about it: {answer.status} {answer.stderr[-500:]}"]
    return trial.undone(f"rollback after {what}")


def main() -> None:
    folder, fault, spread = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    times, first, step = map(int, sys.argv[4:7])
    folder.mkdir(parents=True, exist_ok=True)
    trial = Trial(folder, times)
    problems: list[str] = []
    struck: Counter[str] = Counter()
    for call, number in trial.calls[first::step]:
        if fault == "kill":
            found = kill(trial, call, number)
        else:
            found = fail(trial, call, number, fault, always=spread == "always")
        if found is not None:
            struck[call] += 1
            problems += found
    print(json.dumps({"calls": len(trial.calls), "struck": struck, "problems": problems}))


if __name__ == "__main__":
    main()
