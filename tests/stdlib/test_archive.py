import io
import os
import tarfile
import zipfile

import pytest

from requisition.stdlib.action import ActionError, Satisfied
from requisition.stdlib.providers.archive import Extract
from support.hosts import Bench
from support.trees import snapshot


def tar(members, mode="w:gz"):
    """Members are (name, content | dict of TarInfo fields)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, dict):
                for key, value in content.items():
                    setattr(info, key, value)
                archive.addfile(info)
            else:
                info.size, info.mode = len(content), 0o755
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zipped(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def zip_link(name, target):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = 0o120777 << 16
        archive.writestr(info, target)
    return out.getvalue()


GOOD = [("top/", {"type": tarfile.DIRTYPE, "mode": 0o755}), ("top/a", b"A"), ("top/b/c", b"C"),
        ("top/l", {"type": tarfile.SYMTYPE, "linkname": "b/c"}), ("top/h", {"type": tarfile.LNKTYPE, "linkname": "top/a"})]  # fmt: skip


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_is_extracted_once_and_undone_exactly(tmp_path, mode):
    bench = Bench(tmp_path, {"a.tar": tar(GOOD, mode)})
    before = snapshot(bench.root)
    change = bench.do(Extract(), source="a.tar", path="/out", strip=1)
    assert (bench.root / "out/b/c").read_bytes() == b"C"
    assert os.readlink(bench.root / "out/l") == "b/c"
    assert (bench.root / "out/h").read_bytes() == b"A"
    assert isinstance(bench.observe(Extract(), source="a.tar", path="/out", strip=1), Satisfied)
    bench.undo(Extract(), change)
    assert snapshot(bench.root) == before


def test_a_zstd_tar_and_a_zip_are_extracted(tmp_path):
    import zstandard

    packed = zstandard.ZstdCompressor().compress(tar(GOOD, "w"))
    bench = Bench(tmp_path, {"a.tar.zst": packed, "a.zip": zipped([("d/", b""), ("d/x", b"X")])})
    bench.do(Extract(), source="a.tar.zst", path="/one")
    bench.do(Extract(), source="a.zip", path="/two")
    assert (bench.root / "one/top/a").read_bytes() == b"A"
    assert (bench.root / "two/d/x").read_bytes() == b"X"


HOSTILE = {
    "parent": tar([("../x", b"")]),
    "inner parent": tar([("a/../../x", b"")]),
    "absolute": tar([("/x", b"")]),
    "backslash": tar([("..\\x", b"")]),
    "link out": tar([("l", {"type": tarfile.SYMTYPE, "linkname": "../../x"})]),
    "absolute link": tar([("l", {"type": tarfile.SYMTYPE, "linkname": "/etc"})]),
    "behind a link": tar([("l", {"type": tarfile.SYMTYPE, "linkname": "d"}), ("l/x", b"")]),
    "over a link": tar([("l", {"type": tarfile.SYMTYPE, "linkname": "d"}), ("l", b"x")]),
    "hard link out": tar([("h", {"type": tarfile.LNKTYPE, "linkname": "../x"})]),
    "hard link to nothing": tar([("h", {"type": tarfile.LNKTYPE, "linkname": "x"})]),
    "device": tar([("d", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5})]),
    "pipe": tar([("p", {"type": tarfile.FIFOTYPE})]),
    "long name": tar([("a" * 300, b"")]),
    "deep name": tar([("a/" * 2500 + "x", b"")]),
    "bomb": tar([("x", b"\0" * (128 << 20))], "w:xz"),
    "cut short": tar([("x", os.urandom(5000))])[:-2000],
    "not an archive": b"hello" * 200,
    "empty": b"",
    "zip parent": zipped([("../x", b"")]),
    "zip link out": zip_link("l", "../../etc"),
    "zip absolute": zipped([("/x", b"")]),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_archive_is_refused_before_anything_is_written(tmp_path, name):
    bench = Bench(tmp_path, {"a": HOSTILE[name]})
    with pytest.raises(ActionError) as refused:
        bench.observe(Extract(), source="a", path="/out")
    assert "a" in str(refused.value)
    assert not list(bench.root.iterdir())
    assert not (tmp_path / "x").exists()
