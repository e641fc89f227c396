"""What was fetched, shared by all trees of a user: one bare repository an address, safe to delete at any time.

    <folder>/<sha256 of the url>.git       refs/known/… what the remote's refs were last · kept/<commit>
    <folder>/<sha256 of the url>.git.lock  held by who fetches into it, and by that one's git processes

Commits are fetched alone, without their history (`--depth=1`), where the remote allows; a partial clone would save
nothing more, since the whole tree of each commit is checked out. `kept/<commit>` says that a commit is here with all
that belongs to it, so that nobody has to start git to ask. A repository is made under another name and comes to its
own when its first fetch is complete; what a killed fetch left in it is removed by the next one.
"""

import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, unquote

from msgspec import Struct

from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.git_repository import Remote, check_commit, remote
from requisition.tree.git import Control, Git, full_names, missing, remote_refs
from requisition.tree.locks import held
from requisition.tree.versions import newest

_HEAD = "ref: refs/heads/none\n"
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
_TAGS = "refs/tags/"


class Wanted(Struct, frozen=True):
    """What a manifest asks of a remote: a branch, tag or whole commit (`ref`, "" its HEAD), or a range of versions."""

    ref: str = ""
    versions: str = ""


class Found(Struct, frozen=True):
    """What it was: the branch or tag ("" for HEAD and commits), and its commit."""

    ref: str
    commit: str


def is_commit(text: str) -> bool:
    """Whether a text is a whole object name."""
    try:
        check_commit(text)
    except ActionError:
        return False
    return True


def default_folder() -> str:
    """Where the cache of this user is."""
    if os.environ.get("XDG_CACHE_HOME"):
        return os.path.join(os.environ["XDG_CACHE_HOME"], "requisition/git")
    return "/var/cache/requisition/git" if os.geteuid() == 0 else os.path.expanduser("~/.cache/requisition/git")


class Cache:
    """All of them. `asked` counts how often a remote was asked for anything."""

    def __init__(self, folder: str, control: Control, *, offline: bool = False) -> None:
        """Make the folder when missing. Raises ActionError when others may write to it."""
        os.makedirs(folder, mode=0o700, exist_ok=True)
        info = os.stat(folder)
        if info.st_uid != os.geteuid() or info.st_mode & 0o022:
            raise ActionError(f"others may change the cache {folder}", f"chown it to yourself, then chmod 700 {folder}")
        self.folder = folder
        self.control = control
        self.offline = offline
        self.asked = 0
        self._counting = threading.Lock()

    def of(self, url: str) -> "Bare":
        """The one of an address. Raises ActionError for what is no address."""
        return Bare(self, remote(url))

    def count(self) -> None:
        """A remote is being asked."""
        with self._counting:
            self.asked += 1


class Bare:
    """The repository of one address; may not be there yet."""

    def __init__(self, cache: Cache, source: Remote) -> None:
        self.source = source
        self.url = source.url
        self.path = f"{cache.folder}/{hashlib.sha256(source.url.encode()).hexdigest()}.git"
        self._cache = cache

    def kept(self, commit: str) -> bool:
        """Whether a commit is here with its tree. Starts nothing."""
        return os.path.exists(f"{self.path}/kept/{commit}")

    def find(self, wanted: Wanted) -> Found:
        """What the remote has for a wish now, fetched; offline what it last had. Raises ActionError."""
        if is_commit(wanted.ref):
            self.hold(Found("", wanted.ref))
            return Found("", wanted.ref)
        if self._cache.offline:
            return self._last_known(wanted)
        with self._locked() as lock:
            names = self._names(wanted, lock)
            if os.path.isdir(self.path):
                return self._renewed(names, lock)
            return self._fetched_first(names, lock)

    def hold(self, found: Found) -> None:
        """Have a pinned commit here; asks the remote only when it is not. Raises ActionError."""
        if self.kept(found.commit):
            return
        if self._cache.offline:
            raise ActionError(
                f"{self.url} at {found.commit[:12]} is not in the cache, and no remote may be asked",
                "run it once without --offline",
            )
        with self._locked() as lock:
            if self.kept(found.commit):
                return
            with self._growing(lock) as git:
                self._take_commit(git, found)

    def forget(self) -> None:
        """Remove what is here: it turned out to be damaged."""
        with self._locked():
            shutil.rmtree(self.path, ignore_errors=True)

    def git(self) -> Git:
        """Git in it, to look."""
        return Git(self.path, self._cache.control)

    def signed_object(self, name: str) -> str:
        """The object of a tag as the remote last had it; "" for none."""
        return self._known(name)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        with held(f"{self.path}.lock", f"the cache of {self.url}", self._cache.control) as lock:
            yield lock

    def _names(self, wanted: Wanted, lock: int) -> tuple[str, ...]:
        if not wanted.versions:
            return full_names(wanted.ref)
        tags = self._listed(lock, f"{_TAGS}*")
        found = newest((name[len(_TAGS) :] for name in tags if not name.endswith("^{}")), wanted.versions)
        if not found:
            raise ActionError(
                f"{self.url} has no tag within {wanted.versions}", "git ls-remote --tags lists what it has"
            )
        return (f"{_TAGS}{found}",)

    def _listed(self, lock: int, *patterns: str) -> dict[str, str]:
        self._cache.count()
        git = Git(self._cache.folder, self._cache.control, source=self.source, inherit=(lock,))
        return remote_refs(git, self.url, *patterns)

    def _renewed(self, names: tuple[str, ...], lock: int) -> Found:
        """Ask what the names stand for, and fetch only what is not here."""
        listed = self._listed(lock, *names, *(f"{name}^{{}}" for name in names))
        for name in names:
            commit = listed.get(f"{name}^{{}}", listed.get(name, ""))
            if commit and self.kept(commit) and self._known(name) == listed[name]:
                return Found(_short(name), commit)
            if commit:
                return self._fetched(name, lock)
        raise self._lacks(names)

    def _fetched_first(self, names: tuple[str, ...], lock: int) -> Found:
        for name in names[:-1]:
            try:
                return self._fetched(name, lock)
            except ActionError as error:
                if not missing(error):
                    raise
        try:
            return self._fetched(names[-1], lock)
        except ActionError as error:
            raise self._lacks(names) if missing(error) else error from error

    def _fetched(self, name: str, lock: int) -> Found:
        with self._growing(lock) as git:
            self._fetch(git, f"+{name}:{_known_name(name)}")
            commit = _read(f"{git.folder}/{_known_name(name)}")
            if name.startswith(_TAGS):
                commit = git.object_of(f"{_known_name(name)}^{{commit}}")
            if not is_commit(commit):
                raise ActionError(f"{self.url} has no commit at {_short(name) or 'its HEAD'}", "check the name")
            _keep(git.folder, commit)
        return Found(_short(name), commit)

    def _take_commit(self, git: Git, found: Found) -> None:
        """A commit by its name; where a remote does not hand out commits that no ref names, all that it has."""
        known = f"refs/known/{found.commit}"
        try:
            self._fetch(git, f"+{found.commit}:{known}")
        except ActionError as error:
            if not missing(error):
                raise
            self._fetch_all(git)
            if not git.object_of(f"{found.commit}^{{commit}}"):
                raise ActionError(
                    f"{self.url} has no commit {found.commit[:12]}", "it was rewritten or removed: update its pin"
                ) from error
        if git.object_of(f"{found.commit}^{{commit}}") != found.commit:
            raise ActionError(f"{found.commit[:12]} of {self.url} is no commit", "name a commit, not a tag object")
        _keep(git.folder, found.commit)

    def _fetch(self, git: Git, *refspecs: str, depth: str = "--depth=1") -> None:
        self._cache.count()
        try:
            git.run("fetch", *_FETCH, *([depth] if depth else []), "--", self.url, *refspecs)
        except ActionError as error:
            if not depth or "shallow" not in str(error):
                raise
            self._fetch(git, *refspecs, depth="")

    def _fetch_all(self, git: Git) -> None:
        shallow = os.path.exists(f"{git.folder}/shallow")
        self._fetch(
            git,
            "+refs/heads/*:refs/all/heads/*",
            "+refs/tags/*:refs/all/tags/*",
            depth="--unshallow" if shallow else "",
        )

    @contextmanager
    def _growing(self, lock: int) -> Iterator[Git]:
        """Git where a fetch may go: in the repository, or in one that becomes it at the end of the block."""
        if os.path.isdir(self.path) and _sound(self.path):
            _sweep(self.path)
            yield Git(self.path, self._cache.control, source=self.source, inherit=(lock,))
            return
        fresh = f"{self.path}.new"
        for old in (fresh, self.path):
            shutil.rmtree(old, ignore_errors=True)
        _skeleton(fresh)
        yield Git(fresh, self._cache.control, source=self.source, inherit=(lock,))
        os.rename(fresh, self.path)

    def _known(self, name: str) -> str:
        return _read(f"{self.path}/{_known_name(name)}")

    def _last_known(self, wanted: Wanted) -> Found:
        names = full_names(wanted.ref) if not wanted.versions else ()
        if wanted.versions:
            tags = _entries(f"{self.path}/refs/known")
            found = newest((tag[len(_TAGS) :] for tag in map(unquote, tags) if tag.startswith(_TAGS)), wanted.versions)
            names = (f"{_TAGS}{found}",) if found else ()
        for name in names:
            if self._known(name):
                commit = self.git().object_of(f"{_known_name(name)}^{{commit}}")
                if commit and self.kept(commit):
                    return Found(_short(name), commit)
        asked = wanted.versions or wanted.ref or "its HEAD"
        raise ActionError(
            f"{self.url} at {asked} is not in the cache, and no remote may be asked", "run it once without --offline"
        )

    def _lacks(self, names: tuple[str, ...]) -> ActionError:
        what = "HEAD" if names == ("HEAD",) else f"branch or tag {_short(names[-1])!r}"
        return ActionError(f"{self.url} has no {what}", "git ls-remote lists what it has")


_FETCH = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", "--no-recurse-submodules")


def _short(name: str) -> str:
    return name.removeprefix("refs/heads/").removeprefix(_TAGS) if name != "HEAD" else ""


def _known_name(name: str) -> str:
    """Where a ref of the remote is kept: one flat name, since branches `a` and, later, `a/b` exclude each other."""
    return f"refs/known/{quote(name, safe='')}"


def _skeleton(path: str) -> None:
    """An empty bare repository (gitrepository-layout(5)), without starting git."""
    for name in ("objects/pack", "objects/info", "refs/known", "kept"):
        os.makedirs(f"{path}/{name}", mode=0o700)
    for name, text in (("HEAD", _HEAD), ("config", _CONFIG)):
        with open(f"{path}/{name}", "x", encoding="ascii") as file:
            file.write(text)


def _sound(path: str) -> bool:
    """Whether it is as it was made: a loss of power may have emptied its files."""
    return _read(f"{path}/HEAD") == _HEAD.strip() and _read(f"{path}/config") == _CONFIG.strip()


def _sweep(path: str) -> None:
    """Remove what a killed fetch left; its processes are gone, for they held the lock."""
    for folder in ("", "refs/known", "objects/pack"):
        for name in _entries(f"{path}/{folder}"):
            if name.endswith(".lock") or name.startswith(("tmp_", ".tmp-")):
                os.unlink(f"{path}/{folder}/{name}")


def _keep(path: str, commit: str) -> None:
    with open(f"{path}/kept/{commit}", "wb"):
        pass


def _entries(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def _read(path: str) -> str:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), open(path, encoding="ascii") as file:
        return file.read().strip()
    return ""
