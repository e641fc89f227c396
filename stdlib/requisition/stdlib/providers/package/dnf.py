"""dnf, versions 4 and 5: Fedora and its kin, on this machine or in another root.

Sources: dnf(8), dnf5(8), rpm-version(7). Versions are `[epoch:]version-release`. Output is read in the C locale.
"""

import re
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

from requisition.stdlib.host import CommandResult, Host
from requisition.stdlib.providers.package.complaints import Row, text, trouble
from requisition.stdlib.providers.package.manager import Installed, Options, Site, Step, Trouble, Wish
from requisition.stdlib.providers.package.orders import rpm_compare

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_ROW = re.compile(r" (\S+)\s+(\S+)\s+(\S+)(?:\s+\S+\s+[0-9.]+ \S+)?\s*")
_ADDING = ("Installing", "Upgrading", "Downgrading", "Reinstalling")
_CACHES = ("/var/cache/dnf", "/var/cache/libdnf5")
_TABLE = (
    Row(r"(?:No match for argument|Unable to find a match): (\S+?)(?:-[0-9][^\s-]*-[^\s-]+)?\s",
        "dnf knows no package {0}", "check the name, or refresh the lists before it", names=True),
    Row(r"(?:This command has to be run with superuser|superuser privileges)",
        "packages can only be changed as root", "run plan apply as root"),
    Row(r"Failed to obtain the transaction lock|Waiting for process with pid",
        "another program is at work on packages", "wait until it is done"),
    Row(r"GPG check FAILED|is not signed|key import failed", "a package's signature cannot be verified",
        "check the repository's key with its owner"),
    Row(r"Cannot download|Curl error|Failed to download metadata", "the mirror cannot be reached",
        "check the network and the repositories of dnf"),
    Row(r"Problem(?: \d+)?: (.+)", "what these packages need cannot be had together: {0}",
        "look at the versions asked for"),
    Row(r"needs \S+ more space|No space left", "there is no space left for packages", "free some space"),
)  # fmt: skip


class Dnf:
    """See `Manager`."""

    name: ClassVar[str] = "dnf"
    places: ClassVar[bool] = False

    def valid_name(self, name: str) -> bool:
        """A name alone: no globs, files or `@groups`."""
        return _NAME.fullmatch(name) is not None

    def same_name(self, name: str) -> str:
        """Names have one spelling."""
        return name

    def compare(self, one: str, other: str) -> int:
        """rpm-version(7)."""
        return rpm_compare(one, other)

    def installed(self, host: Host, site: Site) -> Mapping[str, Installed]:
        """One `dnf repoquery --installed`."""
        done = host.ask(_dnf(site, "repoquery", "--installed", "--queryformat", r"%{name}\t%{evr}\t%{reason}\n"))
        if done.status != 0:
            raise trouble(done, "dnf cannot say what is there", _TABLE)
        return parse_installed(text(done.stdout))

    def offers(self, host: Host, site: Site, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """One `dnf repoquery --available`, the newest first."""
        if not names:
            return {}
        words = ("repoquery", "--available", "--showduplicates", "--queryformat", r"%{name}\t%{evr}\n", "--")
        done = host.ask(_dnf(site, *words, *names))
        if done.status != 0:
            raise trouble(done, "dnf cannot say what can be had", _TABLE)
        return parse_offers(text(done.stdout))

    def foresee(
        self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options
    ) -> Sequence[Step]:
        """The table that dnf prints before it asks, to which the answer is no."""
        there = self.installed(host, site)
        steps: list[Step] = []
        for argv in self._commands(there, site, put, drop, options, "--assumeno"):
            done = host.ask(argv)
            said = f"{text(done.stderr)}\n{text(done.stdout)}"
            if done.status != 0 and "Operation aborted" not in said:
                raise trouble(done, "dnf finds no way to do it", _TABLE)
            steps += parse_transaction(text(done.stdout), there)
        return steps

    def age_ms(self, host: Host, site: Site) -> int | None:
        """Time since the lists of any repository were refreshed."""
        times = [
            found.mtime_ns
            for cache in _CACHES
            if host.stat(cache) is not None
            for name in host.listdir(cache)
            if (found := host.stat(f"{cache}/{name}")) is not None
        ]
        return max(0, (time.time_ns() - max(times)) // 1_000_000) if times else None

    def change(self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options) -> None:
        """One command each to install, to go back to older versions, and to remove: dnf has no one for all."""
        for argv in self._commands(self.installed(host, site), site, put, drop, options, "--assumeyes"):
            self._run(host, argv)

    def mark(self, host: Host, site: Site, names: Sequence[str], *, auto: bool) -> None:
        """dnf mark, whose words differ between its versions 4 and 5."""
        if names:
            five = "dnf5" in text(host.ask(["dnf", "--version"]).stdout)
            word = ("dependency" if auto else "user") if five else ("remove" if auto else "install")
            self._run(host, _dnf(site, "--assumeyes", "mark", word, "--", *names))

    def hold(self, host: Host, site: Site, names: Sequence[str], *, held: bool) -> None:
        """Not without a plug-in of dnf."""
        raise Trouble("dnf cannot hold a package by itself", "its plug-in versionlock can: write its list", names)

    def refresh(self, host: Host, site: Site) -> None:
        """dnf makecache."""
        self._run(host, _dnf(site, "makecache", "--refresh"))

    def mend(self, host: Host, site: Site) -> None:
        """rpm leaves nothing half configured."""

    @staticmethod
    def _commands(
        there: Mapping[str, Installed],
        site: Site,
        put: Sequence[Wish],
        drop: Sequence[str],
        options: Options,
        answer: str,
    ) -> list[list[str]]:
        weak = f"--setopt=install_weak_deps={options.recommends}"
        older = [one for one in put if one.name in there and rpm_compare(one.version, there[one.name].version) < 0]
        newer = [one for one in put if one not in older]
        commands = [("remove", list(drop))] if drop else []
        for verb, wishes in (("downgrade", older), ("install", newer)):
            if wishes:
                commands.append((verb, [f"{wish.name}-{wish.version}" for wish in wishes]))
        return [_dnf(site, answer, weak, verb, "--", *words) for verb, words in commands]

    def _run(self, host: Host, argv: Sequence[str]) -> CommandResult:
        done = host.run(argv)
        if done.status != 0:
            raise trouble(done, "dnf could not do it", _TABLE)
        return done


def parse_installed(output: str) -> dict[str, Installed]:
    """Lines of name, version and reason; of a package that is there in several versions, the last."""
    rows = (line.split("\t") for line in output.splitlines() if line.count("\t") == 2)
    return {
        name: Installed(version, auto=reason.strip().lower() in ("dependency", "weak-dependency", "weak dependency"))
        for name, version, reason in rows
    }


def parse_offers(output: str) -> dict[str, list[str]]:
    """Lines of name and version: each version once, the newest first."""
    found: dict[str, list[str]] = {}
    for line in output.splitlines():
        name, tab, version = line.partition("\t")
        had = found.setdefault(name, []) if tab else []
        if version not in had:
            at = next((at for at, other in enumerate(had) if rpm_compare(version, other) > 0), len(had))
            had.insert(at, version)
    return found


def parse_transaction(output: str, there: Mapping[str, Installed]) -> list[Step]:
    """The table of a transaction: sections with a colon, below them a row a package, indented by one. A long name
    has its row broken behind it; rows of what dnf 5 replaces are indented further."""
    steps: list[Step] = []
    section = begun = ""
    for line in output.splitlines():
        if line.startswith("Transaction Summary"):
            break
        if line and line[0] != " ":
            section, begun = line.strip() if line.rstrip().endswith(":") else "", ""
            continue
        if not section or (line.startswith("  ") and not begun):
            continue
        joined = f"{begun} {line.strip()}" if begun else line
        found = _ROW.fullmatch(joined)
        begun = "" if found else joined.rstrip()
        if found is not None:
            name, version = found[1], found[3].removeprefix("0:")
            before = there[name].version if name in there else ""
            steps.append(Step(name, before, version if section.startswith(_ADDING) else ""))
    return steps


def _dnf(site: Site, *words: str) -> list[str]:
    root = [] if site.root == "/" else [f"--installroot={site.root}"]
    return ["dnf", "--quiet", *root, *words] if words[0] == "repoquery" else ["dnf", *root, *words]
