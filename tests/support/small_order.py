"""An order of every file action, small enough to try a fault at each of its system calls."""

import io
import os
import shutil
import tarfile
from pathlib import Path

from support.orders import OrderBuilder
from support.trees import build

OWNER = {"owner": "daemon", "group": "daemon"} if os.geteuid() == 0 else {}
LONG_AGO = 1_600_000_000_123_456_789
"""Every file's time at the start, in nanoseconds: the same in each fresh tree."""


def tar_bytes() -> bytes:
    """Three directories, five files and a link."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("x", "x/y", "x/z"):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        for number in range(5):
            member = tarfile.TarInfo(f"x/y/f{number}")
            member.size, member.mode = 9, 0o640
            archive.addfile(member, io.BytesIO(b"member %d\n" % number))
        member = tarfile.TarInfo("x/l")
        member.type, member.linkname = tarfile.SYMTYPE, "y/f0"
        archive.addfile(member)
    return stream.getvalue()


def small_order(folder: Path, times: int = 1) -> Path:
    """`times` × 14 nodes in three phases, over a tree that is not empty."""
    root = folder / "root"
    order = OrderBuilder(folder / "package", root)
    template = order.input("t.tmpl", b"port = {{ port }}\n")
    source = order.input("data", b"data " * 100)
    archive = order.input("a.tar", tar_bytes())
    root.mkdir(parents=True)
    for number in range(times):
        at = f"/{number}"
        build(
            root / str(number),
            {
                "old": (b"old\n", 0o640),
                "meta": (b"meta\n", 0o600),
                "keep": b"keep\n",
                "link": ("link", "old"),
                "unlink": b"u\n",
                "from": b"moved\n",
                "gone": {"a": b"1\n", "d": {"b": (b"2\n", 0o4755)}, "l": ("link", "a")},
            },
        )
        made = order.node("file.mkdir", path=f"{at}/new", mode=0o2750, **OWNER)
        deep = order.node("file.mkdir", path=f"{at}/p/q/r", parents=True)
        order.node("file.copy", source=source, path=f"{at}/new/data", mode=0o4755, needs=[made], **OWNER)
        order.node("template.render", source=template, data={"port": 1}, path=f"{at}/p/q/r/t", needs=[deep])
        order.node("file.link", target="data", path=f"{at}/new/link", needs=[made])
        order.node("file.link", target="data", path=f"{at}/new/owned", needs=[made], **OWNER)
        order.node("archive.extract", source=archive, path=f"{at}/out", phase="unpack")
        order.node("file.write", content="new\n", path=f"{at}/old", mode=0o600, phase="provision")
        order.node("file.chmod", path=f"{at}/meta", mode=0o755, phase="provision", **OWNER)
        order.node("file.backup", path=f"{at}/keep", phase="provision")
        order.node("file.link", target="keep", path=f"{at}/link", phase="provision")
        order.node("file.unlink", path=f"{at}/unlink", phase="provision")
        order.node("file.rename", source=f"{at}/from", path=f"{at}/to", phase="provision")
        order.node("file.remove", path=f"{at}/gone", recursive=True, phase="provision")
    for directory, _, names in os.walk(root):
        for name in names:
            os.utime(os.path.join(directory, name), ns=(LONG_AGO, LONG_AGO), follow_symlinks=False)
    return order.write()


def fresh(folder: Path, times: int = 1) -> tuple[Path, Path]:
    """(order, state directory) of a new start in the same place."""
    shutil.rmtree(folder, ignore_errors=True)
    return small_order(folder, times), folder / "state"
