"""All actions together, through the whole runtime: applied, applied again, rolled back."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from requisition.schemas import orderfile
from requisition.stdlib.catalogue import load
from support.archives import link, tar
from support.orders import OrderBuilder
from support.process import request, run_runtime
from support.remotes import Repo
from support.session import ask
from support.trees import build, snapshot
from support.webserver import WebServer, whole

FETCHED = b"fetched\n" * 500
TREE = {
    "etc": {
        "conf": (b"old\n", 0o640),
        "gone": b"g",
        "stale": ("link", "gone"),
        "mode": (b"m", 0o600),
        "text": b"one\n",
        "hosts": b"",
        "app.json": b"{}\n",
    },
    "old": {"a": b"1", "empty": {}, "l": ("link", "a")},
    "move": {"me": b"moved"},
}
CANARY = "canary-4711-geheim"


def every_action(folder: Path, url: str) -> OrderBuilder:
    """An order in which each action that changes the target occurs."""
    order = OrderBuilder(folder / "package", folder / "root")
    digest = hashlib.sha256(FETCHED).hexdigest()
    template = order.input("t", b"{{ text }}, {{ n }}{% include 'p' %}\n")
    part = order.input("p", b"!")
    made = order.node("file.mkdir", path="/srv/app/data", mode=0o2750)
    tool = order.input("tool", b"#!/bin/sh\n" * 90, 0o755)
    order.node("file.copy", source=tool, path="/srv/tool", needs=[made])
    text = order.node("content.literal", text="hello", name="text")
    rendered = order.node(
        "template.render", source=template, includes=[part], path="/srv/t", needs=[made, text],
        data={"text": {"$ref": text, "output": "content"}, "n": 7},
    )  # fmt: skip
    order.node("file.write", content={"$ref": rendered, "output": "content"}, path="/etc/conf", needs=[rendered])
    order.node("file.link", target="conf", path="/etc/stale")
    order.node("file.chmod", path="/etc/mode", mode=0o4711)
    order.node("file.unlink", path="/etc/gone")
    order.node("file.remove", path="/old", recursive=True)
    order.node("file.rename", source="/move/me", path="/move/you")
    saved = order.node("net.download", url=url, sha256=digest, path="/srv/f.txt", mode=0o600, needs=[made])
    order.node("file.backup", path="/srv/f.txt", needs=[saved])
    read = order.node("file.read", path="/srv/f.txt", needs=[saved], name="read")
    order.node("file.write", content={"$ref": read, "output": "content"}, path="/srv/same", needs=[read])
    order.node(
        "archive.extract", source=order.input("z", tar(("d/x", b"X"), link("l", "d/x"))), path="/srv/z", needs=[made]
    )
    order.node("archive.create", tree="/srv/app", path="/srv/app.tar.gz", needs=[made])
    commit = Repo(folder / "remote").commit("a", "one")
    clone = order.node("git.clone", url=str(folder / "remote"), path="/srv/repo", commit=commit, needs=[made])
    moved = order.node("git.checkout", path="/srv/repo", commit=commit, needs=[clone])
    order.node("git.pull", path="/srv/repo", commit=commit, needs=[moved])
    order.node(
        "env.user", name="user", slots={"home": "/move", "variables": {"EDITOR": "vi"}, "shells": ["sh", "fish"]}
    )
    order.node("env.machine", name="machine", slots={"path": ["/srv/bin"], "shells": ["sh", "zsh"]})
    order.node("text.line", path="/etc/text", line="two", below="^one$")
    order.node("text.block", path="/etc/hosts", slots={"name": "demo"}, text="::1 demo")
    order.node("text.set", path="/etc/app.json", key=["port"], value=8080)
    order.node("shell.exec", argv=["touch", "made"], cwd="/", creates="/made", undo=["rm", "made"], phase="verify")
    return order


def test_all_actions_are_applied_once_and_rolled_back_to_the_byte(tmp_path):
    build(tmp_path / "root", TREE)
    before = snapshot(tmp_path / "root")
    with WebServer(whole(FETCHED)) as server:
        builder = every_action(tmp_path, server.url)
        order, state = builder.write(), tmp_path / "state"
        first = run_runtime(request("apply", state, order, on_conflict="overwrite"))
        assert first.status == "done", first.text
        after, fetched = snapshot(tmp_path / "root"), len(server.seen)
        again = run_runtime(request("apply", state, order))
        assert again.status == "done", again.text
        assert set(again.result.summary) == {"unchanged"}
        assert snapshot(tmp_path / "root") == after
        assert len(server.seen) == fetched == 1
    assert after["etc/conf"][3] == after["srv/t"][3] == b"hello, 7!\n"
    assert after["srv/same"][3] == after["srv/f.txt.bak"][3] == FETCHED
    assert {"old", "etc/gone", "move/me"}.isdisjoint(after)
    back = run_runtime(request("rollback", state, first.result.receipt))
    assert back.status == "done", back.text
    assert snapshot(tmp_path / "root") == before


def test_no_action_is_missing_from_that_order(tmp_path):
    used = {node.action for node in every_action(tmp_path, "http://x/").nodes}
    used.add("encryption.decrypt")  # needs a secret: tests/security/test_decrypted_secrets.py
    used |= {"net.http_check", "net.wait_port"}  # change nothing: test_net_through_the_runtime.py
    elsewhere = (
        "cron.",
        "delivery.",
        "flow.",
        "group.",
        "package.",
        "require.",
        "service.",
        "timer.",
        "user.",
    )  # on machines and files of their own
    assert used == {name for name in load() if not name.startswith(elsewhere)}


def test_a_dry_run_of_all_actions_changes_nothing(tmp_path):
    build(tmp_path / "root", TREE)
    before = snapshot(tmp_path / "root")
    with WebServer(whole(FETCHED)) as server:
        order = every_action(tmp_path, server.url).write()
        answer = ask(request("dry-run", tmp_path / "state", order, on_conflict="overwrite"))
        assert answer.status == "changes", answer.text
        assert server.seen == []
    assert snapshot(tmp_path / "root") == before


LATE_FAILURES = {
    "shell.exec": {"argv": ["false"]},
    "net.download": {"url": "file:///nonexistent/file", "sha256": "0" * 64, "path": "/late"},
    "archive.create": {"tree": "/etc/nothing", "path": "/late.zip"},
    "archive.extract": {"archive": "/srv/t", "path": "/late"},
    "file.chmod": {"path": "/etc/nothing", "mode": 0o600},
    "file.read": {"path": "/etc/nothing"},
    "template.render": {"source": "t", "includes": ["p"], "data": {}, "path": "/late"},
}


@pytest.mark.parametrize("action", LATE_FAILURES)
def test_whichever_action_fails_the_tree_is_as_before_and_the_place_is_named(tmp_path, action):
    build(tmp_path / "root", TREE)
    before = snapshot(tmp_path / "root")
    with WebServer(whole(FETCHED)) as server:
        builder = every_action(tmp_path, server.url)
        builder.node(action, phase="late", name="late", **LATE_FAILURES[action])
        answer = ask(request("apply", tmp_path / "state", builder.write(), on_conflict="overwrite"))
    assert answer.status in ("failed", "bad_input")
    assert snapshot(tmp_path / "root") == before
    finding = "\n".join(str(found) for found in answer.result.diagnostics)
    assert f"package.star:{len(builder.nodes)}" in finding
    assert action in finding or "/late" in finding


def test_a_hostile_archive_in_an_order_is_refused_before_the_first_node_runs(tmp_path):
    build(tmp_path / "root", TREE)
    before = snapshot(tmp_path / "root")
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    order.node("file.write", content="x", path="/first")
    order.node("archive.extract", source=order.input("evil.tar", tar(("../x", b"x"))), path="/out")
    answer = ask(request("apply", tmp_path / "state", order.write()))
    assert answer.status == "bad_input", answer.text
    assert "evil.tar: the member '../x' would land outside" in answer.text
    assert not (tmp_path / "state/runs").exists() or not os.listdir(tmp_path / "state/runs")
    assert snapshot(tmp_path / "root") == before


def test_a_secret_reaches_files_and_commands_and_nothing_that_is_kept(tmp_path):
    build(tmp_path / "root", {"token": (b"old " + CANARY.encode(), 0o600)})
    before = snapshot(tmp_path / "root")
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    secret = {"$secret": "token"}
    order.node("file.write", content=secret, path="/token", mode=0o600)
    template = order.input("t", b"token = {{ token }}\n")
    order.node("template.render", source=template, data={"token": secret}, path="/conf", mode=0o600)
    order.node("shell.exec", argv=["sh", "-c", "cat > got"], stdin=secret, undo=["rm", "got"])
    path, state = order.write(), tmp_path / "state"
    asked = request("apply", state, path, secrets={"token": CANARY}, on_conflict="overwrite", diff=True)
    answer = run_runtime(asked)
    assert answer.status == "done", answer.text
    root = tmp_path / "root"
    assert [(root / name).read_text() for name in ("token", "conf", "got")] == [CANARY, f"token = {CANARY}\n", CANARY]
    assert CANARY not in answer.text + answer.stderr + json.dumps(answer.result.data)
    kept = [Path(folder, name) for folder, _, names in os.walk(tmp_path) for name in names if "/root" not in folder]
    assert len(kept) > 5
    assert [file for file in kept if CANARY.encode() in file.read_bytes()] == []
    assert orderfile.read(str(path))
    back = run_runtime(request("rollback", state, answer.result.receipt))
    assert back.status == "done", back.text
    assert snapshot(root) == before


@pytest.mark.parametrize("round_", range(4))
def test_what_was_made_before_a_race_was_lost_is_taken_back_too(tmp_path, round_):
    build(tmp_path / "root", {"a.tar": tar(("x", b"one"), mode="w")})
    before = snapshot(tmp_path / "root")
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    order.node("file.copy", source=order.input("z", tar(("x", b"two"), mode="w")), path="/a.tar")
    order.node("archive.extract", archive="/a.tar", path="/out")  # unordered: may lose /a.tar half-way
    order.node("shell.exec", argv=["false"], phase="late")
    answer = ask(request("apply", tmp_path / "state", order.write(), on_conflict="overwrite"))
    assert answer.status == "failed"
    assert snapshot(tmp_path / "root") == before
