"""apk: Alpine, on this machine or in another root.

What is wanted for itself stands in /etc/apk/world; a version there (`name=1.2-r3`) is what holds a package. Sources:
apk(8), apk-world(5), apk-add(8), apk-del(8).
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from requisition.stdlib.action import ActionError
from requisition.stdlib.host import CommandResult, Host
from requisition.stdlib.providers.package.complaints import Row, text, trouble
from requisition.stdlib.providers.package.manager import Installed, Options, Site, Step, Wish
from requisition.stdlib.providers.package.orders import apk_compare

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_NAME_VERSION = re.compile(r"(.+?)-([0-9][^-\s]*-r[0-9]+)")
_STEP = re.compile(
    r"\([0-9 ]+/[0-9]+\) (Installing|Upgrading|Downgrading|Reinstalling|Replacing|Purging) ([^\s@]+)\S* "
    r"\(([^\s)]+)(?: -> ([^\s)]+))?\)"
)
_KEPT = re.compile(r"^ {2}(\S+): (.+)$", re.MULTILINE)
_STILL_NEEDED = "not removed due to:"
_CACHE = "/var/cache/apk"
_TABLE = (
    Row(r"  ([A-Za-z0-9][A-Za-z0-9._+-]*) \(no such package\)", "apk knows no package {0}",
        "check the name, or refresh the lists before it", names=True),
    Row(r"unable to select packages:\s+(\S.*)", "apk finds no way to do it: {0}", "look at the versions asked for"),
    Row(r"Unable to lock database|Failed to open apk database: Permission denied",
        "packages can only be changed as root, by one program at a time", "run plan apply as root"),
    Row(r"UNTRUSTED signature|BAD signature", "a package's signature cannot be verified",
        "check the repository's key, below /etc/apk/keys"),
    Row(r"(?:temporary error|network error|DNS lookup error|could not connect)", "the mirror cannot be reached",
        "check the network and /etc/apk/repositories"),
    Row(r"No space left", "there is no space left for packages", "free some space"),
)  # fmt: skip


class Apk:
    """See `Manager`."""

    name: ClassVar[str] = "apk"
    places: ClassVar[bool] = False

    def valid_name(self, name: str) -> bool:
        """A name alone; `!`, `@tag` and bounds are apk's own language."""
        return _NAME.fullmatch(name) is not None

    def same_name(self, name: str) -> str:
        """Names have one spelling."""
        return name

    def compare(self, one: str, other: str) -> int:
        """apk-package(5)."""
        return apk_compare(one, other)

    def installed(self, host: Host, site: Site) -> Mapping[str, Installed]:
        """One `apk info`; what is wanted for itself, and held, is read from the world."""
        done = host.ask(_apk(site, "info", "-v"))
        if done.status != 0:
            raise trouble(done, "apk cannot say what is there", _TABLE)
        try:
            world = text(host.read("/etc/apk/world"))
        except ActionError:  # an empty root has none
            world = ""
        return parse_installed(text(done.stdout), world)

    def offers(self, host: Host, site: Site, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """One `apk policy`, the newest first."""
        if not names:
            return {}
        done = host.ask(_apk(site, "policy", "--", *names))
        if done.status != 0:
            raise trouble(done, "apk cannot say what can be had", _TABLE)
        return parse_policy(text(done.stdout))

    def foresee(
        self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options
    ) -> Sequence[Step]:
        """apk's own simulation. A package that others need would stay; they are told as going with it."""
        steps: list[Step] = []
        for words in _changes(put, drop, options):
            done = host.ask(_apk(site, words[0], "--simulate", *words[1:]))
            if done.status != 0:
                raise trouble(done, "apk finds no way to do it", _TABLE)
            steps += parse_steps(text(done.stdout))
            needing = parse_needing(text(done.stdout))
            if needing:
                there = self.installed(host, site)
                gone = dict.fromkeys([*drop, *needing])
                steps += [Step(name, there[name].version, "") for name in gone if name in there]
        return steps

    def age_ms(self, host: Host, site: Site) -> int | None:
        """Time since an index was fetched."""
        names = host.listdir(_CACHE) if host.stat(_CACHE) is not None else []
        found = [host.stat(f"{_CACHE}/{name}") for name in names if name.startswith("APKINDEX")]
        times = [stat.mtime_ns for stat in found if stat is not None]
        return max(0, (time.time_ns() - max(times)) // 1_000_000) if times else None

    def change(self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options) -> None:
        """`apk add` with versions, and once more without, so that the world does not hold them; `apk del`."""
        for words in _changes(put, drop, options):
            done = self._run(host, _apk(site, *words))
            needing = parse_needing(text(done.stdout))
            if needing:
                raise trouble(done, f"{', '.join(drop)} stays, because {', '.join(needing)} needs it", ())
        if put:
            self._run(host, _apk(site, "add", "--", *(wish.name for wish in put)))

    def mark(self, host: Host, site: Site, names: Sequence[str], *, auto: bool) -> None:
        """Into the world or out of it; what others need stays all the same."""
        if names:
            self._run(host, _apk(site, "del" if auto else "add", "--", *names))

    def hold(self, host: Host, site: Site, names: Sequence[str], *, held: bool) -> None:
        """In the world at its version, or at any."""
        if names:
            there = self.installed(host, site)
            words = [f"{name}={there[name].version}" if held else name for name in names]
            self._run(host, _apk(site, "add", "--", *words))

    def refresh(self, host: Host, site: Site) -> None:
        """apk update."""
        self._run(host, _apk(site, "update"))

    def mend(self, host: Host, site: Site) -> None:
        """apk fix."""
        self._run(host, _apk(site, "fix"))

    def _run(self, host: Host, argv: Sequence[str]) -> CommandResult:
        done = host.run(argv)
        if done.status != 0:
            raise trouble(done, "apk could not do it", _TABLE)
        return done


def parse_installed(output: str, world: str) -> dict[str, Installed]:
    """`apk info -v`: name and version in one, a line each."""
    wanted: dict[str, bool] = {}
    for entry in world.split():
        found = re.match(r"([A-Za-z0-9][A-Za-z0-9._+-]*)(?:@\S+?)?(=)?", entry)
        if found is not None:
            wanted[found[1]] = bool(found[2])
    installed = {}
    for line in output.splitlines():
        named = _NAME_VERSION.fullmatch(line.strip())
        if named is not None:
            installed[named[1]] = Installed(named[2], auto=named[1] not in wanted, held=wanted.get(named[1], False))
    return installed


def parse_policy(output: str) -> dict[str, Sequence[str]]:
    """`apk policy`: below each name its versions, below each version where it is."""
    found: dict[str, list[str]] = {}
    name = version = ""
    for line in output.splitlines():
        if line.endswith(" policy:"):
            name = line.removesuffix(" policy:")
        elif line.startswith("    "):
            had = found.setdefault(name, [])
            if not line.endswith("apk/db/installed") and version not in had:
                at = next((at for at, other in enumerate(had) if apk_compare(version, other) > 0), len(had))
                had.insert(at, version)
        elif line.startswith("  "):
            version = line.split()[0].removesuffix(":")
    return {name: versions for name, versions in found.items() if versions}


def parse_steps(output: str) -> list[Step]:
    """`(1/3) Upgrading musl (1.2.3-r0 -> 1.2.3-r4)`."""
    steps = []
    for verb, name, first, second in _STEP.findall(output):
        if verb == "Purging":
            steps.append(Step(name, first, ""))
        else:
            steps.append(Step(name, first, second) if second else Step(name, "", first))
    return steps


def parse_needing(output: str) -> list[str]:
    """The packages for whose sake one that was to go stays."""
    _, told, rest = output.partition(_STILL_NEEDED)
    return sorted({other for _, others in _KEPT.findall(rest) for other in others.split()}) if told else []


def _changes(put: Sequence[Wish], drop: Sequence[str], options: Options) -> Iterable[list[str]]:
    if drop:
        yield ["del", *(["--purge"] if options.purge else []), "--", *drop]
    if put:
        yield ["add", "--", *(f"{wish.name}={wish.version}" for wish in put)]


def _apk(site: Site, *words: str) -> list[str]:
    root = [] if site.root == "/" else ["--root", site.root]
    return ["apk", *root, "--no-interactive", "--no-progress", *words]
