"""Writes the golden files of both forms: `python -m support.golden` with `tests` as working directory."""

import os

from requisition.schemas import orderfile
from support.sealed import signed

FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "schemas", "golden")


def write(folder: str) -> list[str]:
    """Write every golden file into a folder; their names."""
    names = ["order.yaml", "order.plan"]
    for name in names:
        orderfile.write(os.path.join(folder, name), signed("alice", "bob"))
    return names


if __name__ == "__main__":
    write(FOLDER)
