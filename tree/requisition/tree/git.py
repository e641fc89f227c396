"""Git as trees use it: argument vectors in a process group of their own, nothing run but git itself.

Settings and environment are those of the git actions (`providers/git_repository.py`): no hook, no configuration of
machine or user, no prompt, only the transports that an address was checked for.
"""

import os
from collections.abc import Callable, Iterable

from msgspec import Struct

from requisition.runtime.commands import run_command
from requisition.stdlib.action import ActionError
from requisition.stdlib.host import CommandResult
from requisition.stdlib.providers.git_repository import ENVIRONMENT, Remote, check_ref, checked, settings_of

_OUTPUT_LIMIT = 64 << 20
SETTINGS = (
    "fetch.unpackLimit=1",  # always a pack: few files, which checkouts share as hard links
    "fetch.writeCommitGraph=false",
    "core.logAllRefUpdates=false",
    "transfer.advertiseSID=false",
)
OF_USER = ("SSH_AUTH_SOCK", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "SSL_CERT_FILE")
"""What of the caller's environment says how to reach remotes: keys held by an agent, proxies, certificates."""


class Control(Struct, frozen=True):
    """How long one git command may take, in milliseconds, and whether all of them shall stop."""

    cancelled: Callable[[], bool] = lambda: False
    timeout_ms: int = 600_000


class Git:
    """Git in one folder. `source` is the only remote it may speak to; `inherit` are the locks that its processes
    hold as long as they work on."""

    def __init__(
        self, folder: str, control: Control, *, source: Remote | None = None, inherit: tuple[int, ...] = ()
    ) -> None:
        self.folder = folder
        self._control = control
        self._inherit = inherit
        self._environment = {
            **{name: os.environ[name] for name in OF_USER if name in os.environ},
            **ENVIRONMENT,
            "GIT_ALLOW_PROTOCOL": source.protocols if source else "",
            "GIT_CEILING_DIRECTORIES": folder.rpartition("/")[0] or "/",
        }

    def run(
        self,
        *words: str,
        settings: Iterable[str] = (),
        env: dict[str, str] | None = None,
        ok: Iterable[int] = (0,),
    ) -> CommandResult:
        """Run git. Raises ActionError with git's own words, or when it takes too long; Cancelled when stopped."""
        done = run_command(
            ["git", "-C", self.folder, *settings_of((*SETTINGS, *settings)), *words],
            cwd="/",
            env={**self._environment, **(env or {})},
            stdin=b"",
            timeout_ms=self._control.timeout_ms,
            output_limit=_OUTPUT_LIMIT,
            cancelled=self._control.cancelled,
            inherit=self._inherit,
        )
        return checked(done, words, ok)

    def lines(self, *words: str) -> list[str]:
        """What git prints with `-z`, one part a name."""
        return [part for part in self.run(*words).stdout.decode("utf-8", "surrogateescape").split("\0") if part]

    def object_of(self, name: str) -> str:
        """The object that a full name stands for; "" for none."""
        done = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", name, ok=(0, 1, 128))
        return done.stdout.decode().strip() if done.status == 0 else ""


def remote_refs(git: Git, url: str, *patterns: str) -> dict[str, str]:
    """What a remote says of refs, by full name; tags that are objects also as `name^{}`, their commit."""
    done = git.run("ls-remote", "--quiet", "--", url, *patterns)
    rows = (line.split("\t", 1) for line in done.stdout.decode("utf-8", "replace").splitlines())
    return {row[1]: row[0] for row in rows if len(row) == 2}


def full_names(ref: str) -> tuple[str, ...]:
    """The names under which a remote may have a ref, the likelier first. Raises ActionError for what is no name."""
    if not ref:
        return ("HEAD",)
    check_ref(ref)
    return (f"refs/heads/{ref}", f"refs/tags/{ref}")


def missing(error: ActionError) -> bool:
    """Whether git says that the remote does not have what was asked for."""
    return any(words in str(error) for words in _MISSING)


_MISSING = ("couldn't find remote ref", "not our ref", "unadvertised object", "Cannot obtain needed object")
"""Of the transports file and ssh, of older servers, and of plain http."""
