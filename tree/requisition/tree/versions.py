"""Tags as versions: `v1.4.2`, `1.4`, `2.0.0-rc.1`; and which of them a range allows (semver.org 2.0.0 §11, where
missing numbers are 0). Pure."""

import re
from collections.abc import Iterable
from typing import Any

from requisition.stdlib.providers.package.versions import Clause, allows, parse

_VERSION = re.compile(r"v?([0-9]{1,18}(?:\.[0-9]{1,18}){0,3})(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")


def check_range(text: str) -> tuple[Clause, ...]:
    """`>=1.2,<2` as bounds. Raises ValueError naming the part that is none."""
    clauses = parse(text)
    for clause in clauses:
        _key(clause.version)
    return clauses


def newest(tags: Iterable[str], wanted: str) -> str:
    """The tag of the newest version that a range allows; "" for none. Versions before a release (`-rc.1`) count only
    when the range names one itself."""
    clauses = check_range(wanted)
    early = any(_key(clause.version)[1] != _RELEASE for clause in clauses)
    found = [tag for tag in tags if _VERSION.fullmatch(tag) and (early or _key(tag)[1] == _RELEASE)]
    return max((tag for tag in found if allows(clauses, _compare, tag)), key=lambda tag: (_key(tag), tag), default="")


def within(tag: str, wanted: str) -> bool:
    """Whether a tag is a version that the range allows."""
    return newest([tag], wanted) == tag != ""


_RELEASE: tuple[Any, ...] = (1,)


def _key(version: str) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ValueError(f"{version!r} is no version like 1.2.3")
    numbers = [int(part) for part in found[1].split(".")]
    if found[2] is None:
        return (*numbers, *(0 for _ in range(4 - len(numbers)))), _RELEASE
    early = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in found[2].split("."))
    return (*numbers, *(0 for _ in range(4 - len(numbers)))), (0, early)


def _compare(one: str, other: str) -> int:
    first, second = _key(one), _key(other)
    return 0 if first == second else 1 if first > second else -1
