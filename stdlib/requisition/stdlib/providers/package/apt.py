"""apt and dpkg: Debian and its kin, on this machine or in another root.

Sources: apt-get(8), apt-mark(8), dpkg-query(1), dpkg(1). Output is read in the C locale.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from requisition.stdlib.action import ActionError
from requisition.stdlib.host import CommandResult, Host
from requisition.stdlib.providers.package.apt_output import (
    as_asked,
    parse_auto,
    parse_installed,
    parse_policy,
    parse_simulation,
    trouble_in,
)
from requisition.stdlib.providers.package.manager import Installed, Options, Site, Step, Trouble, Wish
from requisition.stdlib.providers.package.versions import debian_compare

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](:[a-z0-9][a-z0-9-]*)?")
_FORMAT = "${Package}\t${Architecture}\t${Version}\t${db:Status-Abbrev}\n"
_QUIET = {
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1",
    "UCF_FORCE_CONFFOLD": "1",
}
_LISTS = "/var/lib/apt/lists"
_SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d")


class Apt:
    """See `Manager`."""

    name: ClassVar[str] = "apt"
    places: ClassVar[bool] = False

    def valid_name(self, name: str) -> bool:
        """Debian policy 5.6.7, with an architecture or none. A `-` at the end would mean removal to apt-get."""
        return _NAME.fullmatch(name) is not None

    def same_name(self, name: str) -> str:
        """Names have one spelling."""
        return name

    def compare(self, one: str, other: str) -> int:
        """deb-version(7)."""
        return debian_compare(one, other)

    def installed(self, host: Host, site: Site) -> Mapping[str, Installed]:
        """One dpkg-query; which are there for others only is read from apt's own file."""
        done = host.ask([*_dpkg("dpkg-query", site), "-W", "-f", _FORMAT])
        if done.status != 0:
            raise _trouble(done, "dpkg's database cannot be read")
        try:
            states = host.read("/var/lib/apt/extended_states")
        except ActionError:  # apt makes it when it first has something to note
            states = b""
        return parse_installed(_text(done.stdout), parse_auto(_text(states)), str(host.facts().get("arch", "")))

    def offers(self, host: Host, site: Site, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Versions that a repository has, the candidate first, as apt's pins have it."""
        if not names:
            return {}
        done = host.ask(["apt-cache", *_apt(site), "policy", "--", *names])
        if done.status != 0:
            raise _trouble(done, "apt's lists cannot be read")
        return parse_policy(_text(done.stdout))

    def foresee(
        self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options
    ) -> Sequence[Step]:
        """apt-get's own simulation."""
        done = host.ask(["apt-get", *_apt(site), "--simulate", *_wanted(put, drop, options)], env=_QUIET)
        if done.status != 0:
            raise _trouble(done, "apt finds no way to do it")
        return as_asked(parse_simulation(_text(done.stdout)), [*(wish.name for wish in put), *drop])

    def age_ms(self, host: Host, site: Site) -> int | None:
        """Time since the lists were refreshed: apt renews a file in `partial` even when nothing is new. None where
        a source was changed since."""
        if host.stat(_LISTS) is None or not any(name.endswith("Release") for name in host.listdir(_LISTS)):
            return None
        newest = _changed(host, (_LISTS, f"{_LISTS}/partial"))
        parts = host.listdir(_SOURCES[1]) if host.stat(_SOURCES[1]) is not None else ()
        if _changed(host, (*_SOURCES, *(f"{_SOURCES[1]}/{name}" for name in parts))) > newest:
            return None
        return max(0, (time.time_ns() - newest) // 1_000_000)

    def change(self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options) -> None:
        """One apt-get; configuration files that were edited are kept as they are."""
        argv = ["apt-get", *_apt(site), "--yes", "--quiet", *_lock(site), "-o", "DPkg::Options::=--force-confold"]
        if drop:  # what a kill left half unpacked
            argv += ["-o", "DPkg::Options::=--force-remove-reinstreq"]
        done = host.run([*argv, *_wanted(put, drop, options)], env=_QUIET)
        if done.status != 0:
            raise _trouble(done, "apt-get could not do it")

    def mark(self, host: Host, site: Site, names: Sequence[str], *, auto: bool) -> None:
        """apt-mark auto or manual."""
        if names:
            self._mark(host, site, "auto" if auto else "manual", names)

    def hold(self, host: Host, site: Site, names: Sequence[str], *, held: bool) -> None:
        """apt-mark hold or unhold."""
        if names:
            self._mark(host, site, "hold" if held else "unhold", names)

    def _mark(self, host: Host, site: Site, what: str, names: Sequence[str]) -> None:
        done = host.run(["apt-mark", *_apt(site), *_lock(site), what, "--", *names], env=_QUIET)
        if done.status != 0:
            raise _trouble(done, f"apt-mark {what} failed")

    def refresh(self, host: Host, site: Site) -> None:
        """apt-get update; a repository that cannot be reached is an error, not a warning."""
        argv = ["apt-get", *_apt(site), "--quiet", *_lock(site), "-o", "APT::Update::Error-Mode=any", "update"]
        done = host.run(argv, env=_QUIET)
        if done.status != 0:
            raise _trouble(done, "the package lists could not be refreshed")

    def mend(self, host: Host, site: Site) -> None:
        """dpkg --configure -a."""
        argv = [*_dpkg("dpkg", site), "--force-confold", "--configure", "-a"]
        done = host.run(argv, env=_QUIET)
        if done.status != 0:
            raise _trouble(done, "dpkg could not finish what was begun")


def _changed(host: Host, paths: Iterable[str]) -> int:
    """When the newest of them was written, in nanoseconds; 0 where there is none."""
    return max((stat.mtime_ns for path in paths if (stat := host.stat(path)) is not None), default=0)


def _apt(site: Site) -> list[str]:
    """Options by which apt's programs work on another root. Scripts of packages run inside of it, by chroot."""
    root = site.root
    if root == "/":
        return ["-o", "Dpkg::Use-Pty=0"]
    settings = (
        "Dpkg::Use-Pty=0",
        f"Dir={root}",
        f"Dir::State::status={root}/var/lib/dpkg/status",
        "DPkg::Chroot-Directory=",
        f"DPkg::Options::=--root={root}",
        f"DPkg::Options::=--log={root}/var/log/dpkg.log",
    )
    return [part for setting in settings for part in ("-o", setting)]


def _dpkg(program: str, site: Site) -> list[str]:
    return [program] if site.root == "/" else [program, f"--root={site.root}"]


def _lock(site: Site) -> list[str]:
    """Wait for whoever has dpkg's lock, in seconds."""
    return ["-o", f"DPkg::Lock::Timeout={-(-site.lock_ms // 1000)}"]


def _wanted(put: Sequence[Wish], drop: Sequence[str], options: Options) -> Iterable[str]:
    """All in one: exact versions to be there, and names with a `-` to be gone."""
    yield "--install-recommends" if options.recommends else "--no-install-recommends"
    yield "--allow-downgrades"
    if options.purge:
        yield "--purge"
    if options.again:
        yield "--reinstall"
    yield from ("install", "--")
    for wish in put:
        yield f"{wish.name}={wish.version}"
    for name in drop:
        yield f"{name}-"


def _trouble(done: CommandResult, what: str) -> Trouble:
    return trouble_in(_text(done.stderr), what)


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace")
