"""Facts of this machine: platform, name, boot."""

import os
import platform
import time
from collections.abc import Mapping

from requisition.schemas.document import Platform

_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


def platform_of_machine(os_release: str = "/etc/os-release") -> Platform:
    """This machine as an order names one, e.g. linux/debian/amd64 (os-release(5) gives the distribution)."""
    distro = ""
    try:
        with open(os_release, encoding="utf-8") as file:
            for line in file:
                key, _, value = line.strip().partition("=")
                if key == "ID":
                    distro = value.strip("\"'")
    except OSError:
        distro = ""
    machine = platform.machine().lower()
    return Platform(platform.system().lower(), distro, _ARCH.get(machine, machine))


def facts(found: Platform) -> Mapping[str, str]:
    """What predicates and actions may know of the machine."""
    return {"os": found.os, "distro": found.distro, "arch": found.arch, "hostname": hostname()}


def boot_id() -> str:
    """The kernel's random id of the present boot; empty where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def boot_time_ns() -> int:
    """Wall time at which the present boot began, in nanoseconds."""
    return time.time_ns() - time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def hostname() -> str:
    """This machine's name."""
    return os.uname().nodename
