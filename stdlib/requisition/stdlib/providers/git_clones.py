"""How a clone comes to its name and goes again: made beside it, renamed into place, and removed by undo only
while it holds nothing but what was cloned. What that was is written in `.git/requisition` of the clone.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, Raced, UndoConflict
from requisition.stdlib.host import ABSENT, FileChange, Host
from requisition.stdlib.providers.file import missing_parents
from requisition.stdlib.providers.git_repository import Repository

_MARK_LIMIT = 64 << 20


class Mark(Struct, frozen=True):
    """What a clone held when it was made: its commit, its tags, the digest of its configuration."""

    commit: str
    tags: tuple[str, ...]
    config: str


def check_free(host: Host, path: str) -> None:
    """Raises ActionError unless the path is absent or an empty directory."""
    found = host.stat(path)
    if found is None or (found.kind == "dir" and not host.listdir(path)):
        return
    what = "a directory that is not empty, and no repository" if found.kind == "dir" else "no directory"
    raise ActionError(f"{path} is {what}", "move it away first, or clone to another path")


def places(host: Host, path: str) -> tuple[FileChange, ...]:
    """Parents that have to be made, and the empty directory that has to go."""
    made = [FileChange(one, ABSENT, Left(one, "dir", 0o755)) for one in missing_parents(host, path)]
    if host.stat(path) is not None:
        made.append(FileChange(path, host.capture(path), Left(path, "absent")))
    return tuple(made)


@contextmanager
def beside(host: Host, path: str, files: Iterable[FileChange]) -> Iterator[str]:
    """The temporary name beside `path` to clone into; at the end it becomes `path`, which must be free."""
    temporary = _temporary(path)
    for one in files:
        if one.expect.kind == "dir":
            host.make_dir(one)
    _clear(host, temporary)
    yield temporary
    for one in files:
        if one.expect.kind == "absent":
            host.delete(one)
    try:
        host.rename(temporary, path)
    except Raced:
        _clear(host, temporary)
        raise


def mark(repository: Repository, commit: str) -> None:
    """Write down what the fresh clone holds."""
    host, path = repository.host, f"{repository.path}/.git/requisition"
    tags = repository.ask("for-each-ref", "--format=%(objectname)", "refs/tags").stdout.decode().split()
    content = msgspec.json.encode(Mark(commit, tuple(tags), host.digest(f"{repository.path}/.git/config")))
    host.put_file(FileChange(path, ABSENT, host.expect_file(path, content, 0o644, -1, -1)), content)


def take_back(host: Host, path: str, commit: str) -> None:
    """Remove a clone, and what was left of one half made. Raises UndoConflict when someone worked in it."""
    _remove(host, _temporary(path))
    if host.stat(path) is None:
        return
    try:
        made = msgspec.json.decode(host.read(f"{path}/.git/requisition", _MARK_LIMIT), type=Mark)
    except (ActionError, msgspec.MsgspecError) as error:
        raise UndoConflict(f"{path} is not the clone that was made there; it is left as it is") from error
    repository = Repository(host, path, None, 0)
    head = repository.head(submodules=True, untracked=True)
    if head.changed:
        raise UndoConflict(f"{path} holds changes: {', '.join(head.changed[:3])}; it is left as it is")
    if head.commit != commit or made.commit != commit:
        raise UndoConflict(f"{path} was moved to {head.commit[:12]} since; it is left as it is")
    if _worked_in(repository, made):
        raise UndoConflict(f"{path} holds commits, hooks or settings of its own; it is left as it is")
    _remove(host, path)


def _worked_in(repository: Repository, made: Mark) -> bool:
    host, inner = repository.host, f"{repository.path}/.git"
    if any(host.stat(f"{inner}/{name}") is not None for name in ("hooks", "worktrees", "info/exclude")):
        return True
    if host.digest(f"{inner}/config") != made.config:
        return True
    known = [made.commit, *made.tags]
    if repository.commits_beside("--all", "--reflog", "--not", "--remotes", known=known):
        return True
    if host.stat(f"{inner}/modules") is None:
        return False
    own = "git rev-list --max-count=1 --all --reflog --not --remotes --tags HEAD"
    return bool(repository.ask("submodule", "--quiet", "foreach", "--recursive", own).stdout.strip())


def _temporary(path: str) -> str:
    """One name a clone, so that undo finds what a killed run left."""
    folder = path.rpartition("/")[0]
    return f"{folder}/.rq-clone-{hashlib.sha256(path.encode()).hexdigest()[:16]}"


def _clear(host: Host, temporary: str) -> None:
    if host.stat(temporary) is not None:
        done = host.run(["rm", "-rf", "--", host.real_path(temporary)])
        if done.status != 0:
            raise ActionError(f"{temporary} cannot be removed: {done.stderr.decode('utf-8', 'replace').strip()}")


def _remove(host: Host, path: str) -> None:
    """Everything at and below a path, children first, by directory descriptor."""
    for one in [found for found, _ in host.walk(path)][::-1]:
        host.delete(FileChange(one, host.capture(one, content=False), Left(one, "absent")))
