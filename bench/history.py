"""The state view over many receipts: cold index, one more receipt, `plan why`, `blame`, `history` and `status`.

    python bench/history.py [--receipts 5000] [--nodes 1000] [--rounds 5] [--folder DIR]

Receipts are generated, not run: twenty packages take turns, every tenth run of one brings a new order in which a tenth
of the paths change, and one run in a hundred was taken back. Each timed command is a process of its own; the reference
beside it is the bare start of `plan` (`plan completion bash`). Printed are medians in milliseconds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from requisition.runtime.layout import StateDir
from requisition.runtime.runinfo import RunInfo
from requisition.runtime.sight import NEVER
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
        """What the runtime keeps beside the receipts."""
        view = RootState(self._state.root(self._root), self._root)
        view.write_entries(self.entries)
        view.write_head(Head(self._root))


def seconds(command: list[str], state: Path) -> float:
    start = time.perf_counter()
    done = subprocess.run([f"{Path(sys.executable).parent}/plan", *command, "--state", str(state)],
                          stdout=subprocess.DEVNULL, check=False)  # fmt: skip
    if done.returncode not in (0, 2):
        raise SystemExit(f"plan {' '.join(command)} ended with {done.returncode}")
    return time.perf_counter() - start


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
        print(f"{options.receipts:,} receipts of {options.nodes:,} nodes")
        print(f"  cold index                {seconds(['why', path], state):10.1f} s", flush=True)
        print(f"  its size                  {(state / 'index.db').stat().st_size / 1e6:10.1f} MB", flush=True)
        rounds: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            writer.write(1)
            for label, command in (
                ("one receipt more", ["why", path]),
                ("bare start of plan", ["completion", "bash"]),
                ("plan why", ["why", path]),
                ("plan blame, 50 paths", ["blame", root + "/srv/package07/d07"]),
                ("plan history PACKAGE", ["history", "package07"]),
                ("plan history", ["history"]),
                ("plan status, no path there", ["status"]),
                ("plan status --scope home", ["status", "--scope", "home"]),
            ):
                rounds.setdefault(label, []).append(seconds(command, state))
        for label, taken in rounds.items():
            print(f"  {label:26}{statistics.median(taken) * 1000:10.0f} ms   least {min(taken) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
