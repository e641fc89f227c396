"""`RealHost`: the `Host` protocol on the real file system, confined below one target root.

Every path call goes by directory descriptor. Effects are guarded by the prior state that the journal
holds: a free name is taken with RENAME_NOREPLACE, a present one only while its inode and change time are
the recorded ones, so that nothing which appeared in between is lost. The process runs with umask 0.
"""

import errno
import hashlib
import os
import stat
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, BinaryIO, TypeVar

from msgspec import Meta

from requisition.runtime.commands import run_command
from requisition.runtime.inputs import Inputs
from requisition.runtime.linux import rename_noreplace, syncfs
from requisition.runtime.recall import Recall
from requisition.runtime.root import Escapes, TargetRoot
from requisition.runtime.store import UndoStore
from requisition.schemas.receipt import Left, LeftKind
from requisition.stdlib.action import ActionError, Cancelled, Raced
from requisition.stdlib.host import ABSENT, CommandResult, FileChange, Kind, Prior, Stat

T = TypeVar("T")
_SIGNATURE = struct.Struct("<QIIIqqq")
_IDENTITY = struct.calcsize("<QIII")  # what of a directory does not change with its entries

Signature = Annotated[bytes, Meta(min_length=_SIGNATURE.size, max_length=_SIGNATURE.size)]
"""Of an lstat result, packed: inode, mode, uid, gid, then size, mtime and ctime in nanoseconds. Equal means
untouched, because ctime cannot be set. One is kept for every path, hence bytes: a tuple takes four times the room."""

NEVER: Signature = bytes(_SIGNATURE.size)
"""That of no file."""

Known = tuple[Signature, Left]
"""What stood at a path when we last looked or wrote: `known` spares reading content again."""

_CHUNK = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ABSENT_CODES = (errno.ENOENT, errno.ENOTDIR)


def signature(info: os.stat_result) -> Signature:
    """The part of an lstat result that changes whenever the file does."""
    return _SIGNATURE.pack(
        info.st_ino, info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns, info.st_ctime_ns
    )


def changed_at(seen: Signature) -> int:
    """The ctime in a signature, in nanoseconds."""
    when: int = _SIGNATURE.unpack(seen)[-1]
    return when


def untouched(root: TargetRoot, seen: Signature, left: Left) -> bool:
    """Whether a path is as it was left, by one `lstat`, nothing read. A directory may have other entries
    now: these are not part of how it was left."""
    try:
        directory, name = root.parent(left.path)
        found = signature(os.stat(name, dir_fd=directory, follow_symlinks=False))
    except (OSError, Escapes):
        return False
    return found == seen or (left.kind == "dir" and found[:_IDENTITY] == seen[:_IDENTITY])


class RealHost:
    """One run's access to the machine; `view` gives a worker thread an independent one."""

    def __init__(
        self,
        root: TargetRoot,
        store: UndoStore,
        inputs: Inputs,
        *,
        run_id: str,
        scratch: str,
        secrets: Mapping[str, str],
        facts: Mapping[str, Any],
        known: dict[str, Known],
        log: Callable[[str], None],
        cancelled: Callable[[], bool],
        recall: Recall | None = None,
    ) -> None:
        self.root = root
        self.store = store
        self.inputs = inputs
        self.run_id = run_id
        self.sealed = False
        self.made: list[FileChange] = []  # effects of the node at work, for when it races half-way
        self.known = known
        self._age = 0
        self._scratch = scratch
        self._secrets = secrets
        self._facts = facts
        self._log = log
        self._cancelled = cancelled
        self._recall = recall or Recall()
        self._prefix = f".rq-{run_id[-10:]}-"

    def view(self) -> "RealHost":
        """An independent host for another thread: its own descriptors, the same run."""
        return type(self)(
            TargetRoot(self.root.path),
            self.store,
            self.inputs,
            run_id=self.run_id,
            scratch=self._scratch,
            secrets=self._secrets,
            facts=self._facts,
            known=self.known,
            log=self._log,
            cancelled=self._cancelled,
            recall=self._recall,
        )

    def forget_answers(self) -> None:
        """Around an effect outside of files: what was recalled may be true no longer."""
        self._recall.forget()

    def forget_before(self, age: int) -> None:
        """Open directories anew when something may have moved them since. Only the thread that uses this
        host calls it: descriptors must not be closed under a call in progress."""
        if age != self._age:
            self._age = age
            self.root.forget()

    # observe -------------------------------------------------------------------------------------

    def lstat(self, path: str) -> os.stat_result | None:
        """`lstat`, None when absent."""
        try:
            directory, name = self.root.parent(path)
            return os.stat(name or ".", dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _ABSENT_CODES:
                raise Escapes(f"{path}: a parent is not a directory", "move it away, or change the path") from error
            raise

    def stat(self, path: str) -> Stat | None:
        """See `Host.stat`."""
        info = self.lstat(path)
        return None if info is None else _stat(info)

    def read(self, path: str, limit: int = 1 << 30) -> bytes:
        """See `Host.read`."""
        with self._open(path) as file:
            if os.fstat(file.fileno()).st_size > limit:
                raise ActionError(f"{path} is larger than {limit} bytes")
            return file.read(limit + 1)

    def _open(self, path: str) -> BinaryIO:
        try:
            directory, name = self.root.parent(path)
            fd = os.open(name, _READ, dir_fd=directory)
        except OSError as error:
            raise ActionError(f"{path} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ActionError(f"{path} is not a regular file")
        return open(fd, "rb")

    def readlink(self, path: str) -> str:
        """See `Host.readlink`."""
        directory, name = self.root.parent(path)
        return os.readlink(name, dir_fd=directory)

    def listdir(self, path: str) -> list[str]:
        """See `Host.listdir`."""
        directory, name = self.root.parent(path)
        fd = os.open(name or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def walk(self, path: str) -> Iterator[tuple[str, Stat]]:
        """See `Host.walk`."""
        found = self.stat(path)
        if found is None:
            return
        yield path, found
        if found.kind == "dir":
            for name in self.listdir(path):
                yield from self.walk(f"{path.rstrip('/')}/{name}")

    def matches(self, expect: Left) -> bool:
        """See `Host.matches`."""
        path = expect.path
        try:
            directory, name = self.root.parent(path)
            info = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return expect.kind == "absent"
        except OSError as error:
            raise ActionError(f"{path}: {error.strerror}") from error
        seen = signature(info)
        known = self.known.get(path)
        if known is not None and known[0] == seen and _covers(known[1], expect):
            return True
        if not self._compare(path, info, expect):
            return False
        self.known[path] = (seen, expect)
        return True

    def _compare(self, path: str, info: os.stat_result, expect: Left) -> bool:
        mode, kind = info.st_mode, expect.kind
        if (expect.uid >= 0 and info.st_uid != expect.uid) or (expect.gid >= 0 and info.st_gid != expect.gid):
            return False
        if kind == "link":
            return stat.S_ISLNK(mode) and self.readlink(path) == expect.target
        if kind == "absent" or stat.S_IMODE(mode) != expect.mode:
            return False
        if kind == "dir":
            return stat.S_ISDIR(mode)
        if not stat.S_ISREG(mode) or (expect.size >= 0 and info.st_size != expect.size):
            return False
        return self.digest(path, sealed=expect.sealed) == expect.sha256

    def holds_secret(self, path: str) -> bool:
        """See `Host.holds_secret`."""
        known = self.known.get(path)
        return self.sealed or (known is not None and known[1].sealed)

    def digest(self, path: str, *, sealed: bool | None = None) -> str:
        """SHA-256 of a regular file's content, or its keyed digest where secrets are about."""
        if self.holds_secret(path) if sealed is None else sealed:
            return self.store.keyed_digest(self.read(path))
        digest = hashlib.sha256()
        with self._open(path) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def input(self, path: str) -> bytes:
        """See `Host.input`."""
        return self.inputs.content(path)

    def open_input(self, path: str) -> BinaryIO:
        """See `Host.open_input`."""
        return self.inputs.open(path)

    def input_digest(self, path: str) -> tuple[str, int, int]:
        """See `Host.input_digest`."""
        return self.inputs.digest(path)

    # prior state ---------------------------------------------------------------------------------

    def capture(self, path: str, *, content: bool = True) -> Prior:
        """See `Host.capture`."""
        info = self.lstat(path)
        if info is None:
            return ABSENT
        kind = _kind(info.st_mode)
        if kind == "other":
            raise ActionError(f"{path} is a device, socket or pipe", "move it away, or change the path")
        blob = target = ""
        if kind == "link":
            target = self.readlink(path)
        elif kind == "file" and content:
            blob = self._save(path, sealed=self.holds_secret(path))
        return Prior(
            kind,
            mode=stat.S_IMODE(info.st_mode),
            uid=info.st_uid,
            gid=info.st_gid,
            mtime_ns=info.st_mtime_ns,
            size=info.st_size,
            blob=blob,
            target=target,
            sealed=bool(blob) and self.holds_secret(path),
            xattrs=self._xattrs(path, kind),
            ino=info.st_ino,
            ctime_ns=info.st_ctime_ns,
        )

    def _save(self, path: str, *, sealed: bool) -> str:
        with self._open(path) as file:
            return self.store.put(iter(lambda: file.read(_CHUNK), b""), sealed=sealed)

    def _xattrs(self, path: str, kind: Kind) -> Mapping[str, bytes] | None:
        if kind != "file":
            return None
        with self._open(path) as file:
            fd = file.fileno()
            try:
                return {name: os.getxattr(fd, name) for name in os.listxattr(fd)} or None
            except OSError as error:
                if error.errno in (errno.ENOTSUP, errno.EACCES, errno.EPERM):
                    return None
                raise

    def expect_file(
        self, path: str, content: bytes, mode: int, uid: int, gid: int, *, sealed: bool | None = None
    ) -> Left:
        """See `Host.expect_file`."""
        sealed = self.sealed if sealed is None else sealed
        digest = self.store.keyed_digest(content) if sealed else hashlib.sha256(content).hexdigest()
        return Left(path, "file", mode, uid, gid, len(content), digest, "", "", sealed)

    # change --------------------------------------------------------------------------------------

    def temporary_name(self, name: str) -> str:
        """The name under which a file is written before it is renamed to `name`: one a run and target,
        so that recovery finds what a killed run left."""
        if len(os.fsencode(name)) > 200:
            name = hashlib.sha256(os.fsencode(name)).hexdigest()
        return self._prefix + name

    def put_file(self, change: FileChange, content: bytes | Iterable[bytes]) -> None:
        """See `Host.put_file`."""
        expect = change.expect
        directory, name = self._parent(change.path)
        temporary = self.temporary_name(name)
        fd = os.open(temporary, _NEW, expect.mode & 0o777, dir_fd=directory)
        try:
            if isinstance(content, bytes) and os.write(fd, content) == len(content):
                pass
            else:
                _write_all(fd, content)
            if expect.uid >= 0 or expect.gid >= 0:
                os.fchown(fd, expect.uid, expect.gid)
            if expect.mode & 0o7000:
                os.fchmod(fd, expect.mode)
            self._publish(directory, temporary, name, change)
            self.made.append(change)
            self.known[change.path] = (signature(os.fstat(fd)), expect)
        except BaseException:
            _unlink_quietly(temporary, directory)
            raise
        finally:
            os.close(fd)

    def _publish(self, directory: int, temporary: str, name: str, change: FileChange) -> None:
        if change.prior.kind == "absent":
            try:
                rename_noreplace(directory, temporary, directory, name)
            except FileExistsError as error:
                raise Raced(f"{change.path} appeared meanwhile") from error
            return
        self._still(directory, name, change)
        self.root.forget(change.path)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)

    def _still(self, directory: int, name: str, change: FileChange) -> os.stat_result:
        """Raise Raced unless the name still is what `change.prior` recorded."""
        prior = change.prior
        try:
            info = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError as error:
            raise Raced(f"{change.path} vanished meanwhile") from error
        if (info.st_ino, info.st_ctime_ns) != (prior.ino, prior.ctime_ns) and prior.kind != "dir":
            raise Raced(f"{change.path} was changed meanwhile")
        if info.st_ino != prior.ino:
            raise Raced(f"{change.path} was replaced meanwhile")
        return info

    def _parent(self, path: str) -> tuple[int, str]:
        try:
            directory, name = self.root.parent(path)
        except FileNotFoundError as error:
            raise ActionError(
                f"{path}: its parent directory does not exist", "make it first: plan.file.mkdir(…)"
            ) from error
        if not name:
            raise ActionError("the target root itself cannot be replaced")
        return directory, name

    def make_dir(self, change: FileChange) -> None:
        """See `Host.make_dir`."""
        expect = change.expect
        directory, name = self._parent(change.path)
        plain = not expect.mode & 0o7000 and expect.uid < 0 and expect.gid < 0
        made = name if plain else self.temporary_name(name)
        try:
            os.mkdir(made, expect.mode & 0o777, dir_fd=directory)
            if not plain:
                self._finish_dir(directory, made, name, expect)
        except FileExistsError as error:
            raise Raced(f"{change.path} appeared meanwhile") from error
        self.made.append(change)
        self._remember(directory, name, change.expect)

    def _finish_dir(self, directory: int, made: str, name: str, expect: Left) -> None:
        try:
            self._set_by_fd(directory, made, expect)
            rename_noreplace(directory, made, directory, name)
        except BaseException:
            with suppress(OSError):
                os.rmdir(made, dir_fd=directory)
            raise

    def make_link(self, change: FileChange) -> None:
        """See `Host.make_link`."""
        expect = change.expect
        directory, name = self._parent(change.path)
        owned = expect.uid >= 0 or expect.gid >= 0
        plain = change.prior.kind == "absent" and not owned
        made = name if plain else self.temporary_name(name)
        try:
            os.symlink(expect.target, made, dir_fd=directory)
        except FileExistsError as error:
            raise Raced(f"{change.path} appeared meanwhile") from error
        if not plain:
            try:
                if owned:
                    os.chown(made, expect.uid, expect.gid, dir_fd=directory, follow_symlinks=False)
                self._publish(directory, made, name, change)
            except BaseException:
                _unlink_quietly(made, directory)
                raise
        self.made.append(change)
        self._remember(directory, name, change.expect)

    def delete(self, change: FileChange) -> None:
        """See `Host.delete`."""
        directory, name = self._parent(change.path)
        info = self._still(directory, name, change)
        self.root.forget(change.path)
        if stat.S_ISDIR(info.st_mode):
            os.rmdir(name, dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)
        self.made.append(change)

    def rename(self, source: str, path: str) -> None:
        """See `Host.rename`."""
        source_dir, source_name = self._parent(source)
        target_dir, target_name = self._parent(path)
        self.root.forget(source)
        source_dir, source_name = self._parent(source)
        target_dir, target_name = self._parent(path)
        try:
            rename_noreplace(source_dir, source_name, target_dir, target_name)
        except FileExistsError as error:
            raise Raced(f"{path} appeared meanwhile") from error

    def set_meta(self, change: FileChange) -> None:
        """See `Host.set_meta`."""
        directory, name = self._parent(change.path)
        self._still(directory, name, change)
        self.made.append(change)
        self._set_by_fd(directory, name, change.expect)
        self._remember(directory, name, change.expect)

    def _set_by_fd(self, directory: int, name: str, expect: Left) -> None:
        fd = os.open(name, _READ, dir_fd=directory)
        try:
            if expect.uid >= 0 or expect.gid >= 0:
                os.fchown(fd, expect.uid, expect.gid)
            os.fchmod(fd, expect.mode)
        finally:
            os.close(fd)

    def _remember(self, directory: int, name: str, left: Left) -> None:
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
        self.known[left.path] = (signature(info), left)

    def sync(self) -> None:
        """Make every effect so far durable, with one syncfs for the file system of the target root."""
        syncfs(self.root.fd)

    # everything else -----------------------------------------------------------------------------

    def secret(self, name: str) -> str:
        """See `Host.secret`."""
        try:
            return self._secrets[name]
        except KeyError:
            raise ActionError(f"no value was given for the secret {name!r}", f"add --secret {name}=…") from None

    def real_path(self, path: str) -> str:
        """See `Host.real_path`."""
        return self.root.path.rstrip("/") + path

    def scratch(self) -> str:
        """See `Host.scratch`."""
        os.makedirs(self._scratch, mode=0o700, exist_ok=True)
        return self._scratch

    def scratch_file(self, name: str, content: bytes) -> str:
        """See `Host.scratch_file`."""
        place = f"{tempfile.mkdtemp(dir=self.scratch())}/{name}"
        fd = os.open(place, _NEW, 0o600)
        with open(fd, "wb") as file:
            file.write(content)
        return place

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
        """See `Host.run`."""
        return run_command(
            argv,
            cwd=cwd or self.root.path,
            env=env or {},
            stdin=stdin,
            timeout_ms=timeout_ms,
            output_limit=output_limit,
            cancelled=self._cancelled,
        )

    def ask(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout_ms: int = 60_000,
        output_limit: int = 1 << 26,
    ) -> CommandResult:
        """See `Host.ask`."""
        return run_command(
            argv,
            cwd=self.root.path,
            env=env or {},
            stdin=stdin,
            timeout_ms=timeout_ms,
            output_limit=output_limit,
            cancelled=self._cancelled,
        )

    def recall(self, key: str, look: Callable[[], T]) -> T:
        """See `Host.recall`."""
        return self._recall.answer(key, look)

    def now_ms(self) -> int:
        """See `Host.now_ms`."""
        return time.monotonic_ns() // 1_000_000

    def sleep_ms(self, duration: int) -> None:
        """See `Host.sleep_ms`."""
        until = time.monotonic() + duration / 1000
        while (left := until - time.monotonic()) > 0:
            if self._cancelled():
                raise Cancelled("the run is being stopped")
            time.sleep(min(left, 0.05))

    def log(self, text: str) -> None:
        """See `Host.log`."""
        self._log(text)

    def facts(self) -> Mapping[str, Any]:
        """See `Host.facts`."""
        return self._facts


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "dir"
    return "link" if stat.S_ISLNK(mode) else "other"


def _stat(info: os.stat_result) -> Stat:
    return Stat(
        _kind(info.st_mode),
        stat.S_IMODE(info.st_mode),
        info.st_uid,
        info.st_gid,
        info.st_size,
        info.st_mtime_ns,
        info.st_ctime_ns,
        info.st_ino,
        info.st_nlink,
    )


def describe(path: str, info: os.stat_result, host: RealHost) -> Left:
    """The present state of a path, content not read."""
    kind = _kind(info.st_mode)
    target = host.readlink(path) if kind == "link" else ""
    shown: LeftKind = "token" if kind == "other" else kind
    return Left(path, shown, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_size, "", target)


def _covers(known: Left, expect: Left) -> bool:
    """Whether a state recorded with its owner satisfies an expectation that may leave the owner open."""
    return (
        known.sha256 == expect.sha256
        and known.kind == expect.kind
        and known.mode == expect.mode
        and known.target == expect.target
        and (expect.uid < 0 or known.uid == expect.uid)
        and (expect.gid < 0 or known.gid == expect.gid)
    )


def _write_all(fd: int, content: bytes | Iterable[bytes]) -> None:
    if isinstance(content, bytes):  # a short write: start over, the file is still private
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        content = (content,)
    for chunk in content:
        view = memoryview(chunk)
        while view:
            view = view[os.write(fd, view) :]


def _unlink_quietly(name: str, directory: int) -> None:
    """Remove our own temporary name on the way out of an error that is already being raised."""
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        return
