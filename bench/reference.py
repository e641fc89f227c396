"""(a) The hand-written loop that the executor is compared with: what a careful engineer writes for one job.

Preflight (inputs read and verified, targets looked at), a group-committed journal of intents, temporary
name + rename for every file, one syncfs at the end. It knows its four kinds of item and nothing else: no
order, no signatures, no undo of replaced files, no receipt, no confinement.

    python bench/reference.py PACKAGE TARGET COUNT
"""

import ctypes
import hashlib
import json
import os
import sys
from pathlib import Path

from jinja2.sandbox import ImmutableSandboxedEnvironment
from workload import TEMPLATE, items, template_data

GROUP = 256


def pin(package: str, count: int) -> None:
    """The digests that an order would pin; made beforehand, as an order is."""
    pins = {
        item.source: hashlib.sha256(Path(package, item.source).read_bytes()).hexdigest()
        for item in items(count)
        if item.kind == "copy"
    }
    Path(package, "pins.json").write_text(json.dumps(pins))


def main(package: str, target: str, count: int) -> None:
    os.umask(0)
    work = items(count)
    template = ImmutableSandboxedEnvironment(keep_trailing_newline=True).from_string(TEMPLATE)
    pins = json.loads(Path(package, "pins.json").read_text())
    ready = []
    for item in work:
        data = b""
        if item.kind == "copy":
            data = Path(package, item.source).read_bytes()
            if hashlib.sha256(data).hexdigest() != pins[item.source]:
                raise SystemExit(f"{item.source} changed")
        elif item.kind == "template":
            data = template.render(template_data(item.path)).encode()
        if os.path.lexists(target + item.path):
            raise SystemExit(f"{item.path} is in the way")
        ready.append((item, data))
    journal = os.open(f"{target}.journal", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for start in range(0, len(ready), GROUP):
        group = ready[start : start + GROUP]
        lines = "".join(json.dumps({"path": item.path, "prior": None}) + "\n" for item, _ in group)
        os.write(journal, lines.encode())
        os.fdatasync(journal)
        for item, data in group:
            path = target + item.path
            if item.kind == "dir":
                os.mkdir(path, 0o755)
            elif item.kind == "link":
                os.symlink(item.source, path)
            else:
                fd = os.open(path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
                os.write(fd, data)
                os.close(fd)
                os.rename(path + ".tmp", path)
    root = os.open(target, os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).syncfs(root):
        raise SystemExit("syncfs failed")
    os.write(journal, b'{"done": true}\n')
    os.fdatasync(journal)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
