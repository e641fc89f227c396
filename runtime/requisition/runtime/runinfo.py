"""What lies in the directory of a run: its line in lists, its order, its receipt."""

import os
from typing import Literal

import msgspec
from msgspec import Struct

from requisition.schemas.diagnostic import BadInput


class RunInfo(Struct, frozen=True, omit_defaults=True):
    """`run.json`: one line about a run, for lists; the receipt is the truth."""

    run_id: str
    verb: str
    package: str
    order: str
    order_checksum: str
    target_root: str
    source_root: str
    started: str
    state: str = "running"
    finished: str = ""
    outcome: str = ""
    receipt: str = ""
    summary: dict[str, int] = {}
    elevate: Literal["", "sudo"] = ""


def run_order(directory: str) -> str | None:
    """Path of the order file in a run's directory, None when the run changed nothing."""
    return next((f"{directory}/{name}" for name in os.listdir(directory) if name.startswith("order.")), None)


def standing_receipt(directory: str) -> str:
    """The receipt that says what a run left: its last one, since packages of a tree may have been taken back. Empty
    when there is none."""
    for name in ("rollback.plan", "receipt.plan"):
        if os.path.exists(path := f"{directory}/{name}"):
            return path
    return ""


def read_info(directory: str) -> RunInfo | None:
    """`run.json` of a run, None when it was cut off before that was written."""
    try:
        with open(f"{directory}/run.json", "rb") as file:
            return msgspec.json.decode(file.read(), type=RunInfo)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BadInput.of("run.json is damaged", where=f"{directory}/run.json", why=str(error)) from error
