"""The order of a tree: every package after all that it needs; and work on its packages in that order, in parallel."""

import queue
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from requisition.schemas.diagnostic import BadInput
from requisition.tree.member import Member, Tree
from requisition.tree.validate import cycles, shown


class Outcome(Struct, frozen=True):
    """What became of each member, by path. `halted` ones were not begun: the path of the failed member that each of
    them needs, directly or through others."""

    done: tuple[str, ...]
    failed: dict[str, Exception]
    halted: dict[str, str]


def post_order(tree: Tree) -> tuple[Member, ...]:
    """Depth first, children before parents, and what `depends_on` names before who names it; otherwise as the
    manifests list them. Raises BadInput when members wait for each other."""
    around = cycles(tree.needs)
    if around:
        way = " → ".join(shown(path) for path in [*around[0], around[0][0]])
        raise BadInput.of(f"packages wait for each other: {way}", where=tree.root, next="remove one depends_on")
    members = {member.path: member for member in tree.members}
    found: dict[str, Member] = {}
    for member in tree.members:
        stack = [member.path]
        while stack:
            path = stack[-1]
            before = [one for one in tree.needs.get(path, ()) if one not in found]
            if before and path not in found:
                stack += reversed(before)
            else:
                found.setdefault(path, members[path])
                stack.pop()
    return tuple(found.values())


def once(tree: Tree) -> dict[str, str]:
    """For members that are another one over again (the same address at the same commit, at another path), the path
    of the first one: whoever installs them needs to do it once."""
    first: dict[tuple[str, str], str] = {}
    found = {}
    for member in tree.members:
        if member.url and first.setdefault((member.url, member.commit), member.path) != member.path:
            found[member.path] = first[member.url, member.commit]
    return found


def schedule(tree: Tree, jobs: int, run: Callable[[Member], None]) -> Outcome:
    """Call `run` for every member, each as soon as all that it needs is done, up to `jobs` at a time and each once.
    A member whose `run` raises halts those that need it, and nobody else. Interrupted, nothing more is begun."""
    members = {member.path: member for member in post_order(tree)}
    waiting = {path: len(set(tree.needs.get(path, ()))) for path in members}
    needed_by: dict[str, list[str]] = {path: [] for path in members}
    for path in members:
        for need in set(tree.needs.get(path, ())):
            needed_by[need].append(path)
    done: list[str] = []
    failed: dict[str, Exception] = {}
    ended: queue.SimpleQueue[tuple[str, BaseException | None]] = queue.SimpleQueue()

    def work(path: str) -> None:
        try:
            run(members[path])
        except BaseException as error:  # noqa: BLE001 told, or raised again, by the leading thread
            ended.put((path, error))
        else:
            ended.put((path, None))

    with ThreadPoolExecutor(max(1, jobs), "tree") as pool:
        ready = [path for path in members if not waiting[path]]
        running = 0
        try:
            while ready or running:
                for path in ready:
                    pool.submit(work, path)
                running += len(ready)
                ready = []
                path, error = ended.get()
                running -= 1
                if isinstance(error, Exception):
                    failed[path] = error
                    continue
                if error is not None:
                    raise error
                done.append(path)
                for one in needed_by[path]:
                    waiting[one] -= 1
                    if not waiting[one]:
                        ready.append(one)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return Outcome(tuple(done), failed, _halted(members, tree.needs, failed))


def _halted(
    members: Mapping[str, Member], needs: Mapping[str, tuple[str, ...]], failed: Mapping[str, Exception]
) -> dict[str, str]:
    culprit: dict[str, str] = {path: path for path in failed}
    for path in members:
        for need in needs.get(path, ()):
            if need in culprit:
                culprit.setdefault(path, culprit[need])
    return {path: one for path, one in culprit.items() if path not in failed}
