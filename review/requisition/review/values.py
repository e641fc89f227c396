"""Values of slots as people read them and patterns match them. What stands for a secret is masked; what does not
print is shown as its number."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

MASK = "•••"
MARKS = ("$ref", "$secret", "$item")
DEEPEST = 20
"""How deep a value is looked into where its form is shown: an order may nest as deep as the interpreter reads."""


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


def shown_value(name: str, value: object, depth: int = 0) -> str:
    """A slot value in a line: modes in octal, promises as arrows, secrets masked; what is nested deeply is left out."""
    if isinstance(value, dict | list) and depth > DEEPEST:
        return "…"
    if isinstance(value, dict):
        if "$secret" in value:
            return MASK
        if isinstance(node := value.get("$ref"), str):
            return f"→ {node.split('/', 2)[-1] if ':' in node else node.rpartition('/')[2]}"
        if "$item" in value:
            return f"item.{value['field']}" if value.get("field") else "item"
        return "{" + ", ".join(f"{key}: {shown_value(key, inner, depth + 1)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(shown_value("", inner, depth + 1) for inner in value) + "]"
    if name == "mode" and isinstance(value, int):
        return f"{value:04o}"
    return repr(value) if isinstance(value, str) else str(value)


def leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """All that is in a slot value and is no list or dict of values, in order, each with its name: a mark is one."""
    rest = [(name, value)]
    while rest:
        name, value = rest.pop()
        if isinstance(value, dict) and not any(mark in value for mark in MARKS):
            rest += reversed(value.items())
        elif isinstance(value, list):
            rest += (("", inner) for inner in reversed(value))
        else:
            yield name, value


def texts(name: str, value: Any) -> Iterator[str]:
    """What a pattern may match of a slot: its text, a number in decimal (a mode in octal), the id of a promise's node,
    a secret's name; of a list or dict each of its values."""
    for key, leaf in leaves(name, value):
        if isinstance(leaf, dict):
            yield str(next(leaf[mark] for mark in MARKS if mark in leaf))
        elif isinstance(leaf, bool):
            yield "true" if leaf else "false"
        else:
            yield f"{leaf:04o}" if key == "mode" and isinstance(leaf, int) else str(leaf)
