"""SOPS files in JSON, and in the form of dotenv."""

import json
from typing import Any

from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.encryption.age import Identities
from requisition.stdlib.providers.encryption.sops import Leaves, Opener, Plain, metadata, number, shown, without_section

_PREFIX = "sops_"


def open_json(text: str, identities: Identities, source: str) -> tuple[bytes, Leaves]:
    """(the plain document, its values). Raises ActionError."""
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ActionError(f"{source} is not JSON: {error}", "restore the file") from error
    found = document if isinstance(document, dict) else {}
    opener = Opener(metadata(found.get("sops"), source), identities, source)
    leaves: Leaves = {}
    plain = _walk(without_section(found), (), (), opener, leaves)
    opener.verify()
    return json.dumps(plain, indent="\t", ensure_ascii=False).encode() + b"\n", leaves


def _walk(value: Any, keys: tuple[str, ...], place: tuple[str, ...], opener: Opener, leaves: Leaves) -> Any:
    """The plain value, in the order in which sops walks; positions in lists are no part of `keys`."""
    if isinstance(value, dict):
        return {key: _walk(inner, (*keys, key), (*place, key), opener, leaves) for key, inner in value.items()}
    if isinstance(value, list):
        return [_walk(inner, keys, (*place, str(at)), opener, leaves) for at, inner in enumerate(value)]
    if isinstance(value, str):
        plain = opener.text(value, keys)
        leaves[place] = value if plain is None else shown(plain)
        return value if plain is None else _typed(plain)
    if value is not None:
        plain = _clear(value)
        opener.clear(plain)
        leaves[place] = shown(plain)
    return value


def _clear(value: Any) -> Plain:
    if isinstance(value, bool):
        return Plain("bool", str(value))
    return Plain("int" if isinstance(value, int) and abs(value) < 1 << 63 else "float", repr(value))


def _typed(plain: Plain) -> Any:
    if plain.kind == "bool":
        return shown(plain) == "true"
    return number(plain.text) if plain.kind in ("int", "float") else plain.text


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands in an object twice")
    return found


def open_env(text: str, identities: Identities, source: str) -> tuple[bytes, Leaves]:
    """(the plain lines, their values). Comments stay, but for those that are encrypted. Raises ActionError."""
    section: dict[str, Any] = {}
    rows: list[tuple[str, str]] = []
    for line in text.split("\n"):
        key, equals, value = line.partition("=")
        if line.startswith("#"):
            rows.append((line, ""))
        elif equals and key.startswith(_PREFIX):
            _unflatten(section, key.removeprefix(_PREFIX), value.replace("\\n", "\n"), source)
        elif equals:
            rows.append((key, value.replace("\\n", "\n")))
        elif line:
            raise ActionError(f"{source} has a line that is no NAME=value", "restore the file")
    section["mac_only_encrypted"] = section.get("mac_only_encrypted") == "true"
    opener = Opener(metadata(section if "mac" in section else None, source), identities, source)
    written, leaves = [], Leaves()
    for key, value in rows:
        if key.startswith("#"):
            written += [] if key.startswith("#ENC[AES256_GCM,") else [key]
            continue
        plain = opener.text(value, (key,))
        leaves[key,] = value if plain is None else shown(plain)
        written.append(f"{key}={leaves[key,]}".replace("\n", "\\n"))
    opener.verify()
    return "".join(f"{line}\n" for line in written).encode(), leaves


def _unflatten(section: dict[str, Any], name: str, value: str, source: str) -> None:
    """`age__list_0__map_enc` is the `enc` of the first entry of the list `age`."""
    head, listed, rest = name.partition("__list_")
    if not listed:
        section[name] = value
        return
    position, _, field = rest.partition("__map_")
    entries = section.setdefault(head, [])
    if not position.isdigit() or not isinstance(entries, list) or int(position) > len(entries):
        raise ActionError(f"{source}: its sops lines are not as sops writes them")
    if int(position) == len(entries):
        entries.append({})
    entries[int(position)][field] = value
