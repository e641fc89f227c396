"""The orders of versions that package managers other than apt have. Pure; each raises ValueError for no version."""

import re
from collections.abc import Callable
from typing import Any

_PEP440 = re.compile(
    r"v?(?:(?P<epoch>[0-9]+)!)?(?P<release>[0-9]+(?:\.[0-9]+)*)"
    r"(?:[-_.]?(?P<pre>a|b|c|rc|alpha|beta|pre|preview)[-_.]?(?P<pre_n>[0-9]*))?"
    r"(?P<post>-(?P<post_n1>[0-9]+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_n2>[0-9]*))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<dev_n>[0-9]*))?(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?",
    re.IGNORECASE,
)
_PRE = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
_SEMVER = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_APK = re.compile(
    r"([0-9]+(?:\.[0-9]+)*)([a-z]?)((?:_(?:alpha|beta|pre|rc|cvs|svn|git|hg|p)[0-9]*)*)(?:~[0-9a-f]+)?(?:-r([0-9]+))?"
)
_APK_SUFFIX = re.compile(r"_([a-z]+)([0-9]*)")
_APK_RANK = {"alpha": -4, "beta": -3, "pre": -2, "rc": -1, "cvs": 1, "svn": 2, "git": 3, "hg": 4, "p": 5}
_EVR = re.compile(r"(?:([0-9]+):)?([A-Za-z0-9.+_~^]+)(?:-([A-Za-z0-9.+_~^]+))?")
_SEGMENT = re.compile(r"[0-9]+|[A-Za-z]+|[~^]")
_ALPM_PART = re.compile(r"([^A-Za-z0-9]*)([0-9]+|[A-Za-z]+|)")


def _by(key: Callable[[str], Any]) -> Callable[[str, str], int]:
    def compare(one: str, other: str) -> int:
        first, second = key(one), key(other)
        return 0 if first == second else 1 if first > second else -1

    return compare


def _pep440_key(version: str) -> Any:
    found = _PEP440.fullmatch(version.strip())
    if found is None:
        raise ValueError(f"{version!r} is no Python version")
    release = [int(part) for part in found["release"].split(".")]
    while release and release[-1] == 0:
        release.pop()
    dev = (0, int(found["dev_n"] or 0)) if found["dev"] else (1, 0)
    post = (1, int(found["post_n1"] or found["post_n2"] or 0)) if found["post"] else (0, 0)
    if found["pre"]:
        pre = (_PRE[found["pre"].lower()], int(found["pre_n"] or 0))
    else:
        pre = (-1, 0) if found["dev"] and not found["post"] else (3, 0)
    local = re.split(r"[-_.]", found["local"].lower()) if found["local"] else []
    parts = [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in local]
    return int(found["epoch"] or 0), release, pre, post, dev, parts


def _semver_key(version: str) -> Any:
    found = _SEMVER.fullmatch(version)
    if found is None:
        raise ValueError(f"{version!r} is no version like 1.2.3")
    pre = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in (found[4] or "").split(".") if part]
    return int(found[1]), int(found[2]), int(found[3]), not pre, pre


def _apk_key(version: str) -> Any:
    found = _APK.fullmatch(version)
    if found is None:
        raise ValueError(f"{version!r} is no version of Alpine")
    first, *others = found[1].split(".")
    numbers = [(int(first), "")] + [(0, part) if part[0] == "0" else (int(part), "") for part in others]
    suffixes = [(_APK_RANK[name], int(number or 0)) for name, number in _APK_SUFFIX.findall(found[3])]
    return numbers, found[2], [*suffixes, (0, 0)], int(found[4] or 0)


pep440_compare = _by(_pep440_key)
"""Python packages (packaging.python.org, "Version specifiers")."""
semver_compare = _by(_semver_key)
"""npm packages (semver.org 2.0.0); what is built from the same version is equal."""
apk_compare = _by(_apk_key)
"""Alpine packages (apk-package(5))."""


def rpm_compare(one: str, other: str) -> int:
    """RPM's epoch, version and release (rpm-version(7))."""
    return _evr_compare(one, other, _rpm_order, "an rpm")


def alpm_compare(one: str, other: str) -> int:
    """Pacman's epoch, version and release (vercmp(8)); a release only counts where both have one."""
    return _evr_compare(one, other, _alpm_order, "a pacman")


def brew_compare(one: str, other: str) -> int:
    """Homebrew's version, segment by segment, and its revision behind a `_`."""
    (first, _, revision), (second, _, other_revision) = one.partition("_"), other.partition("_")
    return _evr_compare(first, second, _rpm_order, "a brew") or int(revision or 0) - int(other_revision or 0)


def _evr_compare(one: str, other: str, order: Callable[[str, str], int], whose: str) -> int:
    first, second = _EVR.fullmatch(one), _EVR.fullmatch(other)
    if first is None or second is None:
        raise ValueError(f"{(one if first is None else other)!r} is no version of {whose} package")
    epochs = int(first[1] or 0) - int(second[1] or 0)
    if epochs:
        return epochs
    return order(first[2], second[2]) or (order(first[3], second[3]) if first[3] and second[3] else 0)


def _rpm_order(one: str, other: str) -> int:
    """rpmvercmp: segments of digits or letters, `~` before the end, `^` behind it."""
    left, right = _SEGMENT.findall(one), _SEGMENT.findall(other)
    for at in range(max(len(left), len(right))):
        a = left[at] if at < len(left) else ""
        b = right[at] if at < len(right) else ""
        if a == b:
            continue
        if "~" in (a, b):
            return -1 if a == "~" else 1
        if "^" in (a, b):
            later = (b if a == "^" else a) == ""  # `^` is after the end, and before anything else
            return (1 if later else -1) * (1 if a == "^" else -1)
        if not a or not b:
            return 1 if a else -1
        if a[0].isdigit() != b[0].isdigit():
            return 1 if a[0].isdigit() else -1
        first, second = (int(a), int(b)) if a[0].isdigit() else (a, b)
        if first != second:
            return 1 if first > second else -1  # type: ignore[operator]
    return 0


def _alpm_order(one: str, other: str) -> int:
    """alpm's variant: what is left over counts as later unless it begins with a letter, and more separators do."""
    left, right = _alpm_parts(one), _alpm_parts(other)
    for (space, a), (room, b) in zip(left, right, strict=False):
        if len(space) != len(room):
            return len(space) - len(room)
        if a[0].isdigit() != b[0].isdigit():
            return 1 if a[0].isdigit() else -1
        first, second = (int(a), int(b)) if a[0].isdigit() else (a, b)
        if first != second:
            return 1 if first > second else -1  # type: ignore[operator]
    if len(left) == len(right):
        return 0
    rest, sign = (left, 1) if len(left) > len(right) else (right, -1)
    space, begin = rest[min(len(left), len(right))]
    return -sign if not space and begin[0].isalpha() else sign


def _alpm_parts(version: str) -> list[tuple[str, str]]:
    return [(space, part) for space, part in _ALPM_PART.findall(version) if part]
