"""The undo store: what was in a file before a change, by digest.

Objects are `store/ab/cdef…`, written once, never changed. Content that carries a secret is sealed:
encrypted (ChaCha20-Poly1305, RFC 8439) under this host's store key and named by a keyed digest, so
that neither content nor a guess at it can be checked from the store alone. Reading verifies.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable

from requisition.runtime.linux import syncfs
from requisition.schemas.diagnostic import Failed

_CHUNK = 1 << 20


class StoreDamaged(Failed):
    """An object is absent or not what its name says."""


class UndoStore:
    """Content-addressed files below one directory. `put` is not durable until `flush`."""

    def __init__(self, directory: str) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._directory = directory
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._dirty = False
        self._key: bytes | None = None

    def close(self) -> None:
        """Release the descriptor."""
        os.close(self._fd)

    def put(self, chunks: Iterable[bytes], *, sealed: bool = False) -> str:
        """Keep content; returns its name. Sealed content is held in memory whole."""
        temporary = f"tmp-{secrets.token_hex(8)}"
        if sealed:
            name, chunks = self._seal(b"".join(chunks))
        digest = hashlib.sha256()
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        try:
            with open(fd, "wb", buffering=0) as file:
                for chunk in chunks:
                    digest.update(chunk)
                    view = memoryview(chunk)
                    while view:
                        view = view[file.write(view) :]
            if not sealed:
                name = digest.hexdigest()
            self._publish(temporary, name)
        except BaseException:
            os.unlink(temporary, dir_fd=self._fd)
            raise
        self._dirty = True
        return name

    def _publish(self, temporary: str, name: str) -> None:
        target = f"{name[:2]}/{name[2:]}"
        try:
            os.rename(temporary, target, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):  # by another node at work
                os.mkdir(name[:2], 0o700, dir_fd=self._fd)
            os.rename(temporary, target, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def flush(self) -> None:
        """Make everything put so far durable, with one syncfs however many objects there are."""
        if self._dirty:
            syncfs(self._fd)
            self._dirty = False

    def get(self, name: str, *, sealed: bool = False) -> bytes:
        """The content. Raises StoreDamaged when it is absent or was altered."""
        try:
            fd = os.open(f"{name[:2]}/{name[2:]}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
        except FileNotFoundError as error:
            raise StoreDamaged.of(
                "a saved content is missing from the undo store",
                where=f"{self._directory}/{name[:2]}/{name[2:]}",
                next="restore the state directory from a backup; other paths can still be rolled back",
            ) from error
        with open(fd, "rb") as file:
            content = file.read()
        if sealed:
            return self._unseal(name, content)
        if hashlib.sha256(content).hexdigest() != name:
            raise self._damaged(name)
        return content

    def _damaged(self, name: str) -> StoreDamaged:
        return StoreDamaged.of(
            "a saved content in the undo store was altered",
            where=f"{self._directory}/{name[:2]}/{name[2:]}",
            why="it no longer matches its digest",
            next="restore it from a backup; other paths can still be rolled back",
        )

    # sealed content ------------------------------------------------------------------------------

    def keyed_digest(self, content: bytes) -> str:
        """HMAC-SHA256 under the store key: identifies secret content on this host only."""
        return hmac.new(self._store_key(), content, hashlib.sha256).hexdigest()

    def _store_key(self) -> bytes:
        if self._key is None:
            try:
                fd = os.open("key", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
            except FileNotFoundError:
                self._make_key()
                fd = os.open("key", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
            with open(fd, "rb") as file:
                self._key = file.read()
            if len(self._key) != 32:
                raise self._damaged("key")
        return self._key

    def _make_key(self) -> None:
        """Nodes at work may all want the first key at once: the first one published is everybody's."""
        temporary = f"tmp-{secrets.token_hex(8)}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._fd)
        with open(fd, "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(fd)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, "key", src_dir_fd=self._fd, dst_dir_fd=self._fd)
        os.unlink(temporary, dir_fd=self._fd)
        os.fsync(self._fd)

    def _seal(self, content: bytes) -> tuple[str, list[bytes]]:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        name = self.keyed_digest(content)
        nonce = secrets.token_bytes(12)
        box = ChaCha20Poly1305(self._store_key()).encrypt(nonce, content, name.encode())
        return name, [nonce, box]

    def _unseal(self, name: str, box: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        try:
            return ChaCha20Poly1305(self._store_key()).decrypt(box[:12], box[12:], name.encode())
        except (InvalidTag, ValueError) as error:
            raise self._damaged(name) from error
