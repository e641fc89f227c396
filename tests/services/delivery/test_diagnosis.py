"""What kind of failure it was: the exit status first, then the text; most texts are what the programs said here, those of clouds (quota, throttling)
are from their sources."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.services.delivery.diagnosis import is_rclone_error, of_errno, of_rclone, of_rsync, of_ssh
from requisition.services.delivery.transport import Kind
from requisition.services.processes import Ended


def ended(status: int, err: str = "", stopped: str = "") -> Ended:
    return Ended(status, stopped, b"", err.encode())


RSYNC: list[tuple[int, str, Kind]] = [
    (1, "rsync: --nosuch: unknown option\nrsync error: syntax or usage error (code 1) at main.c(1766)", "usage"),
    (23, 'rsync: [sender] send_files failed to open "/s/a": Permission denied (13)', "local_permission"),
    (23, 'rsync: [receiver] mkstemp "/d/.a.XXXXXX" failed: Permission denied (13)', "remote_permission"),
    (23, 'rsync: [sender] link_stat "/s/a" failed: No such file or directory (2)', "local_vanished"),
    (3, 'rsync: [sender] change_dir "/s" failed: No such file or directory (2)', "local_vanished"),
    (24, 'file has vanished: "/s/a"', "local_vanished"),
    (11, 'rsync: [receiver] write failed on "/d/a": No space left on device (28)', "disk_full_remote"),
    (12, 'rsync: [receiver] write failed on "/d/a": No space left on device (28)', "disk_full_remote"),
    (11, 'rsync: [receiver] write failed on "/d/a": Disk quota exceeded (122)', "quota"),
    (11, 'rsync: [Receiver] mkdir "/d/a" failed: File exists (17)', "conflict"),
    (12, "bash: line 1: rsync: command not found", "missing_program"),
    (12, "rsync: connection unexpectedly closed (0 bytes received so far) [sender]", "network"),
    (255, "root@127.0.0.1: Permission denied (publickey).\nrsync: connection unexpectedly closed", "auth"),
    (255, "Host key verification failed.\nrsync: connection unexpectedly closed", "host_key"),
    (255, "ssh: connect to host 127.0.0.1 port 1: Connection refused", "network"),
    (30, "rsync error: timeout in data send/receive (code 30)", "timeout"),
    (23, "something new", "unknown"),
    (99, "", "unknown"),
]


@pytest.mark.parametrize(("status", "said", "kind"), RSYNC)
def test_rsync(status: int, said: str, kind: Kind) -> None:
    assert of_rsync(ended(status, said), "push").kind == kind


def test_the_side_that_rsync_names_is_here_or_there_by_the_direction() -> None:
    unread = ended(23, 'rsync: [sender] send_files failed to open "/d/a": Permission denied (13)')
    full = ended(11, 'rsync: [receiver] write failed on "/t/a": No space left on device (28)')
    assert (of_rsync(unread, "push").kind, of_rsync(full, "push").kind) == ("local_permission", "disk_full_remote")
    back = [of_rsync(one, "read back", near="receiver").kind for one in (unread, full)]
    assert back == ["remote_permission", "disk_full_local"]


@given(st.text("abc/\"' :()[]") | st.sampled_from(["Permission denied (publickey).", "Host key verification failed."]))
def test_the_name_of_a_file_is_not_taken_for_a_cause(name: str) -> None:
    """A file may be called as any failure is."""
    line = f'rsync: [sender] send_files failed to open "/s/{name}": Permission denied (13)'
    assert of_rsync(ended(23, line), "push").kind == "local_permission"
    assert of_rsync(ended(24, f'file has vanished: "/s/{name}"'), "push").kind == "local_vanished"


@pytest.mark.parametrize("name", ["AccessDenied", "invalid_grant", "x/connection refused", "quota exceeded"])
def test_nor_is_it_in_the_log_of_rclone(name: str) -> None:
    message = f"Failed to copy: write /d/{name}: no space left on device"
    log = f'{{"level":"error","msg":"{message}","object":"{name}"}}\n2026/11/21 11:33:08 Failed to copy: {message}'
    assert of_rclone(ended(1), log.encode(), "push").kind == "disk_full_remote"
    log = log.replace("no space left on device", "something new")
    assert of_rclone(ended(1), log.encode(), "push").kind == "unknown"


SSH: list[tuple[int, str, Kind]] = [
    (255, "root@127.0.0.1: Permission denied (publickey,password).", "auth"),
    (255, "Received disconnect from 1.2.3.4 port 22:2: Too many authentication failures", "auth"),
    (255, "No ED25519 host key is known for h and you have requested strict checking.", "host_key"),
    (255, "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @", "host_key"),
    (255, "ssh: Could not resolve hostname nowhere: Name or service not known", "network"),
    (255, "command-line: line 0: Bad configuration option: nosuch", "usage"),
    (255, "", "network"),
    (127, "sh: 1: exec: xargs: not found", "missing_program"),
    (1, "mkdir: cannot create directory './.incoming': Permission denied", "remote_permission"),
    (1, "mkdir: cannot create directory './a': Read-only file system", "remote_permission"),
    (1, "mkdir: cannot create directory './a': No space left on device", "disk_full_remote"),
    (1, "mkdir: cannot create directory './a': Not a directory", "conflict"),
    (123, "sha256sum: ./x: Input/output error", "unknown"),
]


@pytest.mark.parametrize(("status", "said", "kind"), SSH)
def test_ssh_and_what_ran_over_it(status: int, said: str, kind: Kind) -> None:
    assert of_ssh(ended(status, said), "look").kind == kind


def logged(message: str, level: str = "error") -> str:
    return f'{{"level":"{level}","msg":"{message}","object":"a","time":"2026-11-21T11:33:08.660809+00:00"}}'


RCLONE: list[tuple[int, str, Kind]] = [
    (1, logged("Failed to copy: failed to open source object: open /s/a: permission denied"), "local_permission"),
    (1, logged("Failed to copy: failed to open source object: open /s/a: no such file or directory"), "local_vanished"),
    (3, logged("error reading source root directory: directory not found"), "local_vanished"),
    (3, logged("error listing: directory not found"), "usage"),
    (1, logged("Failed to copy: can't copy - source file is being updated (size changed)"), "local_changed"),
    (1, logged("Failed to copy: preallocate: file too big for remaining disk space"), "disk_full_remote"),
    (1, logged("Failed to copy: write /d/a: no space left on device"), "disk_full_remote"),
    (1, logged("Failed to copy: googleapi: Error 403: quota exceeded, storageQuotaExceeded"), "quota"),
    (1, logged("corrupted on transfer: sha256 hash differ"), "hash_mismatch"),
    (1, logged("Failed to copy: mkdir /d: permission denied"), "remote_permission"),
    (1, logged("AccessDenied: Access Denied status code: 403"), "auth"),
    (1, '2026/11/21 11:33:08 Failed to create file system for "n:": didn\'t find section in config file', "usage"),
    (1, "2026/11/21 11:33:08 Failed to lsf: dial tcp 127.0.0.1:1: connect: connection refused", "network"),
    (1, "Error: unknown flag: --nosuch", "usage"),
    (1, logged("Failed to copy: HTTP error 429: 429 Too Many Requests"), "network"),
    (1, logged("Failed to copy: 503 Service Unavailable"), "network"),
    (1, "2026/11/21 11:33:08 Failed to load config file: not allowed to ask for password", "usage"),
    (5, logged("something temporary"), "network"),
    (7, logged("something else"), "unknown"),
    (1, "", "unknown"),
]


@pytest.mark.parametrize(("status", "said", "kind"), RCLONE)
def test_rclone(status: int, said: str, kind: Kind) -> None:
    assert of_rclone(ended(status), said.encode(), "push").kind == kind


@pytest.mark.parametrize("program", [of_ssh, of_rsync])
def test_what_we_ended_ourselves_took_too_long(program: type) -> None:
    assert program(ended(-15, "killed by signal", stopped="said nothing for 600 s"), "push").kind == "timeout"


def test_only_errors_of_a_log_are_kept() -> None:
    assert is_rclone_error(logged("it failed").encode())
    assert not is_rclone_error(logged("Transferred: 1", level="warning").encode())
    assert not is_rclone_error(b"2026/11/21 11:33:06 NOTICE: Local file system at /d: Replacing invalid UTF-8")
    assert not is_rclone_error(b"")
    assert is_rclone_error(b"2026/11/21 11:33:06 Failed to copy: directory not found")


@pytest.mark.parametrize(
    ("number", "here", "there"),
    [
        (13, "local_permission", "remote_permission"),
        (28, "disk_full_local", "disk_full_remote"),
        (2, "local_vanished", "unknown"),
        (122, "quota", "quota"),
        (39, "unknown", "conflict"),
        (5, "unknown", "unknown"),
    ],
)
def test_the_same_error_differs_by_the_side_it_is_on(number: int, here: Kind, there: Kind) -> None:
    assert of_errno(OSError(number, "said the kernel", "/a"), remote=False).kind == here
    assert of_errno(OSError(number, "said the kernel", "/a"), remote=True).kind == there
