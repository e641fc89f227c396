"""Does a test notice? Runs the tests of the trusted core against every mutant of it, and lists what survives.

    python -m mutation.run [MODULE …]        from the tests folder; `make test-mutation` does it

Each mutant is one process, forked from one that has the libraries loaded, over a copy of the houses. It ends with 1
when fewer are noticed than FLOOR says. Survivors that change nothing anybody could see are in `equivalent.txt`.
"""

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import hypothesis  # noqa: F401  loaded once, for all mutants
import jinja2  # noqa: F401
import msgspec.msgpack  # noqa: F401
import pytest
import yaml  # noqa: F401
from cryptography.hazmat.primitives.asymmetric import ec, ed25519  # noqa: F401

from mutation.mutants import Mutant, mutants

REPOSITORY = Path(__file__).parents[2]
HOUSES = ("schemas", "stdlib", "runtime", "services")
FLOOR = 90
SECONDS = 90
WORKERS = 2
RUNTIME, SCHEMAS = "runtime/requisition/runtime", "schemas/requisition/schemas"
FLEET, FLEET_TESTS = "services/requisition/services/fleet", "services/fleet"
TARGETS: dict[str, list[str]] = {
    f"{RUNTIME}/trust.py": ["runtime/test_trust.py"],
    f"{SCHEMAS}/keys.py": ["schemas/test_keys.py", "schemas/test_signing.py", "security/test_gnupg.py"],
    f"{SCHEMAS}/sshsig.py": ["schemas/test_sshsig.py", "schemas/test_signing.py"],
    f"{SCHEMAS}/signing.py": ["schemas/test_signing.py"],
    f"{SCHEMAS}/allowedsigners.py": ["schemas/test_allowedsigners.py"],
    f"{SCHEMAS}/gnupg.py": ["security/test_gnupg.py"],
    f"{RUNTIME}/conflicts.py": ["runtime/test_conflicts.py"],
    f"{RUNTIME}/preflight.py": [
        "runtime/test_preflight.py",
        "runtime/test_run.py",
        "stdlib/test_through_the_runtime.py",
    ],
    f"{RUNTIME}/unwind.py": ["runtime/test_unwind.py", "runtime/test_run.py", "runtime/test_obstacles.py"],
    f"{RUNTIME}/journal.py": ["runtime/test_journal.py"],
    f"{FLEET}/trustslots.py": [f"{FLEET_TESTS}/test_trust.py"],
    f"{FLEET}/authority.py": [f"{FLEET_TESTS}/test_trust.py"],
    f"{FLEET}/health.py": [f"{FLEET_TESTS}/test_agent_reducer.py", f"{FLEET_TESTS}/test_promises.py"],
    f"{FLEET}/agent_reducer.py": [f"{FLEET_TESTS}/test_agent_reducer.py", f"{FLEET_TESTS}/test_promises.py"],
    f"{FLEET}/gates.py": [f"{FLEET_TESTS}/test_gates.py", f"{FLEET_TESTS}/test_promises.py"],
    f"{FLEET}/planner.py": [
        f"{FLEET_TESTS}/test_planner.py",
        f"{FLEET_TESTS}/test_gates.py",
        f"{FLEET_TESTS}/test_promises.py",
        f"{FLEET_TESTS}/test_promises_of_delivery.py",
        f"{FLEET_TESTS}/test_fold.py",
    ],
    f"{FLEET}/offers.py": [f"{FLEET_TESTS}/test_offers.py"],
    f"{FLEET}/reducer.py": [f"{FLEET_TESTS}/test_reducer.py", f"{FLEET_TESTS}/test_promises_of_delivery.py"],
    f"{FLEET}/rollout_reducer.py": [f"{FLEET_TESTS}/test_rollout_reducer.py"],
    f"{RUNTIME}/hydrate.py": ["runtime/test_hydrate.py", "security/test_hostile_documents.py"],
}


def noticed(houses: Path, tests: list[str]) -> bool:
    """Whether a test fails, hangs or dies over this copy of the houses."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = _in_child(houses, tests)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return status != 0


def _in_child(houses: Path, tests: list[str]) -> int:
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    places = [str(houses / house) for house in HOUSES]
    sys.path[:0] = places
    os.environ["PYTHONPATH"] = os.pathsep.join(places)
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    os.chdir(REPOSITORY)
    scratch = ["-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={houses}/tmp"]
    return int(pytest.main(["-x", "-q", *scratch, "-m", "not long", *(f"tests/{test}" for test in tests)]))


def copy_of(folder: Path) -> Path:
    for house in HOUSES:
        shutil.copytree(REPOSITORY / house, folder / house, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def survivors(module: str, found: list[Mutant], scratch: Path) -> list[Mutant]:
    """Those that no test notices, tried by several workers with a copy of the houses each."""
    children = []
    for worker in range(WORKERS):
        child = os.fork()
        if child == 0:
            houses, left = copy_of(scratch / str(worker)), []
            for number in range(worker, len(found), WORKERS):
                (houses / module).write_text(found[number].source)
                if not noticed(houses, TARGETS[module]):
                    left.append(number)
            (scratch / f"{worker}.json").write_text(json.dumps(left))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    numbers = [n for worker in range(WORKERS) for n in json.loads((scratch / f"{worker}.json").read_text())]
    return [found[number] for number in sorted(numbers)]


def equivalents() -> set[str]:
    lines = (Path(__file__).parent / "equivalent.txt").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def main() -> int:
    known, total, killed = equivalents(), 0, 0
    for module in sys.argv[1:] or TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            if noticed(copy_of(Path(folder) / "sound"), TARGETS[module]):
                print(f"{module}: its tests fail as it is")
                return 2
            found = [m for m in mutants((REPOSITORY / module).read_text()) if named(module, m) not in known]
            left = survivors(module, found, Path(folder))
        total, killed = total + len(found), killed + len(found) - len(left)
        print(f"{module}: {len(found) - len(left)} of {len(found)} noticed", flush=True)
        for mutant in left:
            print(f"  {mutant.line}: {mutant.what}", flush=True)
    score = 100 * killed / max(1, total)
    print(f"{killed} of {total} mutants noticed: {score:.1f} %")
    return 0 if score >= FLOOR else 1


def named(module: str, mutant: Mutant) -> str:
    """A mutant's name, which outlives changes elsewhere in the module."""
    return f"{Path(module).name}: {mutant.what}"


if __name__ == "__main__":
    sys.exit(main())
