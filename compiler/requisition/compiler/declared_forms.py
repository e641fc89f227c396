"""What `actions` and `teardown` of a package.yaml may say, as records. Their meaning: docs/package.md."""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct


class SymlinkOk(Struct, frozen=True, forbid_unknown_fields=True):
    """A link at `dst` that points to `src`."""

    src: str
    dst: str


class RegKey(Struct, frozen=True, forbid_unknown_fields=True):
    """A key of the Windows registry."""

    path: str
    name: str = ""


class Predicate(Struct, frozen=True, forbid_unknown_fields=True):
    """Something that can be so; exactly one of its keys is given."""

    path_exists: str | None = None
    cmd_available: str | None = None
    os: Literal["linux", "macos", "windows"] | None = None
    symlink_ok: SymlinkOk | None = None
    reg_key: RegKey | None = None
    psversion: str | None = None
    all_of: list["Predicate"] | None = None
    any_of: list["Predicate"] | None = None
    none_of: list["Predicate"] | None = None


class Symlink(Struct, frozen=True, forbid_unknown_fields=True):
    """A link at `dst`. A relative `src` is a file or folder of the package. With `backup`, what is in the way is
    moved aside; `normalize: false` writes `src` into the link as it stands. `kind` matters on Windows only."""

    src: str
    dst: str
    backup: bool = False
    normalize: bool = True
    kind: Literal["auto", "file", "directory"] = "auto"


class Env(Struct, frozen=True, forbid_unknown_fields=True):
    """A variable: for the user's shells, for those of all users, or (session) for the commands that follow."""

    name: str
    value: str
    scope: Literal["user", "machine", "session"] = "user"


class Mkdir(Struct, frozen=True, forbid_unknown_fields=True):
    """A directory, with its parents; `mode` in octal, else one that is there keeps its own."""

    path: str
    mode: str = ""


class Rmdir(Struct, frozen=True, forbid_unknown_fields=True):
    """A directory to be gone: an empty one, with `force` any; with `backup` it is moved to `<path>.bak`."""

    path: str
    backup: bool = False
    force: bool = False


class Require(Struct, frozen=True, forbid_unknown_fields=True):
    """What must be so before anything that follows; exactly one of the three lists."""

    all_of: list[Predicate] | None = None
    any_of: list[Predicate] | None = None
    none_of: list[Predicate] | None = None
    on_fail: Literal["error", "skip", "warn"] = "error"


class Exec(Struct, frozen=True, forbid_unknown_fields=True):
    """A command: `cmd`, or `cmd_shell` with `shell: true`. It runs in the package's folder unless `cwd` says where.
    `creates` and `unless` keep it from being run again, `undo` takes it back."""

    cmd: list[str] | None = None
    cmd_shell: str | None = None
    shell: bool = False
    cwd: str = ""
    env: dict[str, str] = {}
    on_fail: Literal["error", "warn", "ignore"] = "error"
    creates: str = ""
    unless: list[str] = []
    undo: list[str] = []
    timeout: str = ""


class When(Struct, frozen=True, forbid_unknown_fields=True):
    """Actions that are done only where all that is given here is so."""

    actions: list["Action"]
    os: Literal["linux", "macos", "windows"] | None = None
    all_of: list[Predicate] | None = None
    any_of: list[Predicate] | None = None
    none_of: list[Predicate] | None = None


class Action(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing to do; exactly one of its keys is given."""

    symlink: Symlink | None = None
    env: Env | None = None
    mkdir: Mkdir | None = None
    rmdir: Rmdir | None = None
    require: Require | None = None
    when: When | None = None
    exec: Exec | None = None


def given(record: Struct) -> Iterator[tuple[str, Any]]:
    """The keys that were given, of records whose keys are None when they were not."""
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if value is not None:
            yield name, value


def keys(record: type[Struct]) -> str:
    """The keys of a record, for a message."""
    return ", ".join(field.encode_name for field in msgspec.structs.fields(record))
