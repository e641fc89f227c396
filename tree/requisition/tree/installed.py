"""`.plan/installed.json`: what of a tree is installed on this machine, by package path.

Beside `plan.lock`, not in it: a pin is reviewed and shared, an installation is this machine's.
"""

import os
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from requisition.runtime.layout import write_durably
from requisition.schemas.diagnostic import BadInput
from requisition.tree import local

MAX_BYTES = 64 << 20


class Installed(Struct, frozen=True, forbid_unknown_fields=True):
    """One package: the commit and the hash of the content that were installed, the receipt that tells of it."""

    commit: str = ""
    hash: str = ""
    receipt: str = ""


_decoder = msgspec.json.Decoder(dict[str, Installed])


def installed_path(root: str) -> str:
    """Where the file of a tree lies."""
    return local.path(root, "installed.json")


def read(root: str) -> dict[str, Installed]:
    """What is installed, nothing when there is no file. Raises BadInput."""
    path = installed_path(root)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if len(data) > MAX_BYTES:
        raise _unreadable(path, f"it is larger than {MAX_BYTES >> 20} MiB")
    try:
        return _decoder.decode(data)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error


def write(root: str, packages: Mapping[str, Installed]) -> None:
    """Replace the file, durably and sorted by path. What it says already is not written again."""
    inner = {path: packages[path] for path in sorted(packages)}
    data = msgspec.json.format(msgspec.json.encode(inner), indent=1) + b"\n"
    path = installed_path(root)
    local.make(root)
    try:
        with open(path, "rb") as file:
            if file.read(len(data) + 1) == data:
                return
    except FileNotFoundError:
        pass
    write_durably(path, data, 0o644)


def _unreadable(path: str, why: str) -> BadInput:
    return BadInput.of(
        "what is installed cannot be read",
        where=path,
        why=why,
        next="move the file away: the next sync looks at every package anew",
    )
