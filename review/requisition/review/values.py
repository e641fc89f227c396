"""Values of slots as people read them and patterns match them. What stands for a secret is masked; what does not
print is shown as its number."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

MASK = "•••"


def visible(text: str) -> str:
    """The text in one line, with everything that does not print as its escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def visible_lines(texts: Sequence[str]) -> str:
    """Each text in a line of its own."""
    return "\n".join(texts if "".join(texts).isprintable() else map(visible, texts))


@cache
def secret_slots(action: str) -> frozenset[str]:
    """Slots of an action that hold nothing but secrets: whatever stands there in an order is not shown."""
    from requisition.stdlib.catalogue import load

    spec = load().get(action)
    return frozenset(slot.name for slot in spec.slots if slot.only_secret) if spec is not None else frozenset()


def shown_value(name: str, value: object) -> str:
    """A slot value in a line: modes in octal, promises as arrows, secrets masked."""
    if isinstance(value, dict):
        if "$secret" in value:
            return MASK
        if isinstance(node := value.get("$ref"), str):
            return f"→ {node.split('/', 2)[-1] if ':' in node else node.rpartition('/')[2]}"
        if "$item" in value:
            return f"item.{value['field']}" if value.get("field") else "item"
        return "{" + ", ".join(f"{key}: {shown_value(key, inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(shown_value("", inner) for inner in value) + "]"
    if name == "mode" and isinstance(value, int):
        return f"{value:04o}"
    return repr(value) if isinstance(value, str) else str(value)


def texts(name: str, value: Any) -> Iterator[str]:
    """What a pattern may match of a slot: its text, a number in decimal (a mode in octal), the id of a promise's node,
    a secret's name; of a list or dict each of its values."""
    if isinstance(value, dict):
        for mark in ("$ref", "$secret", "$item"):
            if mark in value:
                yield str(value[mark])
                return
        for key, inner in value.items():
            yield from texts(key, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts("", inner)
    elif isinstance(value, bool):
        yield "true" if value else "false"
    elif name == "mode" and isinstance(value, int):
        yield f"{value:04o}"
    else:
        yield str(value)
