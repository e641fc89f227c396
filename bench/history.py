"""The state view over many receipts: cold index, one more receipt, `plan why`, `blame`, `history` and `status`.

    python bench/history.py [--receipts 5000] [--nodes 1000] [--rounds 5] [--folder DIR]

Receipts are generated, not run: twenty packages take turns, every tenth run of one brings a new order in which a tenth
of the paths change, and one run in a hundred was taken back. Each timed command is a process of its own; the references
beside them are the bare start of `plan` (`plan completion bash`) and one lstat of every path. Printed are milliseconds
by the clock, and of processor time, which other work on the machine does not lengthen.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from requisition.runtime.layout import StateDir
from requisition.runtime.runinfo import RunInfo
from requisition.runtime.sight import NEVER, signature
from requisition.runtime.state import Entry, Head, RootState
from requisition.schemas import canonical, planform
from requisition.schemas.checksum import checksum
from requisition.schemas.document import Context, Node, Order, Phase, Platform
from requisition.schemas.receipt import Left, NodeRun, Receipt
from requisition.schemas.version import TOOL

PACKAGES, RUNS_AN_ORDER = 20, 10
BEGIN = 1_767_225_600  # 2026-01-01T00:00:00Z


def order_of(package: str, version: int, nodes: int, root: str) -> Order:
    return Order(
        1,
        f"{package}.order",
        TOOL,
        Platform("linux"),
        Context(package, str(version), target_root=root),
        (Phase(f"{package}/install", "install"),),
        tuple(
            Node(
                f"{package}/install/file.copy:{path_of(package, number)}",
                "file.copy",
                f"{package}/install",
                {"source": f"files/{number:05d}", "path": path_of(package, number), "mode": 0o644},
                location=f"install.star:{number % 50 + 2}",
            )
            for number in range(nodes)
        ),
        serial=version,
    )


def path_of(package: str, number: int) -> str:
    return f"/srv/{package}/d{number % 20:02d}/f{number:05d}.conf"


def stamp(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Writer:
    """Writes one run after another below a state directory."""

    def __init__(self, state: Path, root: str, nodes: int) -> None:
        self._state, self._root, self._nodes = StateDir(str(state)), root, nodes
        self._orders: dict[tuple[int, int], tuple[Order, bytes, str]] = {}
        self.entries: dict[str, Entry] = {}
        self._written = 0

    def write(self, count: int) -> str:
        """That many more; the id of the last."""
        for number in range(self._written, self._written + count):
            run_id = self._one(number)
        self._written += count
        return run_id

    def _one(self, number: int) -> str:
        which, turn = number % PACKAGES, number // PACKAGES
        version = turn // RUNS_AN_ORDER
        package = f"package{which:02d}"
        if (which, version) not in self._orders:
            order = order_of(package, version, self._nodes, self._root)
            body = canonical.encode(order)
            self._orders[which, version] = order, body, checksum("order", order.name, body)
        order, body, sha = self._orders[which, version]
        at = BEGIN + number * 600
        run_id = time.strftime("%Y%m%dT%H%M%S.000000Z-", time.gmtime(at)) + f"{number & 0xFFFF:04x}"
        runs = tuple(self._node(one, turn, version, package) for one in range(self._nodes))
        receipt = Receipt(1, f"{package}-{run_id}", TOOL, run_id, "executed", "complete", order, sha, stamp(at),
                          stamp(at + 5), "bench", self._root, nodes=runs)  # fmt: skip
        self._save(run_id, "receipt.plan", receipt, body)
        for one in runs:
            left = one.left[0]
            self.entries[left.path] = Entry(NEVER, left, order.nodes[one.node].id, package, run_id, "file.copy")
        if number % 100 == 50:
            back = tuple(msgspec.structs.replace(one, status="rolled_back", left=()) if one.status == "done" else one
                         for one in runs)  # fmt: skip
            taken = msgspec.structs.replace(
                receipt, state="rolled_back", nodes=back, rolls_back=run_id, finished=stamp(at + 60)
            )
            self._save(run_id, "rollback.plan", taken, body)
        info = RunInfo(run_id, "apply", package, order.name, sha, self._root, "", stamp(at), "executed", stamp(at + 5))
        Path(self._state.run(run_id), "run.json").write_bytes(msgspec.json.encode(info))
        return run_id

    def _node(self, number: int, turn: int, version: int, package: str) -> NodeRun:
        made = max(0, version - (version - number) % 10)  # each order changes another tenth
        left = Left(path_of(package, number), "file", 0o644, 0, 0, 1000 + made, f"{made * 100_000 + number:064x}")
        new = made == version and turn % RUNS_AN_ORDER == 0
        return NodeRun(number, "done" if new else "unchanged", left=(left,), started=number, finished=number + 1)

    def _save(self, run_id: str, name: str, receipt: Receipt, body: bytes) -> None:
        rest = msgspec.structs.replace(receipt, order=None)
        payload = canonical.encode_with(rest, "order", body)
        header = planform.Header("receipt", payload, planform.digest(payload))
        folder = Path(self._state.run(run_id))
        folder.mkdir(exist_ok=True)
        with open(folder / name, "wb") as file:
            file.writelines(planform.pieces(header, ()))

    def save_view(self) -> None:
        """What the runtime keeps beside the receipts, and the files that it tells of, as they were left."""
        entries = {}
        for path, entry in self.entries.items():
            place = Path(self._root + path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"")
            seen = signature(os.lstat(place))
            entries[path] = msgspec.structs.replace(entry, signature=seen)
        view = RootState(self._state.root(self._root), self._root)
        view.write_entries(entries)
        view.write_head(Head(self._root))


class Taken(NamedTuple):
    """Seconds by the clock, and of processor time in all."""

    clock: float
    work: float


def taken(command: list[str], state: Path) -> Taken:
    start = time.perf_counter()
    child = subprocess.Popen([f"{Path(sys.executable).parent}/plan", *command, "--state", str(state)],
                             stdout=subprocess.DEVNULL)  # fmt: skip
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 2):
        raise SystemExit(f"plan {' '.join(command)} ended with {child.returncode}")
    return Taken(time.perf_counter() - start, used.ru_utime + used.ru_stime)


def looked_at(root: str, entries: Iterable[str]) -> Taken:
    """The file checks by themselves: one lstat a path."""
    start, before = time.perf_counter(), time.process_time()
    for path in entries:
        os.lstat(root + path)
    return Taken(time.perf_counter() - start, time.process_time() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--receipts", type=int, default=5000)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to work; by default a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        state, root = folder / "state", str(folder / "root")
        Path(root).mkdir()
        state.mkdir(mode=0o700)
        writer = Writer(state, root, options.nodes)
        writer.write(options.receipts)
        writer.save_view()
        path = root + path_of("package07", 17)
        print(f"{options.receipts:,} receipts of {options.nodes:,} nodes, {len(writer.entries):,} paths")
        cold = taken(["why", path], state)
        size = (state / "index.db").stat().st_size >> 20
        print(f"  cold index {cold.clock:.1f} s, of them {cold.work:.1f} s of work; {size} MiB", flush=True)
        rounds: dict[str, list[Taken]] = {}
        for _ in range(options.rounds):
            writer.write(1)
            for label, command in (
                ("one receipt more, plan why", ["why", path]),
                ("bare start of plan", ["completion", "bash"]),
                ("plan why", ["why", path]),
                ("plan blame, 50 paths", ["blame", root + "/srv/package07/d07"]),
                ("plan history PACKAGE", ["history", "package07"]),
                ("plan history", ["history"]),
                ("plan status", ["status"]),
                ("plan status --package", ["status", "--package", "package07"]),
                ("plan status --scope", ["status", "--scope", "home"]),
            ):
                rounds.setdefault(label, []).append(taken(command, state))
            rounds.setdefault("lstat of all paths", []).append(looked_at(root, writer.entries))
        print(f"  {'milliseconds':28}{'median':>8}{'least':>8}{'work':>8}")
        for label, found in rounds.items():
            clock = [one.clock * 1000 for one in found]
            work = statistics.median(one.work * 1000 for one in found)
            print(f"  {label:28}{statistics.median(clock):8.0f}{min(clock):8.0f}{work:8.0f}")


if __name__ == "__main__":
    main()
