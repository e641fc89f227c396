"""Git, spoken to so that nothing but git itself runs (`tree/git.py`), in processes that can be ended: what a remote
has, and one commit of it in a folder of its own."""

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence

from requisition.schemas.diagnostic import Failed
from requisition.services import processes
from requisition.services.processes import Ended, Limits
from requisition.services.watch import refs
from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.git_repository import ENVIRONMENT, remote, settings_of
from requisition.tree import cachefiles
from requisition.tree.git import OF_USER, SETTINGS

MAX_ANSWER = 32 << 20
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
_SHOWN = 400


class Unreachable(Failed):
    """A remote did not answer, or not as one does."""


async def heads(url: str, timeout: float) -> dict[str, str]:
    """Branches and tags of a remote, with their commits. Raises Unreachable within about `timeout` seconds."""
    answer = bytearray()

    def take(chunk: bytes) -> None:
        if len(answer) <= MAX_ANSWER:
            answer.extend(chunk)

    words = ["ls-remote", "--quiet", "--heads", "--tags", "--", url]
    try:
        ended = await processes.run(
            ["git", *settings_of(()), *words],
            env=environment(url),
            limits=Limits(total=timeout, grace=1),
            on_out=take,
        )
    except ActionError as error:
        raise Unreachable.of(str(error), where=url) from error
    if not ended.good:
        raise Unreachable.of("the remote does not answer", where=url, why=why(ended))
    if len(answer) > MAX_ANSWER:
        raise Unreachable.of(f"the remote has more than {MAX_ANSWER} bytes of refs", where=url)
    try:
        return refs.listed(answer.decode("utf-8", "replace"))
    except ValueError as error:
        raise Unreachable.of("the remote's answer is no list of refs", where=url, why=str(error)) from error


class Clone:
    """What was fetched of one remote, bare. Whoever uses it holds the watch's lock, and lets git inherit it."""

    def __init__(self, folder: str, url: str, inherit: Sequence[int], log: Callable[[bytes], None]) -> None:
        self.folder = folder
        self._url = url
        self._inherit = inherit
        self._log = log

    def prepare(self) -> None:
        """Make it where there is none, remove what a killed fetch left, or all of it where it is damaged."""
        if os.path.lexists(self.folder) and not cachefiles.sound(self.folder):
            shutil.rmtree(self.folder)
        if not os.path.lexists(self.folder):
            cachefiles.skeleton(self.folder)
        cachefiles.sweep(self.folder)

    async def fetch(self, ref: str, timeout: float) -> None:
        """Bring what a ref names now, with its history. Raises Failed."""
        wish = f"+{ref}:{local_name(ref)}"
        await self._git(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force", "--", self._url, wish, timeout=timeout
        )

    async def has(self, commit: str, timeout: float) -> bool:
        """Whether a commit is here."""
        return (await self._git("cat-file", "-e", f"{commit}^{{commit}}", ok=(0, 1, 128), timeout=timeout)).status == 0

    async def follows(self, commit: str, earlier: str, timeout: float) -> bool:
        """Whether a commit is `earlier` or comes after it; what is not here, nothing comes after."""
        words = ("merge-base", "--is-ancestor", earlier, commit)
        return (await self._git(*words, ok=(0, 1, 128), timeout=timeout)).status == 0

    async def check_out(self, commit: str, folder: str, timeout: float) -> None:
        """The files of a commit in a folder, which is made anew. Raises Failed."""
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await self._git("worktree", "prune", "--expire=now", timeout=timeout)
        await self._git("worktree", "add", "--quiet", "--force", "--force", "--detach", folder, commit, timeout=timeout)

    async def _git(self, *words: str, timeout: float, ok: Sequence[int] = (0,)) -> Ended:
        ended = await processes.run(
            ["git", "-C", self.folder, *settings_of(SETTINGS), *words],
            env=environment(self._url),
            limits=Limits(total=timeout),
            inherit=self._inherit,
            on_err=self._log if ok == (0,) else None,
        )
        if ended.stopped or ended.status not in ok:
            raise Failed.of(f"git {words[0]}: {why(ended)}")
        return ended


def local_name(ref: str) -> str:
    """What a ref of the remote is called in a clone: one flat name, since `a` and, later, `a/b` exclude each other."""
    return cachefiles.known_name(ref)


def environment(url: str) -> dict[str, str]:
    """Of git: how remotes are reached, nothing else of ours. Raises ActionError for what is no address."""
    ours = {name: os.environ[name] for name in (*_KEPT, *OF_USER) if name in os.environ}
    return {**ours, **ENVIRONMENT, "LC_ALL": "C.UTF-8", "GIT_ALLOW_PROTOCOL": remote(url).protocols}


def why(ended: Ended) -> str:
    """Why a program did not do what it should."""
    said = ended.err.decode("utf-8", "replace").strip()[-_SHOWN:]
    how = ended.stopped or (f"signal {-ended.status}" if ended.status < 0 else f"status {ended.status}")
    return f"{said} ({how})" if said else how
