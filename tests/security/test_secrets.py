"""A canary goes through every slot that may carry a secret; afterwards it is looked for everywhere."""

import base64
import hashlib
import re

import pytest

from requisition.schemas.document import Secret
from support.faults import available
from support.orders import OrderBuilder
from support.process import request, run_runtime
from support.trees import build

FIRST, SECOND = "canary-4f1d9c27", "canary-b80e65aa"
TOKEN = {"$secret": "token"}


def order_of(folder, *, fails=False):
    """A secret as content, in template data, on a command's stdin, in its output, and in the items of a gather."""
    order = OrderBuilder(folder / "package", folder / "root")
    source = order.input("t.tmpl", b"password = {{ token }}\n")
    body = order.phase("each", kind="body")
    order.node("file.write", content=TOKEN, path="/plain", mode=0o600)
    order.node("template.render", source=source, data={"token": TOKEN}, path="/rendered", mode=0o600)
    order.node("shell.exec", argv=["/bin/sh", "-c", "cat >/dev/null"], stdin=TOKEN)
    gather = order.node("flow.gather", items=[TOKEN], body=body, name="g")
    order.node("file.write", content={"$item": gather, "field": ""}, path="/item", mode=0o600, phase="each")
    if fails:
        order.node("shell.exec", argv=["/bin/sh", "-c", "cat; cat >&2; exit 7"], stdin=TOKEN, phase="verify")
    return order.write(secrets=(Secret("token"),))


def holders(folder, *canaries):
    """Files below a folder that hold a canary in any common spelling."""
    spellings = [word for canary in canaries for word in spelled(canary)]
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and any(word in path.read_bytes() for word in spellings)
    )


def spelled(canary):
    raw = canary.encode()
    digests = [hashlib.sha256(text).hexdigest() for text in (raw, b"password = " + raw + b"\n")]
    plain = [raw, raw[::-1], raw.hex().encode(), base64.b64encode(raw)[:-4], *(text.encode() for text in digests)]
    return [*plain, *(bytes.fromhex(text) for text in digests)]


class Ledger:
    """Runs verbs and collects everything that was said."""

    def __init__(self, folder):
        self.folder = folder
        build(folder / "root", {"plain": b"before\n"})

    def run(self, verb, order="", wrapper=(), **fields):
        asked = request(verb, self.folder / "state", order, on_conflict="overwrite", **fields)
        answer = run_runtime(asked, *wrapper)
        said = repr([answer.events, answer.result]) + answer.stderr
        assert FIRST not in said
        assert SECOND not in said
        assert holders(self.folder / "state", FIRST, SECOND) == []
        return answer


def test_a_secret_is_in_its_files_and_nowhere_else(tmp_path):
    ledger, order = Ledger(tmp_path), order_of(tmp_path)
    before = (tmp_path / "root" / "plain").read_bytes()
    assert ledger.run("dry-run", order, diff=True, secrets={"token": FIRST}).status == "changes"
    applied = ledger.run("apply", order, secrets={"token": FIRST})
    assert applied.status == "done", applied.text
    assert holders(tmp_path / "root", FIRST) == ["item", "plain", "rendered"]
    assert ledger.run("dry-run", order, diff=True, secrets={"token": SECOND}).status == "changes"
    changed = ledger.run("apply", order, secrets={"token": SECOND})
    assert changed.status == "done", changed.text
    assert holders(tmp_path / "root", SECOND) == ["item", "plain", "rendered"]
    ledger.run("status", diff=True)
    assert ledger.run("rollback").status == "done"
    assert holders(tmp_path / "root", FIRST) == ["item", "plain", "rendered"], "sealed contents come back"
    assert ledger.run("rollback").status == "done"
    assert (tmp_path / "root" / "plain").read_bytes() == before
    assert holders(tmp_path / "root", FIRST, SECOND) == []


def test_a_command_that_fails_and_prints_its_secret_does_not_make_it_known(tmp_path):
    ledger = Ledger(tmp_path)
    answer = ledger.run("apply", order_of(tmp_path, fails=True), secrets={"token": FIRST})
    assert answer.status == "failed"
    assert holders(tmp_path, FIRST) == []


def test_a_missing_secret_is_named_and_nothing_is_begun(tmp_path):
    ledger = Ledger(tmp_path)
    answer = ledger.run("apply", order_of(tmp_path))
    assert answer.status == "bad_input"
    assert "'token'" in answer.text
    assert not (tmp_path / "root" / "item").exists()


@pytest.mark.skipif(bool(available()), reason=available() or "strace")
def test_no_process_is_given_a_secret_as_argument_or_environment(tmp_path):
    ledger, order, log = Ledger(tmp_path), order_of(tmp_path), tmp_path / "log"
    wrapper = ("strace", "-f", "-v", "-s", "65536", "-e", "trace=execve", "-o", str(log))
    assert ledger.run("apply", order, wrapper, secrets={"token": FIRST}).status == "done"
    started = log.read_text()
    assert started.count("execve(") >= 2
    assert FIRST not in started


SENT = re.compile(r"^\d+ +(?:p?write(?:64|v)?|send(?:to|msg)|copy_file_range|splice)\(\d+<([^>]*)")


@pytest.mark.skipif(bool(available()), reason=available() or "strace")
def test_a_secret_is_written_to_its_files_and_to_its_command_and_to_no_other_file_pipe_or_socket(tmp_path):
    ledger, order, log = Ledger(tmp_path), order_of(tmp_path), tmp_path / "log"
    calls = "trace=%network,write,pwrite64,writev,pwritev,sendfile,splice,tee,vmsplice,copy_file_range"
    wrapper = ("strace", "-f", "-y", "-s", "65536", "-e", calls, "-o", str(log))
    assert ledger.run("apply", order, wrapper, secrets={"token": FIRST}).status == "done"
    lines = log.read_text(errors="replace").splitlines()
    sent = [SENT.match(line) for line in lines if FIRST in line]
    assert all(sent), [line[:200] for line in lines if FIRST in line and not SENT.match(line)]
    places = [match[1] for match in sent]
    assert len([place for place in places if place.startswith("pipe:")]) == 1, "the command's standard input"
    files = [place for place in places if not place.startswith("pipe:")]
    assert len(files) >= 3
    assert all(place.startswith((f"{tmp_path}/root/", "/dev/null")) for place in files), files


LATER = {
    "chmod": lambda order: order.node("file.chmod", path="/pw", mode=0o640),
    "backup": lambda order: order.node("file.backup", path="/pw"),
    "remove": lambda order: order.node("file.remove", path="/pw"),
    "a public write": lambda order: order.node("file.write", content="now public", path="/pw"),
    "rename": lambda order: order.node("file.rename", source="/pw", path="/elsewhere"),
}


@pytest.mark.parametrize("later", LATER)
def test_an_order_without_secrets_keeps_what_an_earlier_one_wrote_sealed(tmp_path, later):
    ledger = Ledger(tmp_path)
    first = OrderBuilder(tmp_path / "first", tmp_path / "root")
    first.node("file.write", content=TOKEN, path="/pw", mode=0o600)
    assert ledger.run("apply", first.write(secrets=(Secret("token"),)), secrets={"token": FIRST}).status == "done"
    second = OrderBuilder(tmp_path / "second", tmp_path / "root", serial=1)
    LATER[later](second)
    assert ledger.run("apply", second.write()).status == "done"
    assert ledger.run("rollback").status == "done"
    assert (tmp_path / "root" / "pw").read_text() == FIRST


def test_a_secret_that_an_earlier_order_wrote_is_not_read_into_a_public_value(tmp_path):
    ledger = Ledger(tmp_path)
    first = OrderBuilder(tmp_path / "first", tmp_path / "root")
    first.node("file.write", content=TOKEN, path="/pw", mode=0o600)
    assert ledger.run("apply", first.write(secrets=(Secret("token"),)), secrets={"token": FIRST}).status == "done"
    second = OrderBuilder(tmp_path / "second", tmp_path / "root", serial=1)
    read = second.node("file.read", path="/pw")
    second.node("file.write", content={"$ref": read, "output": "content"}, path="/copy", needs=[read])
    answer = ledger.run("apply", second.write())
    assert "plan.secret" in answer.text
    assert not (tmp_path / "root" / "copy").exists()


@pytest.mark.parametrize("through", ["at once", "by another node"])
def test_a_secret_is_refused_where_it_would_be_seen(tmp_path, through):
    ledger = Ledger(tmp_path)
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    value, needs = TOKEN, []
    if through == "by another node":
        needs = [order.node("content.literal", text=TOKEN)]
        value = {"$ref": needs[0], "output": "content"}
    order.node("shell.exec", argv=["/bin/echo", value], needs=needs)
    answer = ledger.run("apply", order.write(secrets=(Secret("token"),)), secrets={"token": FIRST})
    assert answer.status == "bad_input"
    assert "slot 'argv' is given a secret" in answer.text
