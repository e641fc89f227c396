"""What a remote has, and what of it is wanted: exact names, globs, versions. Pure.

A ref is named in full or not at all: `main` is `refs/heads/main` and nothing that ends alike. Globs are matched part by
part, so that `release/*` is not `release/1/old`; they are applied anew each time, so new branches are found. Of the
tags that one pattern allows, only the newest version is wanted: those before it are history.
"""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.git_repository import check_commit, check_ref
from requisition.tree.versions import newest

HEADS = "refs/heads/"
TAGS = "refs/tags/"
MAX_REFS = 200_000
_PEELED = "^{}"
_GLOB = re.compile(r"[*?\[]")


def full(pattern: str) -> str:
    """The full name, or glob of such, of what watch.yaml calls `main`, `tag:v*` or `refs/heads/main`."""
    if pattern.startswith("tag:"):
        return TAGS + pattern[4:]
    return pattern if pattern.startswith("refs/") else HEADS + pattern


def is_tag(pattern: str) -> bool:
    """Whether tags are meant."""
    return full(pattern).startswith(TAGS)


def short(ref: str) -> str:
    """How a ref is called where a person reads it."""
    return ref.removeprefix(HEADS) if ref.startswith(HEADS) else ref.replace(TAGS, "tag:", 1)


def fault(pattern: str) -> str:
    """Why a pattern is none; "" when it is one."""
    name = full(pattern)
    if not name.startswith((HEADS, TAGS)):
        return f"{pattern!r} is neither a branch nor a tag"
    try:
        check_ref(re.sub(r"[*?\[\]]", "x", name.split("/", 2)[2]))
    except ActionError:
        return f"{pattern!r} is no name of a branch or tag, and no glob of such"
    return ""


def listed(answer: str) -> dict[str, str]:
    """Branches and tags out of what `git ls-remote` prints, each with its commit: that of an annotated tag, not the
    tag's own. Raises ValueError for anything that is no such list."""
    found: dict[str, str] = {}
    for line in answer.splitlines():
        commit, _, name = line.partition("\t")
        if not name.startswith((HEADS, TAGS)):
            continue
        try:
            check_commit(commit)
            check_ref(name.removesuffix(_PEELED))
        except ActionError as error:
            raise ValueError(str(error)) from error
        found[name] = commit
    if len(found) > MAX_REFS:
        raise ValueError(f"it has more than {MAX_REFS} refs")
    peeled = {name.removesuffix(_PEELED): commit for name, commit in found.items() if name.endswith(_PEELED)}
    return {name: commit for name, commit in found.items() if not name.endswith(_PEELED)} | peeled


def wanted(patterns: Iterable[str], remote: Mapping[str, str]) -> dict[str, str]:
    """Refs of a remote that the patterns mean, with their commits."""
    found: dict[str, str] = {}
    for pattern in map(full, patterns):
        if not _GLOB.search(pattern):
            names = [pattern] if pattern in remote else []
        else:
            names = [name for name in remote if _matches(name, pattern)]
            if pattern.startswith(TAGS):
                names = _newest(names)
        found |= {name: remote[name] for name in names}
    return found


def _matches(name: str, pattern: str) -> bool:
    parts, wanted_parts = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted_parts) and all(map(fnmatchcase, parts, wanted_parts))


def _newest(tags: list[str]) -> list[str]:
    """The tag of the newest version, by its last part; of tags that are no versions, the last by name."""
    versions = {name.rpartition("/")[2]: name for name in sorted(tags)}
    best = newest(versions, "")
    return [versions[best]] if best else [max(tags)] if tags else []
