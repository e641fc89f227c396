"""brew: formulae of Homebrew, on macOS and Linux; it is never run as root.

It has one version of a formula; older ones can no longer be had, and undo says so. Sources: brew(1), docs.brew.sh
"Querying brew".
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from requisition.stdlib.host import CommandResult, Host
from requisition.stdlib.providers.package.complaints import Row, text, trouble
from requisition.stdlib.providers.package.manager import Installed, Options, Site, Step, Trouble, Wish
from requisition.stdlib.providers.package.orders import brew_compare

_NAME = re.compile(r"(?:[a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9_-]*/)?[a-z0-9][a-z0-9@._+-]*")
_PLACES = ("/opt/homebrew/bin/brew", "/home/linuxbrew/.linuxbrew/bin/brew")
_WOULD = re.compile(r"==> Would (?:install|upgrade) .*:")
_QUIET = {
    "HOMEBREW_NO_AUTO_UPDATE": "1",
    "HOMEBREW_NO_INSTALL_CLEANUP": "1",
    "HOMEBREW_NO_INSTALL_UPGRADE": "1",
    "HOMEBREW_NO_ENV_HINTS": "1",
    "HOMEBREW_NO_ANALYTICS": "1",
    "HOMEBREW_NO_COLOR": "1",
}
_TABLE = (
    Row(r'No available formula(?: or cask)? with the name "([^"]+)"', "brew knows no formula {0}",
        "check the name, or refresh the lists before it", names=True),
    Row(r"Refusing to uninstall (\S+)", "{0} is needed by others", "let them go, too", names=True),
    Row(r"Running Homebrew as root", "brew is not run as root", "apply as the owner of Homebrew, without sudo"),
    Row(r"(?:Could not resolve host|Failed to download|Connection refused)", "the mirror cannot be reached",
        "check the network"),
    Row(r"SHA-?256 mismatch", "what the mirror sent is not what the formula promises", "refresh the lists"),
    Row(r"already locked|Another active Homebrew", "another brew is at work", "wait until it is done"),
    Row(r"No space left", "there is no space left for packages", "free some space"),
)  # fmt: skip


class Brew:
    """See `Manager`."""

    name: ClassVar[str] = "brew"
    places: ClassVar[bool] = False

    def valid_name(self, name: str) -> bool:
        """A formula, with its tap or none."""
        return _NAME.fullmatch(name) is not None

    def same_name(self, name: str) -> str:
        """Without its tap."""
        return name.rpartition("/")[2]

    def compare(self, one: str, other: str) -> int:
        """Segment by segment; a revision stands behind a `_`."""
        return brew_compare(one, other)

    def installed(self, host: Host, site: Site) -> Mapping[str, Installed]:
        """One `brew info`."""
        return parse_installed(self._info(host, site, "--installed"))

    def offers(self, host: Host, site: Site, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """One `brew info`; where it knows one of them not, once more without."""
        wanted = list(names)
        while wanted:
            try:
                found = parse_offers(self._info(host, site, "--formula", *wanted))
            except Trouble as error:
                unknown = [name for name in wanted if name in error.names]
                if not unknown:
                    raise
                wanted = [name for name in wanted if name not in unknown]
                continue
            return {name: [found[self.same_name(name)]] for name in wanted if self.same_name(name) in found}
        return {}

    def foresee(
        self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options
    ) -> Sequence[Step]:
        """brew's dry run names what it brings; versions are asked for. Formulae that need one that goes are told as
        going with it."""
        there = self.installed(host, site)
        steps = [Step(name, there[name].version, "") for name in _with_users(self, host, site, drop, there)]
        along: list[str] = []
        for argv in _putting(site, put, there, "--dry-run"):
            done = host.ask(argv, env=_QUIET)
            if done.status != 0:
                raise trouble(done, "brew finds no way to do it", _TABLE)
            along += parse_dry_run(text(done.stdout))
        asked = {self.same_name(wish.name): wish.name for wish in put}
        brought = [name for name in dict.fromkeys(along) if name not in asked]
        offers = self.offers(host, site, [*(wish.name for wish in put), *brought])
        for name in [*(wish.name for wish in put), *brought]:
            before = there[self.same_name(name)].version if self.same_name(name) in there else ""
            version = next(iter(offers.get(name, ())), "")
            if version and version != before:
                steps.append(Step(name, before, version))
        return steps

    def age_ms(self, host: Host, site: Site) -> int | None:
        """brew keeps that to itself."""
        return 0

    def change(self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options) -> None:
        """One command each to remove, to upgrade what is there, and to install."""
        there = self.installed(host, site)
        if drop:
            self._run(host, _brew(site, "uninstall", "--formula", *drop))
        offers = self.offers(host, site, [wish.name for wish in put])
        for wish in put:
            if wish.version not in offers.get(wish.name, ()):
                raise Trouble(f"brew no longer has {wish.name} {wish.version}", "apply again", [wish.name])
        for argv in _putting(site, put, there):
            self._run(host, argv)

    def mark(self, host: Host, site: Site, names: Sequence[str], *, auto: bool) -> None:
        """brew tab."""
        if names:
            word = "--no-installed-on-request" if auto else "--installed-on-request"
            self._run(host, _brew(site, "tab", word, *names))

    def hold(self, host: Host, site: Site, names: Sequence[str], *, held: bool) -> None:
        """brew pin."""
        if names:
            self._run(host, _brew(site, "pin" if held else "unpin", *names))

    def refresh(self, host: Host, site: Site) -> None:
        """brew update."""
        self._run(host, _brew(site, "update"))

    def mend(self, host: Host, site: Site) -> None:
        """brew leaves nothing half configured."""

    def users(self, host: Host, site: Site, name: str) -> list[str]:
        """What is installed and needs a formula."""
        done = host.ask(_brew(site, "uses", "--installed", "--recursive", name), env=_QUIET)
        if done.status != 0:
            raise trouble(done, "brew cannot say what needs what", _TABLE)
        return text(done.stdout).split()

    def _info(self, host: Host, site: Site, *words: str) -> Any:
        done = host.ask(_brew(site, "info", "--json=v2", *words), env=_QUIET)
        if done.status != 0:
            raise trouble(done, "brew cannot say what there is", _TABLE)
        return json.loads(text(done.stdout))

    def _run(self, host: Host, argv: Sequence[str]) -> CommandResult:
        done = host.run(argv, env=_QUIET)
        if done.status != 0:
            raise trouble(done, "brew could not do it", _TABLE)
        return done


def parse_installed(document: Any) -> dict[str, Installed]:
    """`brew info --json=v2 --installed`."""
    found = {}
    for formula in document["formulae"]:
        if formula["installed"]:
            keg = formula["installed"][-1]
            on_request = bool(keg.get("installed_on_request", True))
            found[str(formula["name"])] = Installed(
                str(keg["version"]), auto=not on_request, held=bool(formula.get("pinned"))
            )
    return found


def parse_offers(document: Any) -> dict[str, str]:
    """`brew info --json=v2 NAME …`: the stable version, a revision behind a `_`."""
    found = {}
    for formula in document["formulae"]:
        stable, revision = formula["versions"].get("stable"), formula.get("revision") or 0
        if stable:
            found[str(formula["name"])] = f"{stable}_{revision}" if revision else str(stable)
    return found


def parse_dry_run(output: str) -> list[str]:
    """`brew install --dry-run`: the names below each `==> Would …` that installs or upgrades."""
    names: list[str] = []
    told = False
    for line in output.splitlines():
        if line.startswith("==>"):
            told = _WOULD.fullmatch(line) is not None
        elif told:
            names += [part.strip().split(" ")[0] for row in line.split(",") for part in _listed(row)]
    return names


def _listed(row: str) -> list[str]:
    """`a 1.0 -> 1.1` is one formula, `a b c` are three."""
    return [row] if "->" in row else row.split()


def _with_users(brew: Brew, host: Host, site: Site, drop: Sequence[str], there: Mapping[str, Installed]) -> list[str]:
    gone = [name for name in drop if brew.same_name(name) in there]
    users = [user for name in gone for user in brew.users(host, site, name)]
    return list(dict.fromkeys([*(brew.same_name(name) for name in gone), *(user for user in users if user in there)]))


def _putting(site: Site, put: Sequence[Wish], there: Mapping[str, Installed], *words: str) -> list[list[str]]:
    old = [wish.name for wish in put if wish.name.rpartition("/")[2] in there]
    new = [wish.name for wish in put if wish.name not in old]
    return [
        _brew(site, verb, "--formula", *words, *names) for verb, names in (("upgrade", old), ("install", new)) if names
    ]


def _brew(site: Site, *words: str) -> list[str]:
    if site.root != "/":
        raise Trouble("brew works on the machine itself only", "apply to the target root /, or use another manager")
    program = next((path for path in _PLACES if os.access(path, os.X_OK)), "brew")
    return [program, *words]
