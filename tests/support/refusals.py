"""What must be refused, by the name of the attack or condition: data for every test of trust.

A case makes its files in an empty directory and says which words the refusal must hold. `order_path` and
`trust_path` are given to whatever decides; `now`, `last_serial`, `hostname` and `platform` are the world.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from msgspec import structs

from requisition.schemas import orderfile, sshsig
from requisition.schemas.document import Context, Input, Node, Platform
from requisition.schemas.envelope import RECEIPT_TYPE, Signature, pae
from requisition.schemas.orderfile import Sealed
from support.sealed import private, public, sign, signed

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass
class World:
    """One case: a directory to work in, and what is true around it."""

    folder: str
    words: str = ""
    form: str = "plan"
    now: datetime = NOW
    last_serial: int = 6
    hostname: str = "web1"
    platform: Platform = field(default_factory=lambda: Platform("linux", "debian", "amd64"))

    @property
    def order_path(self) -> str:
        return f"{self.folder}/demo.{self.form}"

    @property
    def trust_path(self) -> str:
        return f"{self.folder}/trust.yaml"

    def save(self, sealed: Sealed) -> None:
        orderfile.write(self.order_path, sealed)

    def policy(self, require: str = "{author: 1}", **entries: str) -> None:
        """trust.yaml with alice as author unless told otherwise; entries: name to further lines."""
        text = "keys:\n"
        for name, more in (entries or {"alice": "roles: [author]"}).items():
            text += f"  {name}:\n    key: {public(name).openssh()}\n    {more}\n"
        self.write_policy(text + f"require: {require}\n")

    def write_policy(self, text: str, mode: int = 0o600) -> None:
        with open(self.trust_path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.trust_path, mode)

    def patch(self, change: Callable[[bytes], bytes]) -> None:
        with open(self.order_path, "rb") as file:
            data = file.read()
        with open(self.order_path, "wb") as file:
            file.write(change(data))


Build = Callable[[World], None]
CASES: dict[str, tuple[str, Build]] = {}


def case(name: str, words: str, build: Build) -> None:
    CASES[name] = (words, build)


def build(name: str, folder: str) -> World:
    """The world of a case, its files written."""
    words, make = CASES[name]
    world = World(folder, words)
    world.policy()
    world.save(signed("alice"))
    make(world)
    return world


DIGEST = hashlib.sha256(signed().payload).hexdigest().encode()
UNSIGNED = "no trusted key made it over these bytes"
EDITS: dict[str, dict[str, Any]] = {
    "a path": {"nodes": (Node("x", "file.write", "demo/install", {"path": "/etc/shadow"}),)},
    "all nodes": {"nodes": ()},
    "an input's digest": {"inputs": (Input("files/tls.pem", "cd" * 32, 1704, 0o600),)},
    "an input's mode": {"inputs": (Input("files/tls.pem", "ab" * 32, 1704),)},
    "the serial": {"serial": 8},
    "the expiry": {"expires": ""},
    "the platform": {"platform": Platform("linux")},
    "the minimal runtime": {"min_runtime": ""},
    "the hosts": {"context": Context("demo", "1.2")},
    "the target root": {"context": Context("demo", "1.2", target_root="/srv")},
    "the package": {"context": Context("other", "1.2", hosts=("web1",))},
    "the name": {"name": "other.order"},
    "the phases": {"phases": ()},
}


def _edited(form: str, changes: dict[str, Any]) -> Build:
    def make(world: World) -> None:
        world.form = form
        world.save(structs.replace(signed(**changes), signatures=signed("alice").signatures))

    return make


for _what, _changes in EDITS.items():
    for _form in ("plan", "yaml"):
        case(f"{_what} changed after signing, {_form}", UNSIGNED, _edited(_form, _changes))


def _yaml(change: Callable[[bytes], bytes]) -> Build:
    def make(world: World) -> None:
        world.form = "yaml"
        world.save(signed("alice"))
        world.patch(change)

    return make


case("a comment added by hand", "edited by hand", _yaml(lambda d: d + b"# fine\n"))
case("spaces added by hand", "edited by hand", _yaml(lambda d: d.replace(b"serial: 7", b"serial:  7")))
case("line ends converted", "edited by hand", _yaml(lambda d: d.replace(b"\n", b"\r\n")))
case(
    "the checksum line altered",
    "was altered",
    _yaml(lambda d: d.replace(b"checksum: sha256:", b"checksum: sha256:0")),
)
case("the checksum line taken out", "has no checksum", _yaml(lambda d: re.sub(rb"checksum: .*\n", b"", d)))
case("a key twice", "twice", _yaml(lambda d: d.replace(b"  serial: 7\n", b"  serial: 7\n  serial: 8\n")))


def _file(change: Callable[[bytes], bytes]) -> Build:
    return lambda world: world.patch(change)


case("cut short", "cut short", _file(lambda d: d[:-10]))
case("bytes appended", "nothing announces", _file(lambda d: d + b"x"))
case("the digest altered", "was altered", _file(lambda d: d.replace(DIGEST, DIGEST[::-1])))
case("another magic", "not a .plan file", _file(lambda d: b"X" + d[1:]))
case("a newer container", "unsupported .plan version", _file(lambda d: d[:7] + b"\x02" + d[8:]))
case("a length beyond the file", "cut short", _file(lambda d: d[:8] + b"\xff\xff\xff\xff" + d[12:]))
case(
    "order relabelled as receipt",
    UNSIGNED,
    lambda w: w.save(structs.replace(signed("alice"), kind="receipt")),
)


def _with(make: Callable[[Sealed], tuple[Signature, ...]]) -> Build:
    return lambda world: world.save(structs.replace(signed(), signatures=make(signed())))


def _foreign_purpose(namespace: str) -> Callable[[Sealed], tuple[Signature, ...]]:
    def make(sealed: Sealed) -> tuple[Signature, ...]:
        message, name = pae(sealed.payload_type, sealed.payload), namespace.encode()
        data = sshsig.signed_data(message).replace(sshsig.string(sshsig.NAMESPACE.encode()), sshsig.string(name))
        blob = sshsig.pack(public("alice").identity[12:], private("alice").sign(data))
        blob = blob.replace(sshsig.string(sshsig.NAMESPACE.encode()), sshsig.string(name))
        return (Signature(public("alice").keyid, "sshsig", blob),)

    return make


def _raw(message: Callable[[Sealed], bytes]) -> Callable[[Sealed], tuple[Signature, ...]]:
    return lambda s: (Signature(public("alice").keyid, "ed25519", private("alice").sign(message(s))),)


case("no signature", "it has no signature", _with(lambda s: ()))
case("an unknown key", UNSIGNED, _with(lambda s: (sign(s, "mallory"),)))
case(
    "an unknown key under a known key id",
    UNSIGNED,
    _with(lambda s: (structs.replace(sign(s, "mallory"), keyid=public("alice").keyid),)),
)
case("a signature cut short", UNSIGNED, _with(lambda s: (structs.replace(sign(s, "alice"), sig=b"x" * 63),)))
case("an empty signature", UNSIGNED, _with(lambda s: (structs.replace(sign(s, "alice"), sig=b""),)))
case("a huge signature", UNSIGNED, _with(lambda s: (structs.replace(sign(s, "alice"), sig=b"x" * 99_999),)))
case("another method's label", UNSIGNED, _with(lambda s: (structs.replace(sign(s, "alice"), method="sshsig"),)))
case(
    "ecdsa label on an Ed25519 key",
    UNSIGNED,
    _with(lambda s: (structs.replace(sign(s, "alice"), method="ecdsa-sha2-nistp256"),)),
)
case("signed without framing", UNSIGNED, _with(_raw(lambda s: s.payload)))
case("signed as a receipt", UNSIGNED, _with(_raw(lambda s: pae(RECEIPT_TYPE, s.payload))))
case("the signature of another order", UNSIGNED, _with(lambda s: signed("alice", serial=9).signatures))
case("a git signature", UNSIGNED, _with(_foreign_purpose("git")))
case("a file signature", UNSIGNED, _with(_foreign_purpose("file")))
case("an SSH signature for no purpose", UNSIGNED, _with(_foreign_purpose("")))
case("65 signatures", "more than 64", _with(lambda s: (sign(s, "alice"),) * 65))


def _policy(require: str = "{author: 1}", *, sealed: Callable[[], Sealed] | None = None, **keys: str) -> Build:
    def make(world: World) -> None:
        world.policy(require, **keys)
        if sealed is not None:
            world.save(sealed())

    return make


def _twice(method: str, keyid: str = "") -> Callable[[], Sealed]:
    def make() -> Sealed:
        sealed = signed("alice")
        other = sign(sealed, "alice", method)
        other = structs.replace(other, keyid=keyid or other.keyid)
        return structs.replace(sealed, signatures=(*sealed.signatures, other))

    return make


_AUTHOR = "roles: [author]"
case("an expired key", "the key expired", _policy(alice="expires: 2026-01-01T00:00:00Z"))
case("a key expiring now", "the key expired", _policy(alice="expires: 2026-06-01T00:00:00Z"))
case("a key not yet valid", "valid from", _policy(alice="not_before: 2026-07-01T00:00:00Z"))
case("a revoked key", "the key is revoked", _policy(alice="revoked: true"))
case("only a reviewer signed", "'author'", _policy(alice="roles: [reviewer]", bob="roles: [author]"))
case("one of two signatures", "1 more", _policy("{author: 2}", alice=_AUTHOR, bob=_AUTHOR))
case(
    "one key twice",
    "counts once",
    _policy("{author: 2}", sealed=_twice("ed25519"), alice=_AUTHOR, bob=_AUTHOR),
)
case(
    "one key under two ids",
    "counts once",
    _policy("{author: 2}", sealed=_twice("ed25519", "x"), alice=_AUTHOR, bob=_AUTHOR),
)
case(
    "one key by two methods",
    "counts once",
    _policy("{author: 2}", sealed=_twice("sshsig"), alice=_AUTHOR, bob=_AUTHOR),
)
case(
    "the author reviews himself",
    "1 more",
    _policy("{author: 1, reviewer: 1}", alice="roles: [author, reviewer]", bob="roles: [reviewer]"),
)


def _content(**changes: Any) -> Build:
    return lambda world: world.save(signed("alice", **changes))


def _set(**attributes: Any) -> Build:
    def make(world: World) -> None:
        for name, value in attributes.items():
            setattr(world, name, value)

    return make


def _payload(change: Callable[[bytes], bytes]) -> Build:
    def make(world: World) -> None:
        sealed = signed()
        sealed = structs.replace(sealed, payload=change(sealed.payload))
        world.save(structs.replace(sealed, signatures=(sign(sealed, "alice"),)))

    return make


case("an expired order", "the order expired", _set(now=datetime(2027, 1, 1, tzinfo=UTC)))
case("an unreadable expiry", "is not a time", _content(expires="soon"))
case("an expiry without zone", "is not a time", _content(expires="2027-01-01T00:00:00"))
case("an older order", "lower than 8", _set(last_serial=8))
case("a leap of the serial", "leaps too far", _content(serial=1 << 53))
case("a negative serial", "negative", _content(serial=-1))
case("another system", "for os linux", _set(platform=Platform("darwin", "debian", "amd64")))
case("another distribution", "for distro debian", _set(platform=Platform("linux", "fedora", "amd64")))
case("another processor", "for arch amd64", _set(platform=Platform("linux", "debian", "arm64")))
case("another host", "this is db1", _set(hostname="db1"))
case("a newer runtime needed", "needs runtime", _content(min_runtime="99.0"))
case("a minimal runtime that is no version", "is not a version", _content(min_runtime="newest"))
case("a newer document", "unsupported order version 2", _content(version=2))
case(
    "a newer document with unknown fields",
    "unsupported order version 2",
    _payload(lambda p: json.dumps({**json.loads(p), "version": 2, "zeal": 1}, separators=(",", ":")).encode()),
)
case("a name with a slash", "cannot name", _content(name="../x"))
case("spaces in the payload", "not in canonical form", _payload(lambda p: p.replace(b":7", b": 7")))
case(
    "a duplicate name in the payload",
    "not in canonical form",
    _payload(lambda p: p.replace(b'"serial":7', b'"serial":8,"serial":7')),
)
case(
    "a default spelled out",
    "not in canonical form",
    _payload(lambda p: p.replace(b'"serial":7', b'"secrets":[],"serial":7')),
)
case("an unknown field", "unknown field", _payload(lambda p: p[:-1] + b',"zeal":1}'))
case("a fraction", "not a whole number", _payload(lambda p: p.replace(b":8080", b":80.5")))
case("a number beyond 2^53", "beyond", _payload(lambda p: p.replace(b":8080", b":99999999999999999999")))
case("a payload that is not JSON", "not a order", _payload(lambda p: b"\xff" + p))
case("a payload nested without end", "not a order", _payload(lambda p: b'{"context":' * 100_000))
case("a lone number as payload", "not a order", _payload(lambda p: b"1"))


def _trust_text(text: str, mode: int = 0o600) -> Build:
    return lambda world: world.write_policy(text.replace("{key: KEY", f"{{key: {public('alice').openssh()}"), mode)


_GOOD = "keys: {a: {key: KEY}}\n"
case("a trust policy that all may write", "others may change", _trust_text(_GOOD, 0o666))
case("a trust policy that the group may write", "others may change", _trust_text(_GOOD, 0o620))
case("one key under two names", "the same key", _trust_text("keys: {a: {key: KEY}, b: {key: KEY}}\n"))
case(
    "an unknown setting in the policy",
    "did you mean 'revoked'",
    _trust_text("keys: {a: {key: KEY, revokd: true}}\n"),
)
case("a policy that requires nothing", "nothing is required", _trust_text(_GOOD + "require: {}\n"))
case("a policy that nobody can meet", "are required", _trust_text(_GOOD + "require: {author: 2}\n"))
case("a tag in the policy", "tags are not allowed", _trust_text("keys: !!python/object:os.system {}\n"))
case("an anchor in the policy", "anchors are not allowed", _trust_text("keys: &a {}\nrequire: *a\n"))
case("a key twice in the policy", "twice", _trust_text("keys: {}\nkeys: {}\n"))
case(
    "a private key in the policy",
    "private key",
    _trust_text("keys: {a: {key: '-----BEGIN PRIVATE KEY-----'}}\n"),
)
case("a missing policy", "cannot be read", lambda world: os.unlink(world.trust_path))
