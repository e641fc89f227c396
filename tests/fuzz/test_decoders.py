"""Every reader of something from outside meets mutated bytes: it reads them, or raises its own error.

Seeds are sound documents; what once broke a reader is kept in `corpus/<reader>/` and tried first, for ever.
"""

import io
import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from requisition.compiler.manifest import parse_manifest
from requisition.runtime import frames
from requisition.runtime.journal import HEADER, Begun, Finished, Intent, read_journal
from requisition.runtime.sight import NEVER
from requisition.runtime.state import Entry, RootState
from requisition.schemas import envelope, keys, orderfile, sshsig, strictyaml
from requisition.schemas.allowedsigners import import_allowed_signers
from requisition.schemas.checksum import Altered
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.receipt import Left
from requisition.schemas.trustfile import parse_trust
from requisition.stdlib.host import ABSENT, FileChange
from support.sealed import private, public, signed

CORPUS = Path(__file__).parent / "corpus"
SHORT, LONG = 2_500, 200_000
SLOW = {"plan": 8, "journal": 8, "yaml": 8}  # they cost this much more: so many times fewer rounds, by night
INTERESTING = (
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x80\0\0\0",
    b"[" * 50,
    b"{",
    b"'",
    b"\n",
    b"&a ",
    b"*a",
    b"!!x ",
    b"-1",
)


class Reader(NamedTuple):
    """How to read bytes, in a folder that may be used; what it may raise; what is sound."""

    read: Callable[[bytes, Path], object]
    own: tuple[type[Exception], ...]
    seeds: Callable[[Path], list[bytes]]


def through_file(name: str, read: Callable[[str], object]) -> Callable[[bytes, Path], object]:
    def inner(data: bytes, folder: Path) -> object:
        path = folder / name
        path.write_bytes(data)
        path.chmod(0o600)
        return read(str(path))

    return inner


def order_bytes(name: str) -> Callable[[Path], list[bytes]]:
    def seeds(folder: Path) -> list[bytes]:
        path = folder / f"seed-{name}"
        orderfile.write(str(path), signed("alice"))
        return [path.read_bytes()]

    return seeds


def read_order(path: str) -> object:
    sealed = orderfile.read(path)
    try:
        return orderfile.decode(sealed)
    finally:
        sealed.close()


def read_payload(data: bytes, folder: Path) -> object:
    return orderfile.decode(orderfile.Sealed("order", data))


def request_bytes(folder: Path) -> list[bytes]:
    asked = frames.Request(verb="apply", state_dir="/s", order_path="/o", secrets={"a": "b"}, only=("x", "y"))
    stream = io.BytesIO()
    frames.write_frame(stream, asked)
    return [stream.getvalue()]


def reply_bytes(folder: Path) -> list[bytes]:
    stream = io.BytesIO()
    frames.write_frame(stream, frames.Event(kind="node", node="n", scope=(1,), data={"paths": ["/a"]}))
    frames.write_frame(stream, frames.Result(status="done", summary={"done": 1}))
    return [stream.getvalue()]


def read_all_replies(data: bytes, folder: Path) -> None:
    stream = io.BytesIO(data)
    while frames.read_reply(stream) is not None:
        pass


def records(folder: Path) -> list[bytes]:
    change = FileChange("/a", ABSENT, Left("/a", "file", 0o644, -1, -1, 1, "ab" * 32))
    begun = Begun("r", "sha256:x", "/", "", "boot", "2026-01-01T00:00:00Z", "stop", False)
    return [msgspec.msgpack.encode([begun, Intent(0, (), (change,)), Finished(0, (1,), "done", {"path": "/a"})])]


def read_sound_frame(data: bytes, folder: Path) -> object:
    """A journal whose checks hold, so that its records are read whatever they are."""
    frame = len(data).to_bytes(4, "big") + zlib.crc32(data).to_bytes(4, "big") + data
    return through_file("journal", read_journal)(HEADER + frame, folder)


def trust_bytes(folder: Path) -> list[bytes]:
    key = public("alice").openssh()
    text = f"keys:\n  alice:\n    key: {key}\n    roles: [author]\n    expires: 2027-01-01T00:00:00Z\nrequire: {{author: 1}}\n"
    return [text.encode()]


def ssh_bytes(folder: Path) -> list[bytes]:
    blob = sshsig.pack(public("alice").identity[12:], private("alice").sign(b"x"))
    return [sshsig.armor(blob).encode()]


def read_state(name: str) -> Callable[[bytes, Path], object]:
    def inner(data: bytes, folder: Path) -> object:
        for other in ("head.json", "entries"):
            (folder / other).unlink(missing_ok=True)
        (folder / name).write_bytes(data)
        return RootState(str(folder), "/")

    return inner


def text_of(read: Callable[[str], object]) -> Callable[[bytes, Path], object]:
    return lambda data, folder: read(data.decode("utf-8", "surrogateescape"))


PACKAGE = b"""\
name: demo
version: "1.2"
platforms: [linux]
layers: [{name: base, path: base}]
features: {tls: {doc: encrypted}}
secrets: {token: what it is}
"""
BAD = (BadInput,)
FILE = (BadInput, Altered)
READERS = {
    "plan": Reader(through_file("a.plan", read_order), FILE, order_bytes("a.plan")),
    "yaml": Reader(through_file("a.yaml", read_order), FILE, order_bytes("a.yaml")),
    "payload": Reader(read_payload, BAD, lambda folder: [signed().payload]),
    "request": Reader(lambda data, _: frames.read_request(io.BytesIO(data)), (frames.FrameError,), request_bytes),
    "reply": Reader(read_all_replies, (frames.FrameError,), reply_bytes),
    "journal": Reader(read_sound_frame, BAD, records),
    "trust": Reader(lambda data, _: parse_trust(data, "trust.yaml"), BAD, trust_bytes),
    "package": Reader(lambda data, _: parse_manifest(data, "package.yaml"), BAD, lambda folder: [PACKAGE]),
    "strict YAML": Reader(lambda data, _: strictyaml.load(data, "x.yaml"), BAD, trust_bytes),
    "allowed signers": Reader(
        text_of(lambda text: import_allowed_signers(text, "f", ("author",))),
        BAD,
        lambda folder: [f'a@b namespaces="order@requisition" {public("alice").openssh()}\n'.encode()],
    ),
    "public key": Reader(
        text_of(lambda text: keys.parse_public_key(text, "f")), BAD, lambda folder: [public("alice").openssh().encode()]
    ),
    "SSH signature": Reader(
        text_of(lambda text: sshsig.parse(sshsig.unarmor(text))), (sshsig.SshFormatError,), ssh_bytes
    ),
    "SSH signature, packed": Reader(
        lambda data, _: sshsig.parse(data),
        (sshsig.SshFormatError,),
        lambda folder: [sshsig.unarmor(ssh_bytes(folder)[0].decode())],
    ),
    "head": Reader(read_state("head.json"), BAD, lambda folder: [b'{"target_root":"/","serials":{"a":1},"active":""}']),
    "entries": Reader(
        read_state("entries"),
        BAD,
        lambda folder: [msgspec.msgpack.encode([Entry(NEVER, Left("/a", "file", 0o644), "n", "p", "r")])],
    ),
}


def mutated(seed: bytes, rng: random.Random) -> bytes:
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[place % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[place : place + rng.choice((1, 2, 8, 64))]
        elif kind == 2:
            data[place:place] = rng.choice(INTERESTING)
        elif kind == 3:
            data[place : place + rng.choice((1, 4))] = rng.choice(INTERESTING)
        elif kind == 4:
            other = rng.randrange(len(data) + 1)
            data[place:place] = data[other : other + 40]
        else:
            data[place : place + 1] = rng.randbytes(1)
    return bytes(data)


def fuzz(name: str, folder: Path, rounds: int, start: int) -> None:
    reader = READERS[name]
    seeds = reader.seeds(folder)
    for seed in seeds:
        reader.read(seed, folder)
    kept = [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
    for number in range(-len(kept), rounds):
        data = kept[number] if number < 0 else mutated(seeds[number % len(seeds)], random.Random(start + number))
        try:
            reader.read(data, folder)
        except reader.own:
            pass
        except Exception as error:
            raise AssertionError(f"{name}, mutation {number}: {type(error).__name__} on {data!r}") from error


@pytest.mark.parametrize("name", READERS)
def test_mutated_bytes_are_read_or_refused_in_the_readers_own_words(tmp_path, name):
    fuzz(name, tmp_path, SHORT if name != "yaml" else SHORT // 4, 0)


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
def test_very_many_mutated_bytes_too(tmp_path, name):
    fuzz(name, tmp_path, LONG // SLOW.get(name, 1), int.from_bytes(os.urandom(4), "big"))


def test_framing_never_lets_two_meanings_share_bytes():
    rng, seen = random.Random(7), {}
    for _ in range(3000):
        parts = (rng.choice("ab ") * rng.randrange(4), rng.randbytes(rng.randrange(4)))
        framed = envelope.pae(*parts)
        assert seen.setdefault(framed, parts) == parts
