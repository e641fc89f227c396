"""Past runs, as lists need them."""

import os

from requisition.runtime.layout import StateDir
from requisition.runtime.run import RunInfo, read_info


def runs(state_dir: str) -> list[RunInfo]:
    """All runs, oldest first. Makes no state directory where there is none."""
    if not os.path.isdir(state_dir):
        return []
    state = StateDir(state_dir)
    return [info for name in state.run_ids() if (info := read_info(state.run(name))) is not None]
