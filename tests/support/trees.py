"""A whole tree as a value, to compare before and after: bytes, modes, owners, link targets, file times."""

import os
from pathlib import Path


def snapshot(root: Path, *, times: bool = True) -> dict[str, tuple]:
    """Every path below a folder. Times of directories are left out: they change with what is in them."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = os.path.join(directory, name)
            info = os.lstat(path)
            key = os.path.relpath(path, root)
            owner = (info.st_mode, info.st_uid, info.st_gid)
            if os.path.islink(path):
                found[key] = (*owner, os.readlink(path))
            elif os.path.isdir(path):
                found[key] = owner
            else:
                content = Path(path).read_bytes()
                found[key] = (*owner, content, info.st_mtime_ns if times else 0)
    return found


def build(root: Path, shape: dict) -> None:
    """Make a tree of {name: bytes | dict | ("link", target) | (bytes, mode)}."""
    root.mkdir(exist_ok=True, parents=True)
    for name, value in shape.items():
        path = root / name
        if isinstance(value, dict):
            build(path, value)
        elif isinstance(value, bytes):
            path.write_bytes(value)
        elif value[0] == "link":
            path.symlink_to(value[1])
        else:
            path.write_bytes(value[0])
            path.chmod(value[1])
