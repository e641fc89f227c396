"""What was decrypted is a secret to the whole runtime, and a forged order changes nothing about that."""

import hashlib

import pyrage
import pytest

from requisition.schemas.document import Secret
from support.orders import OrderBuilder
from support.process import request, run_runtime
from support.sops import sealed_yaml

KEY = pyrage.x25519.Identity.generate()
CANARY = "canary-5d0c77aa"
IDENTITY = {"$secret": "key"}


def order_of(folder):
    order = OrderBuilder(folder / "package", folder / "root")
    (folder / "root").mkdir()
    return order, order.input("a.sops.yaml", sealed_yaml({"token": CANARY, "n": 1}, KEY.to_public()))


def apply(folder, order, verb="apply", **fields):
    secrets = {"key": str(KEY)}
    path = order.write(secrets=(Secret("key"),))
    return run_runtime(request(verb, folder / "state", path, secrets=secrets, **fields))


def test_it_is_in_the_files_it_was_meant_for_and_nowhere_else(tmp_path):
    order, source = order_of(tmp_path)
    order.node("encryption.decrypt", source=source, identity=IDENTITY, path="/all", mode=0o600)
    one = order.node("encryption.decrypt", source=source, identity=IDENTITY, extract=["token"], name="one")
    token = {"$ref": one, "output": "content"}
    order.node("file.write", content=token, path="/token", mode=0o600, needs=[one])
    order.node("shell.exec", argv=["/bin/sh", "-c", "cat > used"], stdin=token, needs=[one], creates="/used")
    root, state = tmp_path / "root", tmp_path / "state"
    looked = apply(tmp_path, order, "dry-run", diff=True)
    assert looked.status == "changes", looked.text
    applied = apply(tmp_path, order)
    assert applied.status == "done", applied.text
    assert (root / "token").read_text() == (root / "used").read_text() == CANARY
    assert (root / "all").read_text() == f"token: {CANARY}\nn: 1\n"
    assert (root / "all").stat().st_mode & 0o7777 == 0o600
    again = apply(tmp_path, order)
    assert set(again.result.summary) == {"unchanged"}
    status = run_runtime(request("status", state, diff=True, target_root=str(root)))
    said = "".join(repr([one.events, one.result]) + one.stderr for one in (looked, applied, again, status))
    digest = hashlib.sha256(CANARY.encode()).hexdigest()
    for word in (CANARY, digest, str(KEY)):
        assert word not in said
        assert not [file for file in state.rglob("*") if file.is_file() and word.encode() in file.read_bytes()]
    back = run_runtime(request("rollback", state, applied.result.receipt))
    assert back.status == "done", back.text
    assert [path.name for path in root.iterdir()] == ["used"], "a command without undo cannot be taken back"


def test_a_changed_file_stops_the_order_before_anything_is_touched(tmp_path):
    order, _ = order_of(tmp_path)
    text = sealed_yaml({"token": CANARY, "n_unencrypted": 1}, KEY.to_public()).replace(
        b"n_unencrypted: 1", b"n_unencrypted: 2"
    )
    order.node("file.write", content="x", path="/first")
    order.node("encryption.decrypt", source=order.input("b.sops.yaml", text), identity=IDENTITY, path="/all")
    answer = apply(tmp_path, order)
    assert answer.status == "bad_input"
    assert "its MAC does not match" in answer.text
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize("slots", [{"identity": str(KEY)}, {"identity": {"$ref": "demo/install/file.read:key"}}])
def test_a_forged_order_cannot_bring_its_own_key(tmp_path, slots):
    order, source = order_of(tmp_path)
    read = order.node("file.read", path="/key", name="key")
    order.node("encryption.decrypt", source=source, path="/all", needs=[read], **slots)
    answer = apply(tmp_path, order)
    assert answer.status == "bad_input"
    assert "takes nothing but a secret" in answer.text


def test_a_forged_order_cannot_put_it_into_a_command_line(tmp_path):
    order, source = order_of(tmp_path)
    made = order.node("encryption.decrypt", source=source, identity=IDENTITY, name="made")
    order.node("shell.exec", argv=["echo", {"$ref": made}], needs=[made])
    answer = apply(tmp_path, order)
    assert answer.status == "bad_input"
    assert "slot 'argv' is given a secret" in answer.text
    assert CANARY not in repr([answer.events, answer.result]) + answer.stderr
