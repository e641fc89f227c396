"""Gates: what must be so before anything is done. They look, and change nothing.

What a gate does when it is not so is said by `on_fail`: `error` stops the run, at preflight where it can be
known there; `skip` leaves out every node that waits for the gate; `warn` says it and goes on.
"""

import os
import re
import shutil
import socket
from typing import Annotated

from msgspec import Struct

from requisition.stdlib.action import ActionError, BaseAction, Change, GateClosed, Satisfied, action
from requisition.stdlib.host import Host
from requisition.stdlib.providers.package.versions import allows, debian_compare, parse
from requisition.stdlib.spec import slot

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VERSION = re.compile(rb"\d+(?:\.\d+)+(?:[a-z0-9.~+-]*[a-z0-9])?")

OnFail = Annotated[str, slot("string", "error, skip or warn")]
Message = Annotated[str, slot("string", "what to say instead of our own words")]


def gate(host: Host, what: str, hint: str, on_fail: str, message: str) -> Satisfied:
    """What follows when a requirement is not met."""
    said = message or what
    if on_fail == "warn":
        host.log(f"warning: {said}")
        return Satisfied()
    if on_fail == "skip":
        raise GateClosed(said)
    if on_fail != "error":
        raise ActionError(f"on_fail is {on_fail!r}", "give error, skip or warn")
    raise ActionError(said, hint)


class PathSlots(Struct, frozen=True):
    path: Annotated[str, slot("path", "what must be there")]
    kind: Annotated[str, slot("string", "file, dir or link; empty: any")] = ""
    absent: Annotated[bool, slot("bool", "it must not be there")] = False
    on_fail: OnFail = "error"
    message: Message = ""


@action("require.path", effect="outside", looks=True)
class RequirePath(BaseAction[PathSlots]):
    """Go on only when a path is there, or is not."""

    slots = PathSlots

    def observe(self, host: Host, slots: PathSlots) -> Satisfied | Change:
        """One lstat."""
        found = host.stat(slots.path)
        if slots.absent:
            met, what = found is None, f"{slots.path} is there and must not be"
        else:
            met = found is not None and slots.kind in ("", found.kind)
            what = (
                f"{slots.path} is not there" if found is None else f"{slots.path} is a {found.kind}, not a {slots.kind}"
            )
        return Satisfied() if met else gate(host, what, "make it so, then apply again", slots.on_fail, slots.message)


class CommandSlots(Struct, frozen=True):
    name: Annotated[str, slot("string", "program that must be in PATH")]
    version: Annotated[str, slot("string", 'bounds of its version: ">=1.18, <2"; empty: any')] = ""
    version_args: Annotated[list[str], slot("strings", "what makes it print its version; empty: --version")] = []
    on_fail: OnFail = "error"
    message: Message = ""


@action("require.command", effect="outside", blocking=True, looks=True)
class RequireCommand(BaseAction[CommandSlots]):
    """Go on only when a program is installed, in a version that will do."""

    slots = CommandSlots

    def observe(self, host: Host, slots: CommandSlots) -> Satisfied | Change:
        """Looks into PATH; the program is run only when its version matters."""
        try:
            bounds = parse(slots.version)
        except ValueError as error:
            raise ActionError(str(error)) from error
        if "/" in slots.name or slots.name.startswith("-"):
            raise ActionError(f"{slots.name!r} is no name of a program", "give its name without a path")
        hint = f"install {slots.name} first"
        if shutil.which(slots.name, path=PATH) is None:
            return gate(host, f"there is no program {slots.name}", hint, slots.on_fail, slots.message)
        if not bounds:
            return Satisfied()
        arguments = slots.version_args or ["--version"]
        done = host.run([slots.name, *arguments], timeout_ms=10_000)
        found = _VERSION.search(done.stdout) or _VERSION.search(done.stderr)
        if found is None:
            what = f"{slots.name} {' '.join(arguments)} prints no version"
            return gate(host, what, "give version_args", slots.on_fail, slots.message)
        version = found[0].decode()
        if allows(bounds, debian_compare, version):
            return Satisfied()
        return gate(host, f"{slots.name} is {version}, not {slots.version}", hint, slots.on_fail, slots.message)


class FactSlots(Struct, frozen=True):
    any_of: Annotated[list[str], slot("strings", 'what it may be: ["linux"], ["debian", "ubuntu"], ["amd64"]')]
    on_fail: OnFail = "error"
    message: Message = ""


class _Fact(BaseAction[FactSlots]):
    """A fact of the machine must be one of several."""

    slots = FactSlots
    facts: tuple[str, ...] = ()

    def observe(self, host: Host, slots: FactSlots) -> Satisfied | Change:
        """Facts are known from the start."""
        known = host.facts()
        found = [str(known.get(name, "")) for name in self.facts]
        if set(found) & set(slots.any_of):
            return Satisfied()
        what = f"this machine is {'/'.join(filter(None, found))}, not {' or '.join(slots.any_of)}"
        return gate(host, what, "apply it to another machine", slots.on_fail, slots.message)


@action("require.os", looks=True)
class RequireOs(_Fact):
    """Go on only on some operating systems or distributions."""

    facts = ("os", "distro")


@action("require.arch", looks=True)
class RequireArch(_Fact):
    """Go on only on some processor architectures."""

    facts = ("arch",)


class PortSlots(Struct, frozen=True):
    port: Annotated[int, slot("int", "TCP port")]
    host: Annotated[str, slot("string", "address")] = "127.0.0.1"
    open: Annotated[bool, slot("bool", "somebody must listen there; otherwise nobody may")] = False
    on_fail: OnFail = "error"
    message: Message = ""


@action("require.port", effect="outside", blocking=True, looks=True)
class RequirePort(BaseAction[PortSlots]):
    """Go on only when a port is free, or somebody listens on it."""

    slots = PortSlots

    def observe(self, host: Host, slots: PortSlots) -> Satisfied | Change:
        """One attempt to connect."""
        listening = is_open(slots.host, slots.port)
        if listening is slots.open:
            return Satisfied()
        what = f"port {slots.port} of {slots.host} is {'taken' if listening else 'closed'}"
        return gate(host, what, "stop or start what should listen there", slots.on_fail, slots.message)


class DiskSlots(Struct, frozen=True):
    free_mib: Annotated[int, slot("int", "room that must be free, in MiB")]
    path: Annotated[str, slot("path", "any path on the file system")] = "/"
    on_fail: OnFail = "error"
    message: Message = ""


@action("require.disk", effect="outside", looks=True)
class RequireDisk(BaseAction[DiskSlots]):
    """Go on only when a file system has room."""

    slots = DiskSlots

    def observe(self, host: Host, slots: DiskSlots) -> Satisfied | Change:
        """One statvfs."""
        place = os.statvfs(host.real_path(slots.path))
        free = place.f_bavail * place.f_frsize >> 20
        if free >= slots.free_mib:
            return Satisfied()
        what = f"{slots.path} has {free} MiB free, needed are {slots.free_mib}"
        return gate(host, what, "free some space", slots.on_fail, slots.message)


def is_open(host: str, port: int, timeout: float = 2.0) -> bool:
    """Whether somebody listens on a TCP port."""
    if not 0 < port < 65536:
        raise ActionError(f"{port} is no port", "ports are 1 to 65535")
    try:
        socket.create_connection((host, port), timeout).close()
    except (ConnectionRefusedError, TimeoutError):
        return False
    except OSError as error:
        raise ActionError(f"{host}: {error.strerror or error}", "check the address") from error
    return True
