"""Names and patterns over many values: what a pattern matches, what a wrong name probably meant, how a name is written.

In a pattern `*` is any text, `?` a character, `[a-z]` one of these. One without them is the text itself.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate
from heapq import nlargest

from requisition.review.values import visible
from requisition.schemas.document import Node

_CANDIDATES = 50
_QUOTED = re.compile(r"""^[+-]|[\s"'(),&|^\\]|^(union|intersect|except)$|^$""")
_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"'})
_SPECIAL = re.compile(r"[*?[]")


def is_pattern(text: str) -> bool:
    """Whether a text has something in it that stands for other text."""
    return _SPECIAL.search(text) is not None


def matcher(pattern: str) -> Callable[[str], object]:
    """Whether a value is what a pattern means."""
    return re.compile(translate(pattern)).match if is_pattern(pattern) else pattern.__eq__


def matching(pattern: str, nodes: Sequence[Node]) -> set[int]:
    """Numbers of nodes of whose id all, what follows the phase, or what follows the action is what a pattern means."""
    match = re.compile(translate(pattern)).match
    found = {number for number, node in enumerate(nodes) if match(node.id)}
    if pattern.startswith("*"):  # any beginning is in it already
        return found
    for number, node in enumerate(nodes):
        start = len(node.phase) + 1 if node.id.startswith(node.phase + "/") else 0
        if match(node.id, start) or match(node.id, node.id.find(":", start) + 1):
            found.add(number)
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """What was probably meant, empty when nothing is near. Most of what is known is left out by its ends, which cost
    little to compare: one mistake leaves them as they are."""
    from difflib import get_close_matches

    def alike(other: str) -> int:
        start = _shared(name, other)
        return start + _shared(name[start:][::-1], other[start:][::-1]) - abs(len(name) - len(other))

    near = get_close_matches(name, nlargest(_CANDIDATES, known, key=alike), 1, 0.7)
    return near[0] if near else ""


def _shared(one: str, other: str) -> int:
    """How many characters two texts have in common from their start on."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def ends(ids: Iterable[str]) -> Iterable[str]:
    """What follows the action in ids."""
    return (end for one in ids if (end := one.partition(":")[2]))


def quoted(name: str) -> str:
    """A name as a query says it."""
    if name.isprintable() and not _QUOTED.search(name):
        return name
    return f'"{visible(name.translate(_ESCAPED))}"'
