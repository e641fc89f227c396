"""The machine as an action sees it: verbs to observe and verbs to change, confined below a root.

Providers know this protocol and nothing else of the world. The runtime implements it on the real file
system; every path is absolute below the target root ("/etc/x"), resolved by directory descriptor,
never through a link. Effects are atomic and guarded: they fail with `Raced` instead of destroying
something that appeared or changed since it was observed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from requisition.schemas.receipt import Left, LeftKind

T = TypeVar("T")
Kind = Literal["file", "dir", "link", "other"]


class Stat(NamedTuple):
    """What `lstat` says, without the fields that no action needs."""

    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    ino: int
    nlink: int


class Prior(Struct, frozen=True, gc=False, array_like=True, omit_defaults=True):
    """The state of a path before a change: enough to bring it back exactly.

    `blob` is the digest of the content in the undo store; a file without blob is restored in mode,
    owner and times only (its content was not going to change). `sealed` content is encrypted there.
    """

    kind: LeftKind
    mode: int = 0
    uid: int = -1
    gid: int = -1
    mtime_ns: int = 0
    size: int = 0
    blob: str = ""
    target: str = ""
    sealed: bool = False
    xattrs: Mapping[str, bytes] | None = None
    ino: int = 0
    ctime_ns: int = 0


ABSENT = Prior("absent")


class FileChange(Struct, frozen=True, gc=False, array_like=True):
    """One path: how it was, and how it will be left. Undone by the runtime, last change first."""

    path: str
    prior: Prior
    expect: Left


class Move(Struct, frozen=True, gc=False, array_like=True):
    """One rename: what is at `source`, known by its inode, will be at `path`, which is free. Undone by the
    runtime after the files of the same change."""

    source: str
    path: str
    ino: int


class CommandResult(NamedTuple):
    """A finished command: exit status (negative: killed by that signal) and what it printed."""

    status: int
    stdout: bytes
    stderr: bytes


class Host(Protocol):
    """One run's access to the machine. `uid`/`gid` −1 mean: whoever runs.

    `sealed`: the node at work holds a secret; `expect_file`, `capture` and `digest` then keep it sealed.
    """

    sealed: bool

    def secret(self, name: str) -> str:
        """The value given for a secret. Raises ActionError when none was given."""
        ...

    # observe -------------------------------------------------------------------------------------

    def stat(self, path: str) -> Stat | None:
        """`lstat` below the root; None when the path or a parent is absent. Raises ActionError when a
        parent is a link or not a directory."""
        ...

    def read(self, path: str, limit: int = 1 << 30) -> bytes:
        """Content of a regular file. Raises ActionError when absent, not regular or over `limit`."""
        ...

    def readlink(self, path: str) -> str:
        """Target of a symbolic link."""
        ...

    def listdir(self, path: str) -> list[str]:
        """Sorted names in a directory."""
        ...

    def walk(self, path: str) -> Iterable[tuple[str, Stat]]:
        """`path` and all below it, parents before children, each with its stat; links not followed."""
        ...

    def matches(self, expect: Left) -> bool:
        """Whether the path is already as `expect` says (unset owner, mode 0 for links, not compared).
        One `lstat` when the file is unchanged since this host recorded it; content is read otherwise."""
        ...

    def input(self, path: str) -> bytes:
        """Content of a pinned input, digest verified. Raises ActionError naming both digests."""
        ...

    def open_input(self, path: str) -> BinaryIO:
        """The same for large inputs: a file object whose whole content was verified before this returns."""
        ...

    def input_digest(self, path: str) -> tuple[str, int, int]:
        """(SHA-256 hex, size, mode) that the order pins for an input."""
        ...

    # prior state ---------------------------------------------------------------------------------

    def capture(self, path: str, *, content: bool = True) -> Prior:
        """The present state of one path; content goes to the undo store (durable before the intent is
        journaled) unless `content` is false. A directory's entries are not part of its Prior."""
        ...

    def holds_secret(self, path: str) -> bool:
        """Whether the content of a path is kept sealed: the node at work holds a secret, or the file was
        last written by one that did."""
        ...

    def digest(self, path: str) -> str:
        """SHA-256 (hex) of a regular file's content; keyed where `holds_secret`."""
        ...

    def expect_file(
        self, path: str, content: bytes, mode: int, uid: int, gid: int, *, sealed: bool | None = None
    ) -> Left:
        """The Left that `put_file` with these arguments would leave. `sealed`: whether the content carries a
        secret; by default, whether the node at work holds one."""
        ...

    # change --------------------------------------------------------------------------------------

    def put_file(self, change: FileChange, content: bytes | Iterable[bytes]) -> None:
        """Write to a temporary name beside the target, set mode and owner, then rename into place.
        Raises Raced when the target is no longer as `change.prior` says."""
        ...

    def make_dir(self, change: FileChange) -> None:
        """Make one directory with mode and owner. Raises Raced when it exists already."""
        ...

    def make_link(self, change: FileChange) -> None:
        """Make a symbolic link, replacing what `change.prior` says atomically."""
        ...

    def delete(self, change: FileChange) -> None:
        """Remove one file, link or empty directory that is still as `change.prior` says."""
        ...

    def rename(self, source: str, path: str) -> None:
        """Move a file, link or directory to a free name on the same file system, atomically."""
        ...

    def set_meta(self, change: FileChange) -> None:
        """Set mode and owner of an existing file or directory, through a descriptor of it."""
        ...

    def real_path(self, path: str) -> str:
        """The path outside of the root's view, for commands: target root joined with `path`."""
        ...

    def scratch(self) -> str:
        """A private directory of this run (0700) outside the target, removed at its end."""
        ...

    def scratch_file(self, name: str, content: bytes) -> str:
        """A new private file there with this content, for a command to read; its path."""
        ...

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout_ms: int = 0,
        output_limit: int = 1 << 20,
    ) -> CommandResult:
        """Run a program by argument vector in its own process group, which ends with it; environment is
        a fixed minimum plus `env`. Raises ActionError when it cannot be started or times out."""
        ...

    def ask(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout_ms: int = 60_000,
        output_limit: int = 1 << 26,
    ) -> CommandResult:
        """Run a program that only looks. Unlike `run` it also answers at preflight, in dry runs and for
        `plan status`, so it must change nothing: `dpkg-query`, never a command that a package gives."""
        ...

    def recall(self, key: str, look: Callable[[], T]) -> T:
        """The answer of `look`, asked once a run however many nodes want it, and asked anew after any
        effect outside of files. `key` names the question: "dpkg:/"."""
        ...

    def forget_answers(self) -> None:
        """Ask anew what `recall` keeps: after an effect, within one action."""
        ...

    def now_ms(self) -> int:
        """Monotonic milliseconds."""
        ...

    def sleep_ms(self, duration: int) -> None:
        """Pause; raises Cancelled when the run is being stopped."""
        ...

    def log(self, text: str) -> None:
        """One line for whoever watches; never a secret."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """os, arch, distro, version, hostname of the machine."""
        ...
