"""`RealHost`: the `Host` protocol on the real file system: what `Sight` sees, and effects upon it.

Effects are guarded by the prior state that the journal
holds: a free name is taken with RENAME_NOREPLACE, a present one only while its inode and change time are
the recorded ones, so that nothing which appeared in between is lost. The process runs with umask 0.
"""

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from requisition.runtime.commands import run_command
from requisition.runtime.inputs import Inputs
from requisition.runtime.linux import rename_noreplace, syncfs
from requisition.runtime.recall import Recall
from requisition.runtime.root import TargetRoot
from requisition.runtime.sight import READ, Known, Sight, signature
from requisition.runtime.store import UndoStore
from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, Cancelled, Raced
from requisition.stdlib.host import CommandResult, FileChange

T = TypeVar("T")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class RealHost(Sight):
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
        super().__init__(root, store, inputs, known)
        self.run_id = run_id
        self.made: list[FileChange] = []  # effects of the node at work, for when it races half-way
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
        """See `Host.forget_answers`; the runtime does so around every effect outside of files."""
        self._recall.forget()

    def forget_before(self, age: int) -> None:
        """Open directories anew when something may have moved them since. Only the thread that uses this
        host calls it: descriptors must not be closed under a call in progress."""
        if age != self._age:
            self._age = age
            self.root.forget()

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
        fd = os.open(name, READ, dir_fd=directory)
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
