"""`git`: work trees that stand at a commit which the package names, or whose signer it names.

Nothing of the user's is ever lost: local changes, and commits that no remote has, are conflicts. Undo goes back
to the commit of before, and removes a clone only while it holds nothing but what was cloned (`git_clones`).
"""

from typing import Annotated, Any

from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import (
    ActionError,
    BaseAction,
    Change,
    Done,
    Raced,
    Satisfied,
    UndoConflict,
    action,
)
from requisition.stdlib.host import Host
from requisition.stdlib.providers import git_clones
from requisition.stdlib.providers.git_repository import Head, Remote, Repository, asked_outside, remote
from requisition.stdlib.providers.git_trust import Wanted, check_belongs, check_signature, wanted
from requisition.stdlib.spec import Output, slot

_KIND = "git:"
_OUTPUTS = (Output("path", "path", "the work tree"), Output("commit", "string", "the commit that it stands at"))

Tree = Annotated[str, slot("path", "the work tree of a repository", writes=True)]
Commit = Annotated[str, slot("string", "the commit, in full; empty: what `ref` names when it is applied")]
Ref = Annotated[str, slot("string", "branch that has the commit, or tag that names it; empty: any")]
Signers = Annotated[str, slot("input", "allowed_signers file: OpenSSH keys, one of which must have signed")]
Keys = Annotated[str, slot("input", "OpenPGP public keys, one of which must have signed")]
Signed = Annotated[str, slot("string", "what must be signed: commit or tag")]
Submodules = Annotated[bool, slot("bool", "also bring its submodules")]
AnyCommit = Annotated[bool, slot("bool", "take whatever the remote names; refused otherwise without commit or keys")]
Timeout = Annotated[int, slot("duration", "the longest that one git command may take; 0: any time")]


class CloneSlots(Struct, frozen=True):
    url: Annotated[str, slot("string", "https, ssh, git or file address, or an absolute path")]
    path: Annotated[str, slot("path", "the work tree; missing parents are made", claims=True)]
    commit: Commit = ""
    ref: Ref = ""
    allowed_signers: Signers = ""
    gpg_keys: Keys = ""
    signed: Signed = "commit"
    submodules: Submodules = False
    insecure_any_commit: AnyCommit = False
    timeout: Timeout = 600_000


class TreeSlots(Struct, frozen=True):
    path: Tree
    commit: Commit = ""
    ref: Ref = ""
    allowed_signers: Signers = ""
    gpg_keys: Keys = ""
    signed: Signed = "commit"
    submodules: Submodules = False
    insecure_any_commit: AnyCommit = False
    timeout: Timeout = 600_000


class _GitAction(BaseAction[Any]):
    """What all have in common: how they are taken back, and what stands there."""

    def undo(self, host: Host, undo: Any) -> None:
        """A clone is removed, a move goes back; both only where nobody worked on since."""
        if "clone" in undo:
            git_clones.take_back(host, undo["clone"], undo["now"])
            return
        repository = Repository(host, undo["path"], None, 0)
        if not repository.exists():
            raise UndoConflict(f"{undo['path']} is gone")
        head = repository.head()
        if head.commit == undo["was"] and head.branch == undo["branch"]:
            return
        if head.commit != undo["now"] or head.changed:
            raise UndoConflict(f"{undo['path']} was worked on since; it is left as it is")
        if undo["moved"]:
            repository.run("reset", "--quiet", "--keep", undo["was"])
        else:
            repository.run("checkout", "--quiet", *_place(undo["branch"], undo["was"]))
        if undo["submodules"]:
            repository.update_submodules()

    def fingerprint(self, host: Host, left: tuple[Left, ...]) -> tuple[Left, ...]:
        """The commit of each work tree, and whether it has local changes."""
        return tuple(_present(host, one.path) for one in left)


@action("git.clone", outputs=_OUTPUTS, effect="outside", blocking=True)
class Clone(_GitAction):
    """Clone a repository, or bring the clone that is there to the commit. Its branch is that of `ref`, or the
    remote's own; nothing appears at the path before the commit is there, checked, and signed where asked."""

    slots = CloneSlots

    def observe(self, host: Host, slots: CloneSlots) -> Satisfied | Change:
        """Compares the commit; a remote is only asked when none is given."""
        ask, source = _wanted(slots), remote(slots.url)
        repository = Repository(host, slots.path, source, slots.timeout)
        if not repository.exists():
            git_clones.check_free(host, slots.path)
            commit = ask.commit or asked_outside(host, source, ask.ref, ask.tag, slots.timeout)
            undo = {"clone": slots.path, "now": commit}
            return Change(
                "absent", git_clones.places(host, slots.path), undo=undo, outputs=_outputs(slots.path, commit)
            )
        origin = repository.origin()
        if origin != slots.url:
            raise ActionError(
                f"{slots.path} is a clone of {origin or 'nothing'}", "move it away, or change the address"
            )
        commit = ask.commit or asked_outside(host, source, ask.ref, ask.tag, slots.timeout)
        return _observe_move(repository, slots.submodules, commit, moved=True)

    def do(self, host: Host, slots: CloneSlots, change: Change) -> Done:
        """Clone under a temporary name, check, then rename; or move the branch of the clone that is there."""
        ask, source, commit = _wanted(slots), remote(slots.url), change.undo["now"]
        if "clone" in change.undo:
            with git_clones.beside(host, slots.path, change.files) as temporary:
                repository = Repository(host, temporary, source, slots.timeout)
                repository.clone(slots.url, ask.ref)
                _bring(repository, ask, commit, fresh=True)
                repository.run("reset", "--quiet", "--hard", commit)
                if slots.submodules:
                    repository.update_submodules()
                git_clones.mark(repository, commit)
            return _done(slots.path, commit)
        repository = Repository(host, slots.path, source, slots.timeout)
        head = _unmoved(repository, slots.submodules, change)
        if ask.ref and head.branch not in ("", ask.ref):
            raise ActionError(
                f"{slots.path} is on the branch {head.branch}, not {ask.ref}", "check out that branch first"
            )
        _bring(repository, ask, commit)
        if repository.commits_beside("HEAD", "--not", "--remotes", "--tags", known=[commit]):
            raise ActionError(
                f"{slots.path} has commits that no remote has", "push them, or move them to another branch"
            )
        repository.run("reset", "--quiet", "--keep", commit)
        if slots.submodules:
            repository.update_submodules()
        return _done(slots.path, commit)


@action("git.checkout", outputs=_OUTPUTS, effect="outside", blocking=True)
class Checkout(_GitAction):
    """Check out one commit of a repository that is there, detached from any branch; fetched when it is missing."""

    slots = TreeSlots

    def observe(self, host: Host, slots: TreeSlots) -> Satisfied | Change:
        """Compares the commit."""
        repository, ask = _existing(host, slots)
        return _observe_move(repository, slots.submodules, _commit(repository, ask), moved=False)

    def do(self, host: Host, slots: TreeSlots, change: Change) -> Done:
        """Fetch what is missing, check it, check it out."""
        (repository, ask), commit = _existing(host, slots), change.undo["now"]
        _unmoved(repository, slots.submodules, change)
        _bring(repository, ask, commit)
        repository.run("checkout", "--quiet", *_place("", commit))
        if slots.submodules:
            repository.update_submodules()
        return _done(slots.path, commit)


@action("git.pull", outputs=_OUTPUTS, effect="outside", blocking=True)
class Pull(_GitAction):
    """Bring the branch of a repository that is there forward to a commit: fast-forward only, never a merge."""

    slots = TreeSlots

    def observe(self, host: Host, slots: TreeSlots) -> Satisfied | Change:
        """A branch that has the commit already is as wanted."""
        repository, ask = _existing(host, slots)
        commit = _commit(repository, ask)
        head = _clean(repository, slots.submodules)
        if repository.has(commit) and head.commit and repository.contains(head.commit, commit):
            return Satisfied(_outputs(slots.path, head.commit), (_left(slots.path, head.commit),))
        return _observe_move(repository, slots.submodules, commit, moved=True)

    def do(self, host: Host, slots: TreeSlots, change: Change) -> Done:
        """Fetch, check, fast-forward."""
        (repository, ask), commit = _existing(host, slots), change.undo["now"]
        head = _unmoved(repository, slots.submodules, change)
        _bring(repository, ask, commit)
        if not repository.contains(commit, head.commit):
            raise ActionError(
                f"{slots.path} cannot be brought forward to {commit[:12]}: it has commits of its own",
                "push or rebase them first",
            )
        repository.run("merge", "--quiet", "--ff-only", commit)
        if slots.submodules:
            repository.update_submodules()
        return _done(slots.path, commit)


def _wanted(slots: CloneSlots | TreeSlots) -> Wanted:
    return wanted(
        slots.commit, slots.ref, slots.signed, slots.allowed_signers, slots.gpg_keys, slots.insecure_any_commit
    )


def _existing(host: Host, slots: TreeSlots) -> tuple[Repository, Wanted]:
    ask = _wanted(slots)
    if not Repository(host, slots.path, None, 0).exists():
        raise ActionError(f"{slots.path} is no git repository", "clone it first: plan.git.clone(…)")
    origin = Repository(host, slots.path, None, slots.timeout).origin()
    source: Remote | None = remote(origin) if origin else None
    return Repository(host, slots.path, source, slots.timeout), ask


def _commit(repository: Repository, ask: Wanted) -> str:
    return ask.commit or repository.remote_commit("origin", ask.ref, ask.tag)


def _clean(repository: Repository, submodules: bool) -> Head:
    """Where it stands. Raises ActionError when there are local changes."""
    head = repository.head(submodules=submodules)
    if head.changed:
        shown = ", ".join(head.changed[:3]) + (" …" if len(head.changed) > 3 else "")
        raise ActionError(f"{repository.path} has local changes: {shown}", "commit, stash or discard them first")
    return head


def _observe_move(repository: Repository, submodules: bool, commit: str, *, moved: bool) -> Satisfied | Change:
    head, path = _clean(repository, submodules), repository.path
    if head.commit == commit:
        return Satisfied(_outputs(path, commit), (_left(path, commit),))
    if not head.commit:
        raise ActionError(f"{path} has no commit yet", "remove it, and clone instead: plan.git.clone(…)")
    undo: dict[str, Any] = {"path": path, "was": head.commit, "branch": head.branch, "now": commit}
    undo |= {"moved": moved, "submodules": submodules}
    return Change(f"at {head.commit[:12]}", undo=undo, outputs=_outputs(path, commit))


def _unmoved(repository: Repository, submodules: bool, change: Change) -> Head:
    head = _clean(repository, submodules)
    if (head.commit, head.branch) != (change.undo["was"], change.undo["branch"]):
        raise Raced(f"{repository.path} was moved meanwhile")
    return head


def _bring(repository: Repository, ask: Wanted, commit: str, *, fresh: bool = False) -> None:
    """Have the commit here, and be sure of it. Raises ActionError."""
    if not fresh and (ask.ref or not repository.has(commit)):
        repository.run("fetch", "--quiet", "--tags", "--", "origin")
    if not repository.has(commit):
        repository.run("fetch", "--quiet", "--no-tags", "--", "origin", commit)
    check_belongs(repository, ask, commit)
    check_signature(repository, ask, commit)


def _place(branch: str, commit: str) -> list[str]:
    return [branch, "--"] if branch else ["--detach", commit, "--"]


def _present(host: Host, path: str) -> Left:
    repository = Repository(host, path.removeprefix(_KIND), None, 0)
    if not repository.exists():
        return Left(path, "absent")
    head = repository.head()
    return Left(path, "token", token=head.commit + (" with local changes" if head.changed else ""))


def _left(path: str, commit: str) -> Left:
    return Left(_KIND + path, "token", token=commit)


def _outputs(path: str, commit: str) -> dict[str, str]:
    return {"path": path, "commit": commit}


def _done(path: str, commit: str) -> Done:
    return Done(_outputs(path, commit), (_left(path, commit),))
