"""Which receipts a state directory holds: one look at each file, nothing read."""

import os

Key = tuple[str, str]
"""The far machine whose receipts these are (empty: this one), and the run's id."""

_FIRST, _ROLLBACK = "receipt.plan", "rollback.plan"


def inventory(state_dir: str) -> dict[Key, str]:
    """By run, a stamp that is another one whenever a receipt of it is: size, ctime (which cannot be set) and inode."""
    return {**_own(f"{state_dir}/runs"), **_far(f"{state_dir}/hosts")}


def receipt_paths(state_dir: str, key: Key) -> tuple[str, str]:
    """Where a run's receipt lies, and that of its rollback; they need not be there."""
    host, run = key
    if host:
        return f"{state_dir}/hosts/{host}/{run}.plan", f"{state_dir}/hosts/{host}/{run}.rollback.plan"
    return f"{state_dir}/runs/{run}/{_FIRST}", f"{state_dir}/runs/{run}/{_ROLLBACK}"


def standing_receipt(state_dir: str, key: Key) -> str:
    """The last receipt of a run: that of its rollback, where there is one."""
    first, rollback = receipt_paths(state_dir, key)
    return rollback if os.path.exists(rollback) else first


def _own(folder: str) -> dict[Key, str]:
    try:
        names = os.listdir(folder)
        above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found: dict[Key, str] = {}
    try:
        for name in names:
            stamp = _stamp(f"{name}/{_FIRST}", above)
            # access(2) before lstat(2): most runs were never taken back, and an exception costs more than the call
            if os.access(f"{name}/{_ROLLBACK}", os.F_OK, dir_fd=above):
                stamp += "+" + _stamp(f"{name}/{_ROLLBACK}", above)
            if stamp:
                found["", _printable(name)] = stamp
    finally:
        os.close(above)
    return found


def _far(folder: str) -> dict[Key, str]:
    found: dict[Key, str] = {}
    for host in _names(folder):
        for name in sorted(_names(f"{folder}/{host}")):
            run, ending = name.removesuffix(".plan"), name.endswith(".plan")
            if name.startswith(".") or not ending:
                continue
            key = _printable(host), _printable(run.removesuffix(".rollback"))
            stamp = _stamp(f"{folder}/{host}/{name}", None)
            found[key] = found.get(key, "") + ("+" if run.endswith(".rollback") else "") + stamp
    return found


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _stamp(path: str, above: int | None) -> str:
    try:
        info = os.lstat(path, dir_fd=above)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return f"{info.st_size}.{info.st_ctime_ns}.{info.st_ino}"


def _printable(name: str) -> str:
    """A name that can be stored and shown. One that had to be changed leads to no file, and is told of as such."""
    return name if name.isprintable() else ascii(name)[1:-1]
