"""What Python's os module lacks: renameat2, syncfs, prctl(PR_SET_DUMPABLE), mallopt(M_MMAP_THRESHOLD)."""

import ctypes
import errno
import os
from contextlib import suppress

_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = _libc.renameat2
_renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_syncfs = _libc.syncfs
_syncfs.argtypes = (ctypes.c_int,)

_RENAME_NOREPLACE = 1
_PR_SET_DUMPABLE = 4
_M_MMAP_THRESHOLD = -3
_WITHOUT_NOREPLACE = (errno.EINVAL, errno.ENOSYS)


def rename_noreplace(source_dir: int, source: str, target_dir: int, target: str) -> None:
    """Rename that fails with FileExistsError instead of replacing (renameat2(2), RENAME_NOREPLACE).

    File systems without it (NFS, some FUSE) get link+unlink for files, which is as strict.
    """
    if not _renameat2(source_dir, os.fsencode(source), target_dir, os.fsencode(target), _RENAME_NOREPLACE):
        return
    code = ctypes.get_errno()
    if code not in _WITHOUT_NOREPLACE:
        raise OSError(code, os.strerror(code), target)
    os.link(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir, follow_symlinks=False)
    os.unlink(source, dir_fd=source_dir)


def syncfs(fd: int) -> None:
    """Make the whole file system of `fd` durable; since Linux 5.8 it reports write-back errors."""
    if _syncfs(fd):
        code = ctypes.get_errno()
        raise OSError(code, f"syncfs: {os.strerror(code)}")


def forbid_core_dumps() -> None:
    """No core file and no ptrace by the same user: secrets pass through this process."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def return_large_buffers() -> None:
    """Memory of a document's bytes goes back to the system when they are dropped. By itself glibc would raise the
    threshold with the first such buffer and keep all later ones in its heap (mallopt(3)); others have no mallopt."""
    with suppress(AttributeError):
        _libc.mallopt(_M_MMAP_THRESHOLD, 1 << 20)
