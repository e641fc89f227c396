"""Constraints on versions, and the order of Debian's versions. Pure."""

import re
from collections.abc import Callable, Iterable
from typing import Literal, cast

from msgspec import Struct

Compare = Callable[[str, str], int]
Operator = Literal["=", "!=", "<", "<=", ">", ">="]

_CLAUSE = re.compile(r"(=|!=|<=|>=|<|>|)\s*([A-Za-z0-9][A-Za-z0-9.+:~_!^-]*)")


class Clause(Struct, frozen=True):
    """One bound: `>=1.2`."""

    operator: Operator
    version: str

    def __str__(self) -> str:
        return f"{self.operator}{self.version}"

    def holds(self, compare: Compare, version: str) -> bool:
        """Whether a version is within it."""
        found = compare(version, self.version)
        match self.operator:
            case "=":
                return found == 0
            case "!=":
                return found != 0
            case "<":
                return found < 0
            case "<=":
                return found <= 0
            case ">":
                return found > 0
            case ">=":
                return found >= 0


def parse(text: str) -> tuple[Clause, ...]:
    """`">=1.2, <2"` as clauses, all of which must hold; a version alone means `=`; empty: any version. Raises
    ValueError naming the part that is none."""
    clauses = []
    for part in text.split(",") if text.strip() else ():
        match = _CLAUSE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part.strip()!r} is no version or bound, like =1.2-3 or >=1.2")
        clauses.append(Clause(cast("Operator", match[1] or "="), match[2]))
    return tuple(clauses)


def spelled(clauses: Iterable[Clause]) -> str:
    """Clauses as `parse` reads them, each once."""
    return ",".join(dict.fromkeys(str(clause) for clause in clauses))


def allows(clauses: Iterable[Clause], compare: Compare, version: str) -> bool:
    """Whether a version is within all of them."""
    return all(clause.holds(compare, version) for clause in clauses)


def quarrel(clauses: Iterable[Clause], compare: Compare) -> tuple[Clause, ...]:
    """Two or three clauses that no version can satisfy together; none when some version may satisfy all. Between two
    different versions there is taken to be another one."""
    clauses = tuple(clauses)
    floor = _tightest(clauses, _FLOORS, 1, compare)
    ceiling = _tightest(clauses, _CEILINGS, -1, compare)
    if floor is None or ceiling is None:
        return ()
    order = compare(floor.version, ceiling.version)
    if order > 0 or (order == 0 and (floor.operator == ">" or ceiling.operator == "<")):
        return floor, ceiling
    if order == 0:
        for clause in clauses:
            if clause.operator == "!=" and compare(clause.version, floor.version) == 0:
                both = (
                    (floor,) if floor.operator == "=" else (ceiling,) if ceiling.operator == "=" else (floor, ceiling)
                )
                return *both, clause
    return ()


_FLOORS, _CEILINGS = (">=", "=", ">"), ("<=", "=", "<")  # the later, the less they leave at one version


def _tightest(clauses: Iterable[Clause], operators: tuple[str, ...], sign: int, compare: Compare) -> Clause | None:
    """The clause that leaves the least on one side: the highest floor (`sign` 1) or the lowest ceiling (−1)."""
    found: Clause | None = None
    for clause in clauses:
        if clause.operator in operators:
            order = 1 if found is None else sign * compare(clause.version, found.version)
            if order > 0 or (
                found and order == 0 and operators.index(clause.operator) > operators.index(found.operator)
            ):
                found = clause
    return found


def debian_compare(one: str, other: str) -> int:
    """Order of Debian versions (deb-version(7)): epoch, upstream, revision; `~` before everything. Raises
    ValueError for what is no version."""
    first, second = _debian_parts(one), _debian_parts(other)
    if first[0] != second[0]:
        return -1 if first[0] < second[0] else 1
    return _verrevcmp(first[1], second[1]) or _verrevcmp(first[2], second[2])


_DEBIAN = re.compile(r"(?:([0-9]+):)?([0-9][A-Za-z0-9.+:~-]*?)(?:-([A-Za-z0-9.+~]+))?")


def _debian_parts(version: str) -> tuple[int, str, str]:
    match = _DEBIAN.fullmatch(version)
    if match is None or version.endswith("-") or (match[1] is None and ":" in version):
        raise ValueError(f"{version!r} is no Debian version")
    return int(match[1] or 0), match[2], match[3] or ""


def _verrevcmp(one: str, other: str) -> int:
    """Alternately the longest prefixes without digits, by `_weight`, and of digits, by number; the same comparison
    as dpkg's function of that name."""
    at, to = 0, 0
    while at < len(one) or to < len(other):
        while (at < len(one) and not one[at].isdigit()) or (to < len(other) and not other[to].isdigit()):
            left, right = _weight(one, at), _weight(other, to)
            if left != right:
                return -1 if left < right else 1
            at, to = at + 1, to + 1
        first, at = _number(one, at)
        second, to = _number(other, to)
        if first != second:
            return -1 if first < second else 1
    return 0


def _weight(text: str, at: int) -> int:
    """`~`, then the end or a digit, then letters, then the rest."""
    if at >= len(text) or text[at].isdigit():
        return 0
    char = text[at]
    if char == "~":
        return -1
    return ord(char) if char.isalpha() else ord(char) + 256


def _number(text: str, at: int) -> tuple[int, int]:
    end = at
    while end < len(text) and text[end].isdigit():
        end += 1
    return int(text[at:end] or 0), end
