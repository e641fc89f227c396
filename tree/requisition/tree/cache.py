"""What was fetched, shared by all trees of a user: one bare repository an address, safe to delete at any time.

    <folder>/<sha256 of the url>.git       refs/known/… what the remote's refs were last · kept/<commit>
    <folder>/<sha256 of the url>.git.lock  held by who fetches into it, and by that one's git processes

Commits are fetched alone, without their history (`--depth=1`), where the remote allows; a partial clone would save
nothing more, since the whole tree of each commit is checked out. `kept/<commit>` says that a commit is here with all
that belongs to it, so that nobody has to start git to ask. A repository is made under another name and comes to its
own when its first fetch is complete; what a killed fetch left in it is removed by the next one.
"""

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.git_repository import Remote, check_commit, remote
from requisition.tree import cachefiles as files
from requisition.tree.git import Control, Git, full_names, missing, remote_refs
from requisition.tree.locks import held
from requisition.tree.versions import newest

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
        return files.kept(self.path, commit)

    def find(self, wanted: Wanted) -> Found:
        """What the remote has for a wish now, fetched; offline what it last had. Raises ActionError."""
        if is_commit(wanted.ref):
            self.hold(wanted.ref)
            return Found("", wanted.ref)
        if self._cache.offline:
            return self._last_known(wanted)
        with self._locked() as lock:
            names = self._names(wanted, lock)
            if os.path.isdir(self.path):
                return self._renewed(names, lock)
            return self._fetched_first(names, lock)

    def hold(self, commit: str) -> None:
        """Have a pinned commit here; asks the remote only when it is not. Raises ActionError."""
        if self.kept(commit):
            return
        if self._cache.offline:
            raise ActionError(
                f"{self.url} at {commit[:12]} is not in the cache, and no remote may be asked",
                "run it once without --offline",
            )
        with self._locked() as lock:
            if self.kept(commit):
                return
            with self._growing(lock) as git:
                self._take_commit(git, commit)

    def forget(self) -> None:
        """Remove what is here: it turned out to be damaged."""
        with self._locked():
            shutil.rmtree(self.path, ignore_errors=True)

    def git(self) -> Git:
        """Git in it, to look."""
        return Git(self.path, self._cache.control)

    def tag_object(self, tag: str) -> str:
        """The object of a tag, as the remote had it when it was fetched, or has it now; "" for none."""
        name = f"{_TAGS}{tag}"
        if not tag or self._known(name) or self._cache.offline:
            return self._known(name) if tag else ""
        try:
            with self._locked() as lock:
                self._fetched(name, lock)
        except ActionError as error:
            if not missing(error):
                raise
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
            self._fetch(git, f"+{name}:{files.known_name(name)}")
            commit = files.read(f"{git.folder}/{files.known_name(name)}")
            if name.startswith(_TAGS):
                commit = git.object_of(f"{files.known_name(name)}^{{commit}}")
            if not is_commit(commit):
                raise ActionError(f"{self.url} has no commit at {_short(name) or 'its HEAD'}", "check the name")
            files.keep(git.folder, commit)
        return Found(_short(name), commit)

    def _take_commit(self, git: Git, commit: str) -> None:
        """A commit by its name; where a remote does not hand out commits that no ref names, all that it has."""
        known = f"refs/known/{commit}"
        try:
            self._fetch(git, f"+{commit}:{known}")
        except ActionError as error:
            if not missing(error):
                raise
            self._fetch_all(git)
            if not git.object_of(f"{commit}^{{commit}}"):
                raise ActionError(
                    f"{self.url} has no commit {commit[:12]}", "it was rewritten or removed: update its pin"
                ) from error
        if git.object_of(f"{commit}^{{commit}}") != commit:
            raise ActionError(f"{commit[:12]} of {self.url} is no commit", "name a commit, not a tag object")
        files.keep(git.folder, commit)

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
        if os.path.isdir(self.path) and files.sound(self.path):
            files.sweep(self.path)
            yield Git(self.path, self._cache.control, source=self.source, inherit=(lock,))
            return
        fresh = f"{self.path}.new"
        for old in (fresh, self.path):
            shutil.rmtree(old, ignore_errors=True)
        files.skeleton(fresh)
        yield Git(fresh, self._cache.control, source=self.source, inherit=(lock,))
        os.rename(fresh, self.path)

    def _known(self, name: str) -> str:
        return files.read(f"{self.path}/{files.known_name(name)}")

    def _last_known(self, wanted: Wanted) -> Found:
        names = full_names(wanted.ref) if not wanted.versions else ()
        if wanted.versions:
            tags = [name[len(_TAGS) :] for name in files.known_names(self.path) if name.startswith(_TAGS)]
            found = newest(tags, wanted.versions)
            names = (f"{_TAGS}{found}",) if found else ()
        for name in names:
            if self._known(name):
                commit = self.git().object_of(f"{files.known_name(name)}^{{commit}}")
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
