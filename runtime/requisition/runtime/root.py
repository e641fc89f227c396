"""The target root: paths below it become (directory descriptor, name), and no link leads out of it.

A directory is opened once, component by component from its parent's descriptor, and kept. A component
that is a link is followed only when root or the running user owns the link (so that `/bin -> usr/bin`
works and a link planted by someone else does not), and always inside the root: an absolute target
starts at the root again, `..` stops there (as RESOLVE_IN_ROOT of openat2(2)).
"""

import errno
import os
import resource
import stat

from requisition.stdlib.action import ActionError

MAX_LINKS = 40
MAX_OPEN = 16_384
_SHARE = 16  # of all descriptors that the process may have: each worker thread has a root of its own
MAX_DEPTH = 200
_OPEN_DIR = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Escapes(ActionError):
    """A parent of the path is a link that may not be followed, or not a directory."""


class TargetRoot:
    """One opened target root. Not thread-safe by itself except for lookups of open directories."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.kept: dict[str, int] = {"": self.fd}
        self._inner: dict[str, set[str]] = {}  # kept directories by the one they are in
        self._trusted = (0, os.geteuid())
        self._most = min(MAX_OPEN, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE)

    def close(self) -> None:
        """Close every descriptor."""
        self.forget()
        os.close(self.fd)

    def forget(self, below: str | None = None) -> None:
        """Drop kept directories, all of them or those at and below a path that was moved or replaced.

        A directory is only kept while its parent is, so a path that is not kept has nothing below it.
        """
        pending = list(self._inner.pop("", ())) if below is None else [below]
        while pending:
            path = pending.pop()
            if path in self.kept and path:
                os.close(self.kept.pop(path))
                pending.extend(self._inner.pop(path, ()))

    def parent(self, path: str) -> tuple[int, str]:
        """(descriptor of the parent directory, last name).

        Raises FileNotFoundError when a parent is absent, Escapes when it may not be entered.
        """
        head, _, name = path.rpartition("/")
        fd = self.kept.get(head)
        if fd is None:
            fd = self._open(head)
        return fd, name

    def _open(self, path: str) -> int:
        if path.count("/") > MAX_DEPTH:
            raise Escapes(f"{path[:60]}… is nested deeper than {MAX_DEPTH} directories")
        if len(self.kept) >= self._most:
            self.forget()
        head, _, name = path.rpartition("/")
        parent = self.kept.get(head)
        if parent is None:
            parent = self._open(head)
        try:
            fd = os.open(name, _OPEN_DIR, dir_fd=parent)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            fd = self._follow(path)
        self.kept[path] = fd
        self._inner.setdefault(head, set()).add(path)
        return fd

    def _follow(self, path: str) -> int:
        """Open a directory whose path has links in it, link by link, from the root."""
        pending = [part for part in reversed(path.split("/")) if part]
        stack = [os.dup(self.fd)]
        links = 0
        try:
            while pending:
                part = pending.pop()
                if part == "..":
                    if len(stack) > 1:
                        os.close(stack.pop())
                    continue
                if part in ("", "."):
                    continue
                entry = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stack[-1])
                info = os.fstat(entry)
                if stat.S_ISDIR(info.st_mode):
                    stack.append(entry)
                    continue
                try:
                    links += 1
                    target = self._link_target(entry, info, path, part, links)
                finally:
                    os.close(entry)
                if target.startswith("/"):
                    while len(stack) > 1:
                        os.close(stack.pop())
                pending.extend(reversed(target.split("/")))
            return os.dup(stack[-1])
        finally:
            for fd in stack:
                os.close(fd)

    def _link_target(self, fd: int, info: os.stat_result, path: str, part: str, links: int) -> str:
        if not stat.S_ISLNK(info.st_mode):
            raise Escapes(f"{path}: {part!r} is not a directory", "move it away, or change the package's path")
        if info.st_uid not in self._trusted:
            raise Escapes(
                f"{path}: {part!r} is a link owned by user {info.st_uid}, which is not followed",
                "only links of root and of the user who applies are followed",
            )
        if links > MAX_LINKS:
            raise Escapes(f"{path}: more than {MAX_LINKS} links to follow", "there is a loop of links")
        return os.readlink("", dir_fd=fd)
