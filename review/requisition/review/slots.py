"""Slots of a node before and after: a change for each, for a dict one for each of its names, text as a diff of lines.

Of a secret its name is told; what a slot for secrets only holds otherwise is not shown at all.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from requisition.review.inputs import TextBudget
from requisition.review.values import DEEPEST, MASK, secret_slots, shown_value
from requisition.schemas.document import Node

_SHOWN = 200
_UNSET = object()


class SlotChange(Struct, frozen=True, omit_defaults=True):
    """One slot, or `slot.name` of a dict. Values as a line, empty for one that is not there; `diff`: of text of several
    lines, as a unified diff, in their place."""

    name: str
    before: str = ""
    after: str = ""
    diff: str = ""


def slot_changes(was: Node, now: Node, moved: Mapping[str, str], budget: TextBudget) -> tuple[SlotChange, ...]:
    """All slots that differ, by name. A promise of a node that only moved to another phase is the same."""
    hidden = secret_slots(now.action) | secret_slots(was.action)
    found: list[SlotChange] = []
    for name in sorted(was.slots.keys() | now.slots.keys()):
        before, after = was.slots.get(name, _UNSET), now.slots.get(name, _UNSET)
        if moved:
            before = _renamed(before, moved)
        if before == after:
            continue
        if name in hidden:
            found.append(SlotChange(name, *("" if one is _UNSET else MASK for one in (before, after))))
        else:
            found += _changes(name, name, before, after, budget)
    return tuple(found)


def _changes(path: str, name: str, before: Any, after: Any, budget: TextBudget, depth: int = 0) -> Iterator[SlotChange]:
    if _plain(before) and _plain(after) and depth < DEEPEST:
        for key in sorted(before.keys() | after.keys()):
            if before.get(key, _UNSET) != after.get(key, _UNSET):
                was, now = before.get(key, _UNSET), after.get(key, _UNSET)
                yield from _changes(f"{path}.{key}", key, was, now, budget, depth + 1)
    elif isinstance(before, str) and isinstance(after, str) and "\n" in before.rstrip("\n") + after.rstrip("\n"):
        yield SlotChange(path, diff=budget.diff(before.encode("utf-8", "replace"), after.encode("utf-8", "replace")))
    else:
        yield SlotChange(path, _line(name, before), _line(name, after))


def _plain(value: Any) -> bool:
    """A dict that is no mark."""
    return isinstance(value, dict) and not any(key.startswith("$") for key in value)


def _line(name: str, value: Any) -> str:
    if value is _UNSET:
        return ""
    secret = value.get("$secret") if isinstance(value, dict) else None
    text = f"{MASK} {secret}" if isinstance(secret, str) else shown_value(name, value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"


def _renamed(value: Any, moved: Mapping[str, str], depth: int = 0) -> Any:
    """The value with promises of nodes by their new ids, as deep as a difference is told."""
    if depth > DEEPEST:
        return value
    if isinstance(value, dict):
        return {
            key: _target(inner, moved) if key == "$ref" else _renamed(inner, moved, depth + 1)
            for key, inner in value.items()
        }
    return [_renamed(inner, moved, depth + 1) for inner in value] if isinstance(value, list) else value


def _target(value: Any, moved: Mapping[str, str]) -> Any:
    return moved.get(value, value) if isinstance(value, str) else value
