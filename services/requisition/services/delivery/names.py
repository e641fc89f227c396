"""Names as rclone knows them: text, in which control characters stand as their pictures, and links are files.

rclone's manual, "Restricted filenames": U+2400 to U+241F and U+2421 for control characters; such characters
themselves, and the full-width `．` and `／`, are quoted with `‛`. We do not ship names that hold one of those.
"""

import hashlib
from collections.abc import Mapping

from requisition.services.delivery.manifest import Manifest
from requisition.services.delivery.transport import Found, TransportFailure

LINK = ".rclonelink"
_PICTURES = {code: 0x2400 + code for code in range(32)} | {0x7F: 0x2421}
_MEANT = {picture: code for code, picture in _PICTURES.items()}
_QUOTED = frozenset(map(chr, (*_MEANT, 0x201B, 0xFF0E, 0xFF0F)))


def check(manifest: Manifest) -> None:
    """Raises TransportFailure (`usage`) for a name that would not arrive as it is."""
    for one in manifest.entries:
        try:
            text = one.path.decode()
        except UnicodeDecodeError:
            raise TransportFailure("usage", f"{one.path!r}: rclone ships names that are UTF-8 only") from None
        if not _QUOTED.isdisjoint(text):
            raise TransportFailure("usage", f"{text!r} holds a character that rclone uses to quote others")
        if text.endswith(LINK) and one.kind != "dir":
            raise TransportFailure("usage", f"{text!r}: rclone takes names that end with {LINK} for links")


def shown(path: bytes) -> str:
    """A path as rclone knows it."""
    return path.decode().translate(_PICTURES)


def meant(text: str) -> bytes:
    """The path that rclone knows by this text."""
    return text.translate(_MEANT).encode(errors="surrogatepass")


def found(files: Mapping[bytes, str], folders: frozenset[bytes] | None, strategy: str, manifest: Manifest) -> Found:
    """What lies there, with the links among the files told from them: the manifest says what each must point to."""
    expected = {one.path + LINK.encode(): one for one in manifest.entries if one.kind == "link"}
    plain, links = dict(files), {}
    for name in files.keys() & expected.keys():
        one = expected[name]
        right = plain.pop(name) == hashlib.sha256(one.link).hexdigest()
        links[one.path] = one.link if right else b""
    return Found(plain, links, folders, strategy)
