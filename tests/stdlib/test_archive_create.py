"""Archives that are made: read by the real tools, the same bytes for the same files, and behind their folder told."""

import gzip
import hashlib
import io
import os
import shutil
import stat
import subprocess
import tarfile
import time
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from requisition.stdlib.action import ActionError, Raced, Satisfied
from requisition.stdlib.providers.archive import Extract
from requisition.stdlib.providers.archive_create import Create
from requisition.stdlib.providers.archive_packing import Packed, form_of
from support.hosts import Bench
from support.orders import OrderBuilder
from support.packages import installed
from support.process import request
from support.session import ask
from support.trees import build, snapshot

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".zip")
LONG = "n" * 120
TREE = {
    "data": {
        "b": {"deep": {LONG: b"long\n" * 300, "ünï": b"u"}, "empty": {}},
        "a": b"A" * 70_000,
        "run": (b"#!/bin/sh\n", 0o4750),
        "link": ("link", "b/deep"),
        "-rf": b"",
        "x.pyc": b"compiled",
    },
}
TOOLS = {
    ".tar": ("tar", "-xf"),
    ".tar.gz": ("tar", "-xzf"),
    ".tgz": ("tar", "-xzf"),
    ".tar.zst": ("tar", "--zstd", "-xf"),
    ".zip": ("unzip", "-q"),
}
CHECKS = {".tar.gz": ("gzip", "-t"), ".tgz": ("gzip", "-t"), ".tar.zst": ("zstd", "-qt"), ".zip": ("unzip", "-tqq")}


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    build(made.root, TREE)
    return made


def packed(bench, suffix, **slots):
    bench.do(Create(), tree="/data", path=f"/out{suffix}", **slots)
    return (bench.root / f"out{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_real_tool_unpacks_what_was_packed(bench, tmp_path, suffix):
    tool, *flags = TOOLS[suffix]
    missing = [name for name in (tool, *CHECKS.get(suffix, ())[:1], "zstd") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    packed(bench, suffix, exclude=["*.pyc"])
    archive, out = bench.root / f"out{suffix}", tmp_path / "out"
    out.mkdir()
    if suffix in CHECKS:
        subprocess.run([*CHECKS[suffix], archive], check=True)
    subprocess.run([tool, *flags, archive], cwd=out, check=True, umask=0)
    wanted = snapshot(bench.root / "data", times=False)
    del wanted["x.pyc"]
    found = snapshot(out, times=False)
    assert {path: state[3:] for path, state in found.items()} == {path: state[3:] for path, state in wanted.items()}
    assert stat.S_IMODE((out / "run").stat().st_mode) == 0o755
    assert stat.S_IMODE((out / "a").stat().st_mode) == 0o644
    assert os.readlink(out / "link") == "b/deep"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_second_apply_writes_nothing_and_a_rollback_gives_the_old_archive_back(bench, suffix):
    (bench.root / f"out{suffix}").write_bytes(b"of before")
    before = snapshot(bench.root)
    slots = {"tree": "/data", "path": f"/out{suffix}"}
    change = bench.do(Create(), **slots)
    assert isinstance(bench.observe(Create(), **slots), Satisfied)
    bench.undo(Create(), change)
    assert snapshot(bench.root) == before


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_owners_times_modes_and_the_order_on_disk_do_not_show(tmp_path, suffix):
    results = []
    for number, names in enumerate((["a", "b", "c"], ["c", "b", "a"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        bench = Bench(folder)
        (bench.root / "data").mkdir(mode=0o700 + number)
        for name in names:
            path = bench.root / "data" / name
            path.write_bytes(name.encode())
            path.chmod(0o600 + number * 0o044)
            os.utime(path, (number * 10**9, number * 10**9))
            if os.geteuid() == 0:
                os.chown(path, number, number)
        results.append(packed(bench, suffix))
    assert results[0] == results[1]


def test_nothing_of_this_machine_is_in_the_bytes(bench, monkeypatch):
    first = {suffix: packed(bench, suffix) for suffix in SUFFIXES}
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    monkeypatch.setattr("sys.platform", "win32")
    try:
        for suffix in SUFFIXES:
            (bench.root / f"out{suffix}").unlink()
            assert packed(bench, suffix) == first[suffix]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert first[".tar.gz"][:10] == bytes.fromhex("1f8b08000000000000ff")
    assert gzip.decompress(first[".tar.gz"]) == first[".tar"]


MEMBERS = (Packed("d", "dir"), Packed("d/é", "file", b"x" * 600), Packed("l", "link", b"d"))
GOLDEN = {
    ".tar": "a1cc6b1c",
    ".zip": "41bb3c92",
}


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_the_bytes_of_an_archive_are_what_they_always_were(suffix):
    mtime = 1_700_000_000
    members = MEMBERS if suffix == ".tar" else MEMBERS[::2]  # in a zip those in which zlib has no part
    content = b"".join(form_of(suffix)(members, mtime))
    assert hashlib.sha256(content).hexdigest()[:8] == GOLDEN[suffix]


def test_a_prefix_stands_before_every_name_and_the_time_is_the_one_asked_for(bench):
    content = packed(bench, ".tar", prefix="app-1.0/", mtime=1_700_000_000, exclude=["b/deep", "-rf"])
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = archive.getmembers()
    assert [one.name for one in members] == [
        f"app-1.0{name}" for name in ("", "/a", "/b", "/b/empty", "/link", "/run", "/x.pyc")
    ]
    assert {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in members} == {(1_700_000_000, 0, 0, "", "")}


def test_a_zip_tells_sizes_in_front_of_each_member(bench):
    with zipfile.ZipFile(io.BytesIO(packed(bench, ".zip"))) as archive:
        assert archive.testzip() is None
        assert all(not one.flag_bits & 0x08 for one in archive.infolist())


def test_what_is_created_can_be_extracted_again(bench):
    for suffix in SUFFIXES:
        packed(bench, suffix)
        bench.do(Extract(), archive=f"/out{suffix}", path=f"/again{suffix}")
        again = snapshot(bench.root / f"again{suffix}", times=False)
        data = snapshot(bench.root / "data", times=False)
        assert {path: state[3:] for path, state in again.items()} == {path: state[3:] for path, state in data.items()}


REFUSED = {
    "a name without a form": ({"path": "/out.rar"}, "names no form of archive"),
    "itself inside": ({"path": "/data/out.tar"}, "would hold itself"),
    "no folder": ({"tree": "/data/a"}, "is no folder"),
    "nothing there": ({"tree": "/nothing"}, "does not exist"),
    "a name that climbs": ({"prefix": "../x"}, "cannot begin a name"),
    "a time before zip": ({"path": "/out.zip", "mtime": 0}, "cannot hold the time 0"),
    "a time before all": ({"mtime": -1}, "cannot hold the time -1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_packed_says_why(bench, case):
    slots, words = REFUSED[case]
    with pytest.raises(ActionError, match=words):
        bench.observe(Create(), **({"tree": "/data", "path": "/out.tar"} | slots))


def test_pipes_and_names_that_are_no_text_are_refused_and_can_be_left_out(bench):
    os.mkfifo(bench.root / "data/pipe")
    with pytest.raises(ActionError, match="/data/pipe is a device, socket or pipe"):
        packed(bench, ".tar")
    (bench.root / "data/pipe").unlink()
    (bench.root / os.fsdecode(b"data/\xff")).write_bytes(b"")
    with pytest.raises(ActionError, match="is not UTF-8 text"):
        packed(bench, ".zip")
    packed(bench, ".tar", exclude=[os.fsdecode(b"\xff")])


def test_a_folder_that_changes_after_it_was_looked_at_is_looked_at_again(bench):
    slots = Create.slots(tree="/data", path="/out.tar")
    change = Create().observe(bench.host, slots)
    (bench.root / "data/a").write_bytes(b"other")
    with pytest.raises(Raced, match=r"/out\.tar"):
        Create().do(bench.host, slots, change)
    assert not (bench.root / "out.tar").exists()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text("aé/", min_size=1), st.binary(max_size=2000)), max_size=5), st.sampled_from(SUFFIXES))
def test_a_stream_is_the_same_for_the_same_members(members, suffix):
    packing = [Packed(f"{number}{name.strip('/')}", "file", data) for number, (name, data) in enumerate(members)]
    first = b"".join(form_of(suffix)(packing, 10**9))
    assert b"".join(form_of(suffix)(iter(packing), 10**9)) == first


def place(tmp_path):
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    build(tmp_path / "root", TREE)
    order.node("archive.create", tree="/data", path="/out.tar.gz", exclude=["*.pyc"])
    return order.write(), tmp_path / "state"


def test_an_archive_that_is_behind_its_folder_is_drift_and_made_again(tmp_path):
    path, state = place(tmp_path)
    first = ask(request("apply", state, path))
    assert first.status == "done", first.text
    assert set(ask(request("apply", state, path)).result.summary) == {"unchanged"}
    (tmp_path / "root/data/new.pyc").write_bytes(b"left out")
    assert ask(request("status", state, target_root=str(tmp_path / "root"))).status == "done"
    (tmp_path / "root/data/new").write_bytes(b"goes in")
    drift = ask(request("status", state, target_root=str(tmp_path / "root")))
    assert "archive:/out.tar.gz /data '*.pyc': was " in drift.text
    assert ask(request("apply", state, path)).result.summary == {"done": 1}
    assert ask(request("status", state, target_root=str(tmp_path / "root"))).status == "done"
    shutil.rmtree(tmp_path / "root/data")
    assert "is missing" in ask(request("status", state, target_root=str(tmp_path / "root"))).text


def test_a_file_with_a_secret_is_not_given_away(tmp_path):
    build(tmp_path / "root", {"data": {}})
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    token = order.node("file.write", content={"$secret": "token"}, path="/data/token")
    order.node("archive.create", tree="/data", path="/out.tar", needs=[token])
    answer = ask(request("apply", tmp_path / "state", order.write(), secrets={"token": "geheim"}))
    assert answer.status == "failed"
    assert "/data/token holds a secret" in answer.text
    assert os.listdir(tmp_path / "root/data") == []


def test_what_calls_before_put_below_the_folder_goes_in(tmp_path):
    nodes = installed(
        tmp_path,
        """plan.file.write("x", "/data/x")
plan.archive.create("/data", "/out.zip", exclude = ["*.pyc"])
plan.file.write("y", "/data/y")""",
    )
    first, made, later = nodes.values()
    assert made.needs == (first.id,)
    assert later.needs == (made.id,)
