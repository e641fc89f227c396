"""Which packages of a tree are meant: a pattern of paths or names, or a condition over what is known of each.

apps/*                                        what has no blank in it is a pattern
path startswith "apps/" and ref != "main"     the language of conditions (docs/package.md)
"""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from requisition.compiler.predicate import compile_predicate
from requisition.runtime.predicate import PredicateError, holds
from requisition.schemas.diagnostic import BadInput
from requisition.tree.member import Member, Tree

_OPTION = "--only"


def selected(tree: Tree, asked: str) -> list[Member]:
    """The members that are meant, at least one. Raises BadInput when it is no condition, or nothing matches."""
    chosen = list(filter(_test(asked), tree.members))
    if not chosen:
        names = ", ".join(member.manifest.name for member in tree.members[:8])
        raise BadInput.of(f"no package matches {asked!r}", next=f"name a path or a name, such as {names}")
    return chosen


def _test(asked: str) -> Callable[[Member], bool]:
    if not any(blank in asked for blank in " \t\n"):
        return lambda member: fnmatchcase(_path(member), asked) or fnmatchcase(member.manifest.name, asked)
    test = condition(asked, _OPTION, "a package")
    return lambda member: test(_names(member))


def condition(text: str, where: str, of: str) -> Callable[[Mapping[str, Any]], bool]:
    """A condition over what is known of something, such as `of`. Raises BadInput when it is none; the test that it
    returns does when it says nothing of what it is asked about."""
    tree = compile_predicate(text, where)

    def test(names: Mapping[str, Any]) -> bool:
        try:
            return holds(tree, names, lambda _: False)
        except PredicateError as error:
            raise BadInput.of(f"this condition says nothing of {of}: {error}", where=where) from error

    return test


def _names(member: Member) -> dict[str, str]:
    return {
        "path": _path(member),
        "name": member.manifest.name,
        "version": member.manifest.version,
        "url": member.url,
        "ref": member.ref,
        "commit": member.commit,
    }


def _path(member: Member) -> str:
    return member.path or "."
