"""What the runtime asks of the kernel: nothing in a dry run, nothing the second time, never by a full path."""

import re
import shutil

import pytest

from support.faults import MUTATING, available
from support.orders import OrderBuilder
from support.process import request, run_runtime
from support.small_order import fresh
from support.trees import build, snapshot

pytestmark = pytest.mark.skipif(bool(available()), reason=available() or "strace")
PATHS = "%file,%desc"


def traced(asked, log, what=MUTATING):
    """(answer, the calls, a line each)."""
    answer = run_runtime(asked, "strace", "-f", "-y", "-qq", "-s", "4096", "-e", f"trace={what}", "-o", str(log))
    lines = log.read_text(errors="replace").splitlines()
    assert lines
    return answer, lines


def changes_below(lines, folder):
    """The calls that would change something at or below a folder."""
    found = []
    for line in lines:
        call = re.match(r"\d+ +(\w+)\(", line)
        if call is None or (call[1] == "openat" and not re.search(r"O_(CREAT|WRONLY|RDWR|TRUNC)", line)):
            continue
        if re.search(f'[<"]{re.escape(str(folder))}[/>"]', line):
            found.append(line)
    return found


def test_a_dry_run_asks_for_no_change_of_the_target_and_keeps_only_a_lock(tmp_path):
    order, state = fresh(tmp_path / "work")
    root = tmp_path / "work" / "root"
    before = snapshot(root)
    asked = request("dry-run", state, order, on_conflict="overwrite", diff=True)
    answer, lines = traced(asked, tmp_path / "log")
    assert answer.status == "changes", answer.text
    assert changes_below(lines, root) == []
    written = [line for line in changes_below(lines, state) if "mkdir" not in line and "/lock" not in line]
    assert written == []
    assert snapshot(root) == before


def test_a_dry_run_starts_no_command_and_fetches_nothing(tmp_path):
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    build(tmp_path / "root", {"a": b"1"})
    mark = tmp_path / "mark"
    order.node("shell.exec", argv=["/bin/touch", str(mark)])
    order.node("net.download", url="http://127.0.0.1:9/x", path="/x", sha256="ab" * 32, phase="fetch")
    asked = request("dry-run", tmp_path / "state", order.write())
    answer, lines = traced(asked, tmp_path / "log", "execve,connect,fork,vfork,clone")
    assert answer.status == "changes", answer.text
    assert not mark.exists()
    assert [line for line in lines if "execve(" in line] == lines[:1], "the runtime itself, and nothing else"
    assert [line for line in lines if "connect(" in line] == []


def test_a_second_apply_asks_for_no_change_of_the_target(tmp_path):
    folder, root = tmp_path / "package", tmp_path / "root"
    order = OrderBuilder(folder, root)
    root.mkdir()
    source = order.input("data", b"data")
    made = order.node("file.mkdir", path="/d", mode=0o750)
    order.node("file.copy", source=source, path="/d/c", needs=[made])
    order.node("file.write", content="x", path="/d/w", mode=0o600, needs=[made])
    order.node("file.link", target="c", path="/d/l", needs=[made])
    order.node("template.render", source=order.input("t", b"{{ a }}"), data={"a": 1}, path="/d/t", needs=[made])
    order.node("file.remove", path="/none", recursive=True)
    path = order.write()
    assert run_runtime(request("apply", tmp_path / "state", path)).status == "done"
    before = snapshot(root)
    answer, lines = traced(request("apply", tmp_path / "state", path), tmp_path / "log")
    assert answer.status == "done"
    assert set(answer.result.summary) == {"unchanged"}
    assert changes_below(lines, root) == []
    assert snapshot(root) == before


@pytest.mark.parametrize("verb", ["apply", "rollback"])
def test_below_the_target_root_nothing_is_named_by_its_full_path(tmp_path, verb):
    order, state = fresh(tmp_path / "work")
    root = tmp_path / "work" / "root"
    asked = request("apply", state, order, on_conflict="overwrite")
    if verb == "rollback":
        assert run_runtime(asked).status == "done"
        asked = request("rollback", state)
    answer, lines = traced(asked, tmp_path / "log", PATHS)
    assert answer.status == "done", answer.text
    by_descriptor = [line for line in lines if f"<{root}" in line]
    assert len(by_descriptor) > 20
    assert [line for line in lines if re.search(f'"{re.escape(str(root))}/', line)] == []
    shutil.rmtree(tmp_path / "work")
