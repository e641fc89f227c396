"""Past runs: the list of them, and the receipt of one."""

import os

import msgspec

from requisition.runtime.frames import Request, Result
from requisition.runtime.layout import StateDir
from requisition.runtime.runinfo import RunInfo, read_info
from requisition.runtime.state import Head
from requisition.schemas.diagnostic import BadInput


def runs(state_dir: str) -> list[RunInfo]:
    """All runs, oldest first. Makes no state directory where there is none."""
    if not os.path.isdir(state_dir):
        return []
    state = StateDir(state_dir)
    return [info for name in state.run_ids() if (info := read_info(state.run(name))) is not None]


def target_roots(state_dir: str) -> list[str]:
    """Every target root that a run began to change. Reads no run: each root has a head of its own."""
    try:
        names = os.listdir(f"{state_dir}/roots")
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            with open(f"{state_dir}/roots/{name}/head.json", "rb") as file:
                found.append(msgspec.json.decode(file.read(), type=Head).target_root)
        except FileNotFoundError:
            continue  # a directory without a head: the run was refused before it began
        except ValueError as error:
            where = f"{state_dir}/roots/{name}/head.json"
            raise BadInput.of("the head of the state view is damaged", where=where, why=str(error)) from error
    return sorted(found)


def receipt_path(state_dir: str, run: str) -> str:
    """The last receipt of a run. Raises BadInput when there is none."""
    if "/" in run or run.startswith("."):
        raise BadInput.of("there is no such receipt", where=run, next="plan receipts lists all runs")
    directory = StateDir(state_dir).run(run)
    for name in ("rollback.plan", "receipt.plan"):
        if os.path.exists(f"{directory}/{name}"):
            return f"{directory}/{name}"
    raise BadInput.of(f"there is no receipt of a run {run!r}", next="plan receipts lists all runs")


def answer(request: Request) -> Result:
    """The verbs `runs` and `receipt`."""
    if request.verb == "runs":
        return Result(status="done", data={"runs": msgspec.to_builtins(runs(request.state_dir))})
    path = receipt_path(request.state_dir, request.run_id)
    return Result(status="done", run_id=request.run_id, receipt=path)
