"""pacman: Arch and its kin, on this machine or in another root.

A repository has one version of a package; older ones can no longer be had, and undo says so. Sources: pacman(8),
vercmp(8). Output is read in the C locale.
"""

import re
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

from requisition.stdlib.host import CommandResult, Host
from requisition.stdlib.providers.package.complaints import Row, text, trouble
from requisition.stdlib.providers.package.manager import Installed, Options, Site, Step, Trouble, Wish
from requisition.stdlib.providers.package.orders import alpm_compare

_NAME = re.compile(r"[A-Za-z0-9@_+][A-Za-z0-9@._+-]*")
_FIELD = re.compile(r"([A-Z][A-Za-z0-9 ]*?) *: (.*)")
_BREAKS = re.compile(r":: removing \S+ breaks dependency '[^']*' required by (\S+)")
_SYNC = "/var/lib/pacman/sync"
_TABLE = (
    Row(r"(?:target not found|package) '?([^':\s]+)'? was not found|target not found: (\S+)",
        "pacman knows no such package", "check the name, or refresh the lists before it"),
    Row(r"breaks dependency '([^']*)' required by (\S+)", "{1} needs {0}", "let both go, or leave both"),
    Row(r"you cannot perform this operation unless you are root", "packages can only be changed as root",
        "run plan apply as root"),
    Row(r"unable to lock database", "another program is at work on packages", "wait until it is done"),
    Row(r"(?:invalid or corrupted package|signature from .* is (?:unknown|marginal) trust|PGP signature)",
        "a package's signature cannot be verified", "check the keyring of pacman"),
    Row(r"(?:failed retrieving file|failed to synchronize|Could not resolve host)", "the mirror cannot be reached",
        "check the network and pacman's mirror list"),
    Row(r"could not satisfy dependencies|conflicting dependencies", "what these packages need cannot be had together",
        "look at what pacman says"),
    Row(r"not enough free disk space", "there is no space left for packages", "free some space"),
)  # fmt: skip


class Pacman:
    """See `Manager`."""

    name: ClassVar[str] = "pacman"
    places: ClassVar[bool] = False

    def valid_name(self, name: str) -> bool:
        """A name alone: no repository before it, no bounds behind it."""
        return _NAME.fullmatch(name) is not None

    def same_name(self, name: str) -> str:
        """Names have one spelling."""
        return name

    def compare(self, one: str, other: str) -> int:
        """vercmp(8)."""
        return alpm_compare(one, other)

    def installed(self, host: Host, site: Site) -> Mapping[str, Installed]:
        """One `pacman -Qi`."""
        done = host.ask(_pacman(site, "-Qi"))
        if done.status != 0:
            raise trouble(done, "pacman cannot say what is there", _TABLE)
        return {
            one["Name"]: Installed(one["Version"], auto=one.get("Install Reason", "").startswith("Installed as a dep"))
            for one in parse_info(text(done.stdout))
        }

    def offers(self, host: Host, site: Site, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """One `pacman -Si`; of several repositories the first counts."""
        if not names:
            return {}
        done = host.ask(_pacman(site, "-Si", "--", *names))
        if done.status != 0 and "was not found" not in text(done.stderr):
            raise trouble(done, "pacman cannot say what can be had", _TABLE)
        found: dict[str, Sequence[str]] = {}
        for one in parse_info(text(done.stdout)):
            found.setdefault(one["Name"], [one["Version"]])
        return found

    def foresee(
        self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options
    ) -> Sequence[Step]:
        """`--print`: what would be put or removed. A package that others need would not go; they are told as going
        with it."""
        there = self.installed(host, site)
        steps: list[Step] = []
        if drop:
            done = host.ask(_pacman(site, "-R", "--print", "--print-format", "%n %v", "--", *drop))
            needing = _BREAKS.findall(text(done.stderr))
            if done.status != 0 and not needing:
                raise trouble(done, "pacman finds no way to do it", _TABLE)
            gone = dict.fromkeys([*drop, *needing]) if needing else [name for name, _ in parse_print(text(done.stdout))]
            steps += [Step(name, there[name].version, "") for name in gone if name in there]
        if put:
            self._check(host, site, put)
            words = ("-S", "--print", "--print-format", "%n %v", "--", *(wish.name for wish in put))
            done = host.ask(_pacman(site, *words))
            if done.status != 0:
                raise trouble(done, "pacman finds no way to do it", _TABLE)
            for name, version in parse_print(text(done.stdout)):
                before = there[name].version if name in there else ""
                steps += [Step(name, before, version)] if before != version else []
        return steps

    def age_ms(self, host: Host, site: Site) -> int | None:
        """Time since the list of any repository was refreshed."""
        names = host.listdir(_SYNC) if host.stat(_SYNC) is not None else []
        found = [host.stat(f"{_SYNC}/{name}") for name in names if name.endswith(".db")]
        times = [stat.mtime_ns for stat in found if stat is not None]
        return max(0, (time.time_ns() - max(times)) // 1_000_000) if times else None

    def change(self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options) -> None:
        """One command to remove, one to install."""
        if drop:
            purge = ["--nosave"] if options.purge else []
            self._run(host, _pacman(site, "-R", *purge, "--", *drop))
        if put:
            self._check(host, site, put)
            self._run(host, _pacman(site, "-S", "--needed", "--", *(wish.name for wish in put)))

    def mark(self, host: Host, site: Site, names: Sequence[str], *, auto: bool) -> None:
        """pacman -D."""
        if names:
            self._run(host, _pacman(site, "-D", "--asdeps" if auto else "--asexplicit", "--", *names))

    def hold(self, host: Host, site: Site, names: Sequence[str], *, held: bool) -> None:
        """Only its configuration can."""
        raise Trouble("pacman holds packages in its configuration", "write IgnorePkg in /etc/pacman.conf", names)

    def refresh(self, host: Host, site: Site) -> None:
        """pacman -Sy."""
        self._run(host, _pacman(site, "-Sy"))

    def mend(self, host: Host, site: Site) -> None:
        """pacman leaves nothing half configured."""

    def _check(self, host: Host, site: Site, put: Sequence[Wish]) -> None:
        """The repositories still have the very versions that were chosen: pacman takes no others."""
        offers = self.offers(host, site, [wish.name for wish in put])
        for wish in put:
            if wish.version not in offers.get(wish.name, ()):
                raise Trouble(f"pacman no longer has {wish.name} {wish.version}", "apply again", [wish.name])

    def _run(self, host: Host, argv: Sequence[str]) -> CommandResult:
        done = host.run(argv)
        if done.status != 0:
            raise trouble(done, "pacman could not do it", _TABLE)
        return done


def parse_info(output: str) -> list[dict[str, str]]:
    """`pacman -Qi` and `-Si`: a block of fields a package."""
    found = []
    for block in output.split("\n\n"):
        rows = [row for line in block.splitlines() if (row := _FIELD.fullmatch(line)) is not None]
        fields: dict[str, str] = {row[1]: row[2] for row in rows}
        if "Name" in fields and "Version" in fields:
            found.append(fields)
    return found


def parse_print(output: str) -> list[tuple[str, str]]:
    """`--print-format '%n %v'`: name and version a line."""
    rows = (line.split(" ") for line in output.splitlines())
    return [(row[0], row[1]) for row in rows if len(row) == 2]


def _pacman(site: Site, verb: str, *words: str) -> list[str]:
    root = [] if site.root == "/" else ["--root", site.root]
    return ["pacman", verb, *root, "--noconfirm", "--noprogressbar", "--color=never", *words]
