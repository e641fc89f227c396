"""Files as sops writes them, by its published format: values sealed with their paths, and a MAC over all."""

import base64
import hashlib
import json
import os

import pyrage
import yaml
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

WHEN = "2026-01-02T03:04:05Z"
ONLY_ENCRYPTED = bytes.fromhex("8a3fd2ad54ce66527b1034f3d147be0b0b975b3bf44f72c6fdadec8176f27d69")


class Sealer:
    """Seals a tree of values; keys that end with `_unencrypted` keep theirs in clear."""

    def __init__(self, *recipients, only_encrypted: bool = False):
        self.key = os.urandom(32)
        self.recipients = recipients
        self.only_encrypted = only_encrypted
        self.hash = hashlib.sha512(ONLY_ENCRYPTED if only_encrypted else b"")

    def seal(self, kind: str, text: str, path: str) -> str:
        nonce = os.urandom(32)
        sealed = AESGCM(self.key).encrypt(nonce, text.encode(), path.encode())
        data, iv, tag = (base64.b64encode(part).decode() for part in (sealed[:-16], nonce, sealed[-16:]))
        return f"ENC[AES256_GCM,data:{data},iv:{iv},tag:{tag},type:{kind}]"

    def tree(self, value, keys=(), clear=False):
        if isinstance(value, dict):
            return {
                key: self.tree(inner, (*keys, key), clear or key.endswith("_unencrypted"))
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self.tree(item, keys, clear) for item in value]
        if value is None:
            return None
        kind = {bool: "bool", int: "int", float: "float", str: "str"}[type(value)]
        text = str(value)
        if kind == "float":
            text = f"{value:f}".rstrip("0").rstrip(".")
        if not clear or not self.only_encrypted:
            self.hash.update(text.encode())
        if clear or value == "":
            return value
        return self.seal(kind, text, "".join(f"{key}:" for key in keys))

    def section(self) -> dict:
        found = {
            "age": [
                {"recipient": str(one), "enc": pyrage.encrypt(self.key, [one], armored=True).decode()}
                for one in self.recipients
            ],
            "lastmodified": WHEN,
            "mac": self.seal("str", self.hash.hexdigest().upper(), WHEN),
            "unencrypted_suffix": "_unencrypted",
            "version": "3.9.0",
        }
        return {**found, "mac_only_encrypted": True} if self.only_encrypted else found


def sealed_yaml(document: dict, *recipients, **options) -> bytes:
    sealer = Sealer(*recipients, **options)
    tree = sealer.tree(document)
    return yaml.safe_dump({**tree, "sops": sealer.section()}, sort_keys=False, width=1 << 20, indent=4).encode()


def sealed_json(document: dict, *recipients, **options) -> bytes:
    sealer = Sealer(*recipients, **options)
    tree = sealer.tree(document)
    return json.dumps({**tree, "sops": sealer.section()}, indent="\t").encode()


def sealed_env(document: dict, *recipients, **options) -> bytes:
    sealer = Sealer(*recipients, **options)
    rows = dict(sealer.tree(document))
    for key, value in sealer.section().items():
        if key == "age":
            for at, entry in enumerate(value):
                rows |= {f"sops_age__list_{at}__map_{field}": text for field, text in entry.items()}
        else:
            rows[f"sops_{key}"] = "true" if value is True else value
    return "".join(f"{key}={value}".replace("\n", "\\n") + "\n" for key, value in rows.items()).encode()
