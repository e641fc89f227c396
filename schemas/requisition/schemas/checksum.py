"""The checksum of a document, git-style: kind, name and length are hashed with the content.

    "sha256:" + hex(SHA-256("<kind> <name> <length>" NUL <canonical bytes>))

`name` is the one in the document, not the file's, so that a renamed file still verifies.
"""

import hashlib
from typing import Literal

from requisition.schemas.diagnostic import Refused

Kind = Literal["order", "receipt"]


class Altered(Refused):
    """A document is not the one that its file was written for: damaged on its way, or forged."""


def checksum(kind: Kind, name: str, content: bytes) -> str:
    """Checksum of canonical bytes."""
    digest = hashlib.sha256(f"{kind} {name} {len(content)}\0".encode())
    digest.update(content)
    return "sha256:" + digest.hexdigest()
