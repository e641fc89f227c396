"""Inputs of two orders: which files differ, and how, where both contents are at hand."""

from typing import Protocol

from msgspec import Struct

from requisition.runtime.diffs import MAX_DIFF_BYTES, content_diff
from requisition.schemas.document import Input, Order

MAX_TEXT = 4 << 20


class InputChange(Struct, frozen=True, omit_defaults=True):
    """A file that an order reads. Digests in hex and sizes in bytes, empty and 0 for one that is not there. `diff` is a
    unified diff of the contents, or says why there is none."""

    path: str
    before: str = ""
    after: str = ""
    size_before: int = 0
    size_after: int = 0
    diff: str = ""


class HasInputs(Protocol):
    """One side of a comparison."""

    @property
    def order(self) -> Order:
        """Its order."""
        ...

    def content(self, item: Input) -> bytes | None:
        """An input, verified; None when it is not at hand."""
        ...


class TextBudget:
    """Bytes that may still be compared line by line: a document from anywhere must not keep a reviewer waiting."""

    def __init__(self, left: int = MAX_TEXT) -> None:
        self._left = left

    def allows(self, size: int) -> bool:
        """Whether so many bytes may be compared."""
        return size <= min(self._left, 2 * MAX_DIFF_BYTES)

    def diff(self, before: bytes | None, after: bytes | None) -> str:
        """A unified diff without its two lines of names, or a line that says why there is none."""
        size = len(before or b"") + len(after or b"")
        if not self.allows(size):
            return too_much(len(before or b""), len(after or b""))
        self._left -= size
        text = content_diff("", before, after)
        return text.split("\n", 2)[2] if text.startswith("---") else text.removeprefix(": ")


def too_much(before: int, after: int) -> str:
    """In the place of a diff that would be too long, or take too long."""
    return f"{before:,} bytes become {after:,} (too much to show)\n"


def input_changes(a: HasInputs, b: HasInputs, budget: TextBudget) -> tuple[InputChange, ...]:
    """Files whose content or mode differs, or that only one side reads, by path."""
    old, new = ({item.path: item for item in side.order.inputs} for side in (a, b))
    return tuple(
        _change(path, a, b, old.get(path), new.get(path), budget)
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    )


def _change(
    path: str, a: HasInputs, b: HasInputs, was: Input | None, now: Input | None, budget: TextBudget
) -> InputChange:
    return InputChange(
        path,
        was.sha256 if was else "",
        now.sha256 if now else "",
        was.size if was else 0,
        now.size if now else 0,
        _diff(a, b, was, now, budget),
    )


def _diff(a: HasInputs, b: HasInputs, was: Input | None, now: Input | None, budget: TextBudget) -> str:
    if was and now and was.sha256 == now.sha256:
        return f"mode {was.mode:04o} becomes {now.mode:04o}\n"
    if not budget.allows((was.size if was else 0) + (now.size if now else 0)):
        return too_much(was.size if was else 0, now.size if now else 0)
    old, new = (side.content(item) if item else None for side, item in ((a, was), (b, now)))
    if (was and old is None) or (now and new is None):
        return "a content is not at hand: build with --bundle, or keep the package beside the order\n"
    return budget.diff(old, new)
