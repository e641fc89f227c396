"""Work trees of children: how one stands, read from its files alone; made anew; moved to another commit.

A checkout is a repository of its own, with the cache's packs as hard links, detached at its commit. `.git/requisition`
says what was put there, so that nothing that a person did since is ever taken for ours. A new one is made in
`.plan/clones/` and renamed into place; a move first writes down where to; cut off, it is ended by the
next walk.
"""

import contextlib
import errno
import os
import shutil
import stat
from typing import NamedTuple

import msgspec
from msgspec import Struct

from requisition.stdlib.action import ActionError
from requisition.tree.cache import Bare, is_commit
from requisition.tree.git import Control, Git

_LIMIT = 1 << 16
_CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
[remote "origin"]
\turl = "{url}"
\tfetch = +refs/heads/*:refs/remotes/origin/*
[advice]
\tdetachedHead = false
"""
_AT_WORK = {
    "MERGE_HEAD": "a merge",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "BISECT_LOG": "a bisection",
}


class Mark(Struct, frozen=True, omit_defaults=True):
    """What we put there: the commit, of which address; `moving`: the commit that it was being moved to."""

    url: str
    commit: str
    moving: str = ""


class State(NamedTuple):
    """How a checkout stands: `branch` is "" when detached, `mark` None when we did not make it."""

    commit: str
    branch: str
    mark: Mark | None

    @property
    def moving(self) -> str:
        """The commit that a move which was cut off led to."""
        return self.mark.moving if self.mark else ""


def look(folder: str) -> State | None:
    """How the checkout stands; None when nothing is there, or an empty folder. Starts nothing. Raises ActionError
    when something else is there."""
    inner = f"{folder}/.git"
    try:
        head = _text(f"{inner}/HEAD")
    except FileNotFoundError:
        _check_free(folder)
        return None
    except NotADirectoryError as error:
        raise ActionError(
            f"{folder} is a work tree or submodule of another repository", "move it away, or name another path"
        ) from error
    try:
        mark = msgspec.json.decode(_text(f"{inner}/requisition"), type=Mark)
    except (FileNotFoundError, msgspec.MsgspecError):
        mark = None
    if is_commit(head):
        return State(head, "", mark)
    name = head.removeprefix("ref: ")
    if name == head or not name.startswith("refs/") or ".." in name:
        raise ActionError(f"{folder} has no readable HEAD", "git status there says more")
    return State(_commit_of(inner, name), name.removeprefix("refs/heads/"), mark)


def why_not_moved(folder: str, state: State, git: Git) -> str:
    """Why a checkout is a person's now, "" when it is as we left it. Asks git for changed files last."""
    for name, what in _AT_WORK.items():
        if os.path.lexists(f"{folder}/.git/{name}"):
            return f"{what} is in progress there"
    if state.branch:
        return f"it is on the branch {state.branch}"
    if state.mark is None:
        return f"it was not cloned by plan, and stands at {state.commit[:12]}"
    if state.mark.commit != state.commit:
        return f"somebody moved it to {state.commit[:12]}"
    changed = git.lines("status", "--porcelain", "-z", "--untracked-files=no", "--ignore-submodules=all")
    if changed:
        return f"it has changes: {', '.join(one[3:] for one in changed[:3])}{' …' if len(changed) > 3 else ''}"
    return ""


def make(bare: Bare, commit: str, folder: str, workshop: str, control: Control, inherit: tuple[int, ...] = ()) -> None:
    """Check a kept commit out where nothing is, or an empty folder. `workshop`: a folder that does not exist, or is
    left of a killed walk, on the same file system. Raises ActionError."""
    if os.path.lexists(workshop):
        shutil.rmtree(workshop)
    inner = f"{workshop}/.git"
    for name in ("objects/pack", "objects/info", "refs/heads", "refs/tags", "info"):
        os.makedirs(f"{inner}/{name}")
    quoted = bare.url.replace("\\", "\\\\").replace('"', '\\"')
    _put(f"{inner}/config", _CONFIG.format(url=quoted))
    _put(f"{inner}/HEAD", f"{commit}\n")
    _link_objects(bare, inner)
    Git(workshop, control, inherit=inherit).run("read-tree", "-u", "--reset", commit)
    _put(f"{inner}/requisition", _encoded(Mark(bare.url, commit)))
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    try:
        os.rename(workshop, folder)
    except OSError as error:
        raise ActionError(f"{folder} cannot be put in place: {error.strerror}", "move away what is there") from error


def move(bare: Bare, state: State, commit: str, folder: str, git: Git) -> None:
    """Bring a checkout that is as we left it to a kept commit. Raises ActionError; then it is as it was."""
    mark = Mark(bare.url, state.commit)
    _link_objects(bare, f"{folder}/.git")
    if state.mark is None or state.mark.url != bare.url:
        git.run("config", "remote.origin.url", bare.url)
    _replace_mark(folder, msgspec.structs.replace(mark, moving=commit))
    try:
        git.run("checkout", "--quiet", "--no-guess", "--detach", commit, "--")
    except ActionError:
        if _text(f"{folder}/.git/HEAD") == state.commit and not git.lines("status", "--porcelain", "-z", *_TRACKED):
            _replace_mark(folder, mark)
        raise
    _replace_mark(folder, Mark(bare.url, commit))


def mend(state: State, folder: str, git: Git) -> None:
    """End a move that was cut off. Raises ActionError, naming them, when files there are of neither commit."""
    old, new = state.commit, state.moving
    assert state.mark is not None
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{folder}/.git/index.lock")
    between = git.lines("diff", "--name-only", "--no-renames", "-z", old, new, "--")
    touched = set(git.lines("diff", "--name-only", "--no-renames", "-z", old, "--")) - set(between)
    strange = sorted(touched) + [path for path in between if not _ours(git, folder, path, old, new)]
    if state.branch or strange:
        what = f"is on the branch {state.branch}" if state.branch else f"has changes in {', '.join(strange[:3])}"
        raise ActionError(
            f"{folder} was being moved to {new[:12]} when that was cut off, and now {what}",
            f"save what you need, then run: git -C {folder} reset --hard {new}",
        )
    git.run("reset", "--quiet", "--hard", new, "--")
    _replace_mark(folder, Mark(state.mark.url, new))


_TRACKED = ("--untracked-files=no", "--ignore-submodules=all")


def _ours(git: Git, folder: str, path: str, old: str, new: str) -> bool:
    """Whether a file is as one of two commits has it, or the first part of the new one: git was writing it."""
    place = f"{folder}/{path}"
    try:
        info = os.lstat(place)
        if stat.S_ISDIR(info.st_mode):
            return True
        if stat.S_ISLNK(info.st_mode):
            content = os.fsencode(os.readlink(place))
        else:
            with open(place, "rb") as file:
                content = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return True
    before, after = (git.run("cat-file", "blob", f"{one}:{path}", ok=(0, 128)) for one in (old, new))
    return (after.status == 0 and after.stdout.startswith(content)) or (before.status == 0 and before.stdout == content)


def _check_free(folder: str) -> None:
    try:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise ActionError(f"{folder} is not a folder", "move it away, or name another path")
        if os.listdir(folder):
            raise ActionError(
                f"{folder} is a folder with files, and no repository", "move it away, or name another path"
            )
    except FileNotFoundError:
        return


def _commit_of(inner: str, name: str) -> str:
    """What a ref stands for, loose or packed; "" before the first commit."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return _text(f"{inner}/{name}")
    with contextlib.suppress(FileNotFoundError), open(f"{inner}/packed-refs", encoding="utf-8") as file:
        for line in file:
            if line.rstrip("\n").endswith(f" {name}"):
                return line.partition(" ")[0]
    return ""


def _link_objects(bare: Bare, inner: str) -> None:
    """Give a repository all packs of the cache; the commits that they have no parents of are told to git."""
    packs = f"{bare.path}/objects/pack"
    for name in sorted(os.listdir(packs), key=lambda name: name.endswith(".idx")):  # an index announces its pack
        if name.startswith("pack-") and not name.endswith(".keep"):
            _link(f"{packs}/{name}", f"{inner}/objects/pack/{name}")
    lines = set(_lines(f"{bare.path}/shallow")) | set(_lines(f"{inner}/shallow"))
    if lines:
        _put(f"{inner}/shallow.new", "".join(f"{line}\n" for line in sorted(lines)))
        os.rename(f"{inner}/shallow.new", f"{inner}/shallow")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        shutil.copyfile(source, f"{target}.new")
        os.rename(f"{target}.new", target)


def _replace_mark(folder: str, mark: Mark) -> None:
    _put(f"{folder}/.git/requisition.new", _encoded(mark))
    os.rename(f"{folder}/.git/requisition.new", f"{folder}/.git/requisition")


def _encoded(mark: Mark) -> str:
    return msgspec.json.encode(mark).decode() + "\n"


def _put(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _text(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(fd, _LIMIT).decode("utf-8", "replace").strip()
    finally:
        os.close(fd)


def _lines(path: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as file:
        return file.read().split()
    return []
