"""What kind of failure a program's end was: pure functions of its exit status and of what it said.

The status is asked first, and the text only where the status leaves it open, since texts name files and files have any
name. Sources: rsync(1) EXIT VALUES; ssh(1), whose own failures are 255; rclone's manual, "Exit code": most failures are
1 there, and 1 and 2 changed their meaning between releases.
"""

import errno
import json
import re
from collections.abc import Iterator

from requisition.services.delivery.transport import Kind, TransportFailure
from requisition.services.processes import Ended

_Table = tuple[tuple[Kind, str], ...]
_RSYNC: dict[int, Kind] = {
    1: "usage",  # syntax
    2: "usage",  # protocols that do not fit together
    4: "usage",  # an action that is not supported
    10: "network",  # socket I/O
    20: "network",  # someone ended it, not we
    24: "local_vanished",
    30: "timeout",
    35: "timeout",
    127: "missing_program",
}
_RSYNC_ASKS: dict[int, Kind] = {3: "usage", 11: "unknown", 12: "network", 23: "unknown"}
"""Statuses that leave the cause open, and what it is when the text does not tell."""
_RSYNC_LINE = re.compile(r"rsync: \[(sender|receiver|generator|Receiver)\] .*\((\d+)\)\Z")
_SSH: _Table = (
    ("host_key", r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|No \S+ host key is known for"),
    ("auth", r"Permission denied \([a-z,-]+\)|Too many authentication failures|no mutual signature"),
    ("usage", r"Bad configuration option|command-line: line \d+|Bad port|unknown option"),
)
_REMOTE_ERRNO: dict[str, Kind] = {
    "Permission denied": "remote_permission",
    "Operation not permitted": "remote_permission",
    "Read-only file system": "remote_permission",
    "No space left on device": "disk_full_remote",
    "Disk quota exceeded": "quota",
    "Not a directory": "conflict",
    "File exists": "conflict",
}
_RCLONE: dict[int, Kind] = {3: "usage", 4: "usage", 5: "network", 8: "quota", 127: "missing_program"}
_RCLONE_SAYS: _Table = (
    ("local_permission", r"failed to open (source object|directory).*: permission denied\Z"),
    ("local_vanished", r"failed to open source object: open .*: no such file or directory\Z"),
    ("local_vanished", r"error reading source root directory: directory not found"),
    ("local_changed", r"can't copy - source file is being updated"),
    ("hash_mismatch", r"corrupted on transfer: "),
    (
        "disk_full_remote",
        r"no space left on device\Z|too big for remaining disk space|insufficient[_ ]?(storage|space)|507 Insufficient",
    ),
    ("quota", r"disk quota exceeded\Z|storageQuotaExceeded|quota ?exceeded|QuotaExceeded"),
    ("host_key", r"ssh: handshake failed: knownhosts: "),
    ("auth", r"ssh: unable to authenticate|\b401 Unauthorized|\b403 Forbidden|AccessDenied|InvalidAccessKeyId"),
    ("auth", r"SignatureDoesNotMatch|invalid_grant|couldn't fetch token|530 Login|LOGON_FAILURE|unauthorized"),
    ("usage", r"didn't find section in config file|unknown (flag|command)|couldn't find type of fs"),
    ("usage", r"not allowed to ask for password"),  # the configuration is encrypted
    ("remote_permission", r": (permission denied|operation not permitted|read-only file system)\Z"),
    ("network", r"connection (refused|reset)|no such host|no route to host|network is unreachable|broken pipe"),
    ("network", r"Too Many Requests|rateLimitExceeded|SlowDown|\b50[0234] [A-Z]"),
    ("network", r"i/o timeout|TLS handshake|unexpected EOF|context deadline exceeded|couldn't connect"),
)


def of_ssh(ended: Ended, what: str) -> TransportFailure:
    """Why a command over ssh failed. Beyond 255 the status is the command's own; our scripts let the tools speak."""
    said = _text(ended.err)
    if ended.stopped:
        return TransportFailure("timeout", f"{what}: {ended.stopped}")
    if ended.status == 255:
        return TransportFailure(_matching(_SSH, said) or "network", f"{what}: {_last(said)}")
    if ended.status in (126, 127):
        return TransportFailure("missing_program", f"{what}: {_last(said)}")
    found = (kind for line in said.splitlines() for text, kind in _REMOTE_ERRNO.items() if line.endswith(f": {text}"))
    return TransportFailure(next(found, "unknown"), f"{what}: {_last(said) or f'exit status {ended.status}'}")


def of_rsync(ended: Ended, what: str, near: str = "sender") -> TransportFailure:
    """Why rsync failed. `near`: what it calls this side, "sender" of a push."""
    said = _text(ended.err)
    message = f"{what}: {_telling(said) or f'exit status {ended.status}'}"
    if ended.stopped:
        return TransportFailure("timeout", f"{what}: {ended.stopped}")
    if ended.status in _RSYNC:
        return TransportFailure(_RSYNC[ended.status], message)
    if ended.status not in (*_RSYNC_ASKS, 255):
        return TransportFailure("unknown", message)
    if kind := next(_rsync_kinds(said, near), None):
        return TransportFailure(kind, message)
    if ended.status in (12, 255):
        if re.search(r"rsync: (command )?not found", said):
            return TransportFailure("missing_program", message)
        return TransportFailure(_matching(_SSH, said) or "network", message)
    return TransportFailure(_RSYNC_ASKS[ended.status], message)


def of_rclone(ended: Ended, log: bytes, what: str) -> TransportFailure:
    """Why rclone failed, given the errors in its JSON log. Its status says little (3: no such folder; 5: may pass; 8:
    a limit). What it says last repeats, without telling names apart, what it logged: it counts if it is all there is.
    """
    said = [_rclone_text(line) for line in log.splitlines() if line.strip()]
    message = f"{what}: {said[0] if said else f'exit status {ended.status}'}"
    if ended.stopped:
        return TransportFailure("timeout", f"{what}: {ended.stopped}")
    causes = [cause for line in log.splitlines() if (cause := _rclone_cause(line))]
    for cause in causes or said:
        if kind := _matching(_RCLONE_SAYS, cause):
            return TransportFailure(kind, message)
    return TransportFailure(_RCLONE.get(ended.status, "unknown"), message)


def is_rclone_error(line: bytes) -> bool:
    """Whether a line of rclone's JSON log is an error. One that is no JSON was said before the log began, or at the
    very end, and is one, too, unless it says otherwise."""
    try:
        return json.loads(line)["level"] in ("error", "critical", "fatal")
    except (ValueError, TypeError, KeyError, RecursionError):
        text = _rclone_text(line)
        return bool(text) and not text.startswith(("NOTICE", "INFO", "DEBUG"))


def _rclone_text(line: bytes) -> str:
    try:
        entry = json.loads(line)
        return f"{entry['object']}: {entry['msg']}" if entry.get("object") else str(entry["msg"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return re.sub(r"\A\d{4}/\d\d/\d\d \S+ ", "", line.decode(errors="replace").strip())


def _rclone_cause(line: bytes) -> str:
    """What a line of the log says without the name of the file that it is about, which may be that of any failure."""
    try:
        entry = json.loads(line)
        return str(entry["msg"]).replace(f"/{entry['object']}", "/…")
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""


def of_errno(error: OSError, *, remote: bool) -> TransportFailure:
    """Why a call to this system's kernel failed, on the source or, `remote`, on a destination that is a local path."""
    where = f"{error.filename!r}: " if error.filename else ""
    return TransportFailure(_of_number(error.errno or 0, remote=remote) or "unknown", f"{where}{error.strerror}")


def _rsync_kinds(said: str, near: str) -> Iterator[Kind]:
    for line in said.splitlines():
        if found := _RSYNC_LINE.match(line):
            here = (found[1] == "sender") == (near == "sender")
            if kind := _of_number(int(found[2]), remote=not here):
                yield kind


def _of_number(number: int, *, remote: bool) -> Kind | None:
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "remote_permission" if remote else "local_permission"
    if number == errno.ENOSPC:
        return "disk_full_remote" if remote else "disk_full_local"
    if number == errno.EDQUOT:
        return "quota"
    if number in (errno.ENOENT, errno.ESTALE) and not remote:
        return "local_vanished"
    if number in (errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR) and remote:
        return "conflict"
    return None


def _matching(table: _Table, said: str) -> Kind | None:
    return next((kind for kind, pattern in table if re.search(pattern, said, re.IGNORECASE)), None)


def _text(output: bytes) -> str:
    return output.decode(errors="replace").strip()


def _last(said: str) -> str:
    return said.splitlines()[-1] if said else "it said nothing"


def _telling(said: str) -> str:
    """The first line that names a cause, else the last."""
    lines = said.splitlines()
    return next((line for line in lines if _RSYNC_LINE.match(line)), lines[-1] if lines else "")
