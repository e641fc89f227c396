"""Whether a commit, or the tag that names it, is signed by one who counts: the step `verify`, a process of its own.

python -m requisition.services.watch.signature CLONE REF COMMIT SIGNERS commit|tag      exit 0 or 3
"""

import sys
import tempfile
from collections.abc import Iterable

from requisition.schemas.diagnostic import Failure, Refused
from requisition.schemas.guarded import read_guarded
from requisition.services.watch import refs
from requisition.services.watch.remote import local_name
from requisition.stdlib.action import ActionError
from requisition.stdlib.host import CommandResult
from requisition.stdlib.providers import git_trust
from requisition.tree.git import Control, Git


class _Clone:
    """A clone as the judge of signatures sees it: refs of the remote are where `remote.Clone` keeps them."""

    def __init__(self, folder: str) -> None:
        self._git = Git(folder, Control())

    def ask(self, *words: str) -> CommandResult:
        return self._git.run(*words)

    def run(self, *words: str, settings: Iterable[str] = (), env: dict[str, str] | None = None) -> CommandResult:
        return self._git.run(*words, settings=settings, env=env)

    def object_of(self, name: str) -> str:
        name, _, peel = name.partition("^")
        return self._git.object_of(f"{local_name(name)}^{peel}" if peel else local_name(name))


def judge(folder: str, ref: str, commit: str, signers: bytes, *, tag: bool) -> None:
    """Raises ActionError unless one of the signers signed the commit, or the tag that names it."""
    clone = _Clone(folder)
    if tag and clone.object_of(f"{ref}^{{commit}}") != commit:
        raise ActionError(f"{refs.short(ref)} is not {commit[:12]} any more", "find out who moved it")
    with tempfile.TemporaryDirectory() as scratch:
        git_trust.judge(clone, commit, ref.removeprefix(refs.TAGS) if tag else "", signers, b"", scratch)


def main(arguments: list[str]) -> int:
    """Exit 0 when it is signed, 3 when not."""
    folder, ref, commit, path, what = arguments
    try:
        signers = read_guarded(path, "the list of signers", why="it says whose signatures count")
        judge(folder, ref, commit, signers, tag=what == "tag")
    except (ActionError, Failure) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return Refused.exit_code
    print(f"the {what} is signed by one who counts")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
