"""Frames, files and graphs made to break the runtime: each ends in plain words, with nothing changed."""

import os
import struct
import subprocess

import msgspec
import pytest

from requisition.runtime.frames import FRAME_VERSION, Request
from requisition.schemas.document import Node, Phase
from support.orders import OrderBuilder
from support.process import command, encoded, parse, request
from support.session import ask
from support.trees import build, snapshot

# frames ------------------------------------------------------------------------------------------


def frame(body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">I", len(body) if length is None else length) + body


def packed(**fields) -> bytes:
    return frame(
        msgspec.msgpack.encode({"version": FRAME_VERSION, "verb": "status", "state_dir": "/nonexistent"} | fields)
    )


FRAMES = {
    "nothing": (b"", "no request"),
    "half a length": (b"\0\0", "torn"),
    "a giant length": (b"\xff\xff\xff\xff", "limit"),
    "a length beyond what comes": (frame(b"\x80", 1 << 27), "ends after"),
    "an empty body": (frame(b""), "not a request"),
    "not MessagePack": (frame(b"\xc1" * 9), "not a request"),
    "a list of four billion": (frame(b"\xdd\xff\xff\xff\xff"), "not a request"),
    "a map of four billion": (frame(b"\xdf\xff\xff\xff\xff"), "not a request"),
    "a text of four gigabytes": (frame(b"\x81\xa4verb\xdb\xff\xff\xff\xff"), "not a request"),
    "lists nested without end": (frame(b"\x81\xa7secrets" + b"\x91" * 1_000_000), "not a request"),
    "an unknown field": (packed(sudo=True), "not a request"),
    "an unknown verb": (packed(verb="exec"), "not a request"),
    "another version": (packed(version=3), "protocol version 3"),
    "the version before": (packed(version=1), "protocol version 1"),
    "no version": (frame(b"\x81\xa4verb\xa6status"), "protocol version 1"),
    "a number for a path": (packed(state_dir=7), "not a request"),
    "bytes that are no text": (frame(b"\x82\xa7version\x02\xa9state_dir\xa2\xff\xfe"), "not a request"),
    "an event": (
        frame(msgspec.msgpack.encode({"version": FRAME_VERSION, "type": "event", "kind": "log"})),
        "not a request",
    ),
    "one byte more": (frame(msgspec.msgpack.encode({"verb": "status", "state_dir": "/x"}) + b"\0"), "not a request"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_hostile_frame_is_told_what_is_wrong_with_it(name):
    data, words = FRAMES[name]
    done = subprocess.run(command(), input=data, capture_output=True, timeout=60, check=False)
    answer = parse(done.stdout, done.returncode, done.stderr)
    assert answer.status == "bad_input", answer.stderr
    assert answer.code == 4
    assert words in answer.text
    assert answer.stderr == ""


def test_what_follows_the_request_is_not_read(tmp_path):
    data = encoded(Request(verb="status", state_dir=str(tmp_path / "state"))) + b"\xff" * 100
    done = subprocess.run(command(), input=data, capture_output=True, timeout=60, check=False)
    assert parse(done.stdout, done.returncode, done.stderr).result is not None
    assert b"Traceback" not in done.stderr


# graphs ------------------------------------------------------------------------------------------


def write(path="/new", content="x", **fields):
    ident = fields.pop("ident", f"demo/install/file.write:{path}")
    slots = {"path": path, "content": content} | fields.pop("slots", {})
    return Node(ident, "file.write", "demo/install", slots, **fields)


def flow(action, slots, ident="demo/install/flow", phase="demo/install"):
    return Node(ident, action, phase, slots)


def gather(body, *place):
    return flow("flow.gather", {"items": [1, 2], "body": body}, *place)


def waiting(ident, *needs):
    return write(f"/{ident}", ident=ident, needs=needs)


INSTALL = Phase("demo/install", "install")
BODY = Phase("demo/body", "body", kind="body")
UNPINNED = Node("a", "file.copy", "demo/install", {"source": "../../etc/shadow", "path": "/a"})
MADE_BY_A = {"content": {"$ref": "a", "output": "zeal"}}
GRAPHS = {
    "two nodes that need each other": ((waiting("a", "b"), waiting("b", "a")), "wait for each other"),
    "a node that needs itself": ((waiting("a", "a"),), "wait for each other"),
    "a need that is nowhere": ((waiting("a", "ghost"),), "ghost"),
    "one id twice": ((waiting("a"), write("/b", ident="a")), "the same id"),
    "a phase that is nowhere": ((Node("a", "file.write", "demo/x", {"path": "/a", "content": ""}),), "demo/x"),
    "an action that is nowhere": ((Node("a", "file.wirte", "demo/install", {}),), "file.write"),
    "a body that runs itself": ((gather("demo/body"), gather("demo/body", "x", "demo/body")), "belongs to both"),
    "a body that only runs itself": ((gather("demo/body", "x", "demo/body"),), ""),
    "a body that is no body": ((gather("demo/install"),), "demo/install"),
    "a promise to nobody": ((write(slots={"content": {"$ref": "ghost", "output": "x"}}),), "ghost"),
    "a promise to an output that is not": ((waiting("a"), write("/b", slots=MADE_BY_A, needs=("a",))), "zeal"),
    "an item outside of a gather": ((write(slots={"content": {"$item": "ghost", "field": ""}}),), "ghost"),
    "a secret nobody declared": ((write(slots={"content": {"$secret": "token"}}),), "token"),
    "a number for a path": ((write(slots={"path": 7}),), "path"),
    "a text for a mode": ((write(slots={"mode": "0644"}),), "mode"),
    "a mode beyond all bits": ((write(slots={"mode": 0o10000}),), "mode"),
    "a negative mode": ((write(slots={"mode": -1}),), "mode"),
    "a slot that is not": ((write(slots={"contnet": "x"}),), "contnet"),
    "a missing slot": ((Node("a", "file.write", "demo/install", {"content": ""}),), "path"),
    "a relative path": ((write("etc/x"),), "etc/x"),
    "a path that climbs": ((write("/../x"),), ".."),
    "a path that climbs later": ((write("/a/../../x"),), ".."),
    "a NUL in a path": ((write("/a\0b"),), "path"),
    "a newline in an owner": ((write(slots={"owner": "root\nx"}),), "no user"),
    "an input that was not pinned": ((UNPINNED,), "not an input"),
    "a path nested without end": ((write("/a" * 3000),), "nested deeper"),
    "a name too long for any disk": ((write("/" + "n" * 300),), "too long"),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_hostile_graph_is_refused_and_changes_nothing(tmp_path, name):
    nodes, words = GRAPHS[name]
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    build(tmp_path / "root", {"etc": {"keep": b"1"}})
    before = snapshot(tmp_path / "root")
    path = order.write(phases=(INSTALL, BODY), nodes=nodes)
    answer = ask(request("apply", tmp_path / "state", path))
    assert answer.status in ("bad_input", "failed"), answer.text
    assert words in answer.text
    assert "internal error" not in answer.text
    assert snapshot(tmp_path / "root") == before
    assert {path.name for path in tmp_path.iterdir()} == {"package", "root", "state"}


# names that look like something else -------------------------------------------------------------

NAMES = [
    "-rf",
    "--help",
    "a b",
    "new\nline",
    "tab\t",
    "$(x)",
    "`id`",
    "*",
    "~",
    "é",
    "\x1b[31m",
    "'\"",
    "%s",
    "{{ x }}",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name_and_nothing_else(tmp_path, name):
    root = tmp_path / "root"
    build(root, {"from": b"moved\n", "gone": {"x": b"1"}})
    order = OrderBuilder(tmp_path / "package", root)
    made = order.node("file.mkdir", path=f"/{name}")
    order.node("file.write", content="{{ 7 * 7 }}\n", path=f"/{name}/{name}", needs=[made])
    order.node("file.link", target=name, path=f"/{name}/link", needs=[made])
    order.node("file.rename", source="/from", path=f"/{name}/to", needs=[made])
    order.node("shell.exec", argv=["/bin/test", "-e", f"{root}/{name}/to"], phase="look", checks_only=True)
    before = snapshot(root)
    answer = ask(request("apply", tmp_path / "state", order.write()))
    assert answer.status == "done", answer.text
    assert sorted(os.listdir(root)) == sorted(["gone", name])
    assert (root / name / name).read_text() == "{{ 7 * 7 }}\n"
    assert os.readlink(root / name / "link") == name
    assert ask(request("rollback", tmp_path / "state")).status == "done"
    assert snapshot(root) == before


# YAML --------------------------------------------------------------------------------------------

BOMB = "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{p}, *{p}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True))
YAMLS = {
    "an alias bomb": BOMB,
    "a tag that makes an object": "order: !!python/object/apply:os.system ['touch owned']\n",
    "a merge key": "order:\n  <<: {a: 1}\n",
    "lists nested without end": "[" * 100_000,
    "maps nested without end": "{a: " * 50_000,
    "two documents": "a: 1\n---\nb: 2\n",
    "nothing": "",
    "not UTF-8": b"\xff\xfe\x00",
    "control characters": "a: \x07\n",
    "a key that is a list": "? [a]\n: 1\n",
    "a number of a million digits": "a: " + "9" * 1_000_000,
}


@pytest.mark.parametrize("name", YAMLS)
@pytest.mark.parametrize("place", ["order", "trust"])
def test_hostile_yaml_is_refused_in_words(tmp_path, name, place):
    text = YAMLS[name]
    path = tmp_path / f"{place}.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    if place == "order":
        asked = request("apply", tmp_path / "state", path)
    else:
        good = OrderBuilder(tmp_path / "package", tmp_path).write()
        asked = request("apply", tmp_path / "state", good, trust_path=str(path))
    answer = ask(asked)
    assert answer.status in ("bad_input", "refused"), answer.text
    assert "internal error" not in answer.text
    assert len(answer.text) < 2000
    assert not os.listdir(tmp_path / "state" / "runs")
