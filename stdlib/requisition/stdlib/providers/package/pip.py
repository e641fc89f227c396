"""pip: Python packages of one venv, wheels only.

Where they come from is said by the venv's own `pip.conf` and the machine's, never by the user's or the
environment (`--isolated`). A wheel is copied into place; what would have to be built runs code of whoever wrote it, as
early as in a dry run, and is refused. Sources: pip's documentation of `install --report`, `inspect`, `index versions`.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from requisition.stdlib.host import CommandResult, Host
from requisition.stdlib.providers.package.complaints import Row, text, trouble
from requisition.stdlib.providers.package.manager import Installed, Options, Site, Step, Trouble, Wish
from requisition.stdlib.providers.package.orders import pep440_compare

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_REQUIRED = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")
_AVAILABLE = re.compile(r"^Available versions: (.+)$", re.MULTILINE)
_WHEELS = "--only-binary=:all:"
_TABLE = (
    Row(
        r"Could not find a version that satisfies the requirement ([A-Za-z0-9._-]+?)[=<>!~ ].*\(from versions: none\)",
        "pip finds no wheel of {0}",
        "check the name and the sources in the venv's pip.conf; packages that must be built are not installed",
        names=True,
    ),
    Row(
        r"Could not find a version that satisfies the requirement ([A-Za-z0-9._-]+?)([=<>!~ ].*)",
        "pip cannot have {0}{1}",
        "ask for another version",
        names=True,
    ),
    Row(r"ResolutionImpossible", "what these packages need cannot be had together", "look at the versions asked for"),
    Row(r"THESE PACKAGES DO NOT MATCH THE HASHES", "a wheel is not what its index promises", "check the index"),
    Row(r"No module named pip", "the venv has no pip", "make it with python3 -m venv, without --without-pip"),
    Row(r"(?:NewConnectionError|ConnectTimeoutError|Name or service not known)", "the index cannot be reached",
        "check the network and the index in pip.conf"),
    Row(r"No space left on device", "there is no space left for packages", "free some space"),
)  # fmt: skip


class Pip:
    """See `Manager`."""

    name: ClassVar[str] = "pip"
    places: ClassVar[bool] = True

    def valid_name(self, name: str) -> bool:
        """PEP 508; no extras, paths or addresses."""
        return _NAME.fullmatch(name) is not None

    def same_name(self, name: str) -> str:
        """PEP 503: `Foo_Bar` is `foo-bar`."""
        return same_name(name)

    def compare(self, one: str, other: str) -> int:
        """PEP 440."""
        return pep440_compare(one, other)

    def installed(self, host: Host, site: Site) -> Mapping[str, Installed]:
        """One `pip inspect`."""
        return {name: Installed(version) for name, (version, _) in self._inspect(host, site).items()}

    def offers(self, host: Host, site: Site, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """One `pip index versions` a name: it takes no more."""
        found = {}
        for name in names:
            done = host.ask(_pip(host, site, "index", "versions", _WHEELS, "--", name))
            if done.status == 0:
                found[name] = parse_versions(text(done.stdout))
            elif "No matching distribution found" not in text(done.stderr):
                raise trouble(done, "pip cannot say what can be had", _TABLE)
        return found

    def foresee(
        self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options
    ) -> Sequence[Step]:
        """pip's own dry run; a package goes with those that need it, since pip would leave these broken."""
        there = self._inspect(host, site)
        spelled = {same_name(name): name for name in (*(wish.name for wish in put), *drop)}
        steps = []
        if put:
            done = host.ask(_pip(host, site, "install", _WHEELS, "--dry-run", "--quiet", "--report=-", *_exact(put)))
            if done.status != 0:
                raise trouble(done, "pip finds no way to do it", _TABLE)
            for name, version in parse_report(text(done.stdout)):
                steps.append(Step(spelled.get(name, name), there.get(name, ("",))[0], version))
        gone = with_dependents(there, drop)
        return [*steps, *(Step(spelled.get(name, name), there[name][0], "") for name in gone)]

    def age_ms(self, host: Host, site: Site) -> int | None:
        """There are no lists."""
        return 0

    def change(self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options) -> None:
        """One `pip uninstall` and one `pip install`."""
        gone = with_dependents(self._inspect(host, site), drop)
        if gone:
            self._run(host, _pip(host, site, "uninstall", "--yes", "--quiet", "--", *gone))
        if put:
            self._run(host, _pip(host, site, "install", _WHEELS, "--quiet", *_exact(put)))

    def mark(self, host: Host, site: Site, names: Sequence[str], *, auto: bool) -> None:
        """pip has no such mark."""

    def hold(self, host: Host, site: Site, names: Sequence[str], *, held: bool) -> None:
        """pip cannot."""
        raise Trouble("pip cannot hold a package", "give its version where it is installed", names)

    def refresh(self, host: Host, site: Site) -> None:
        """pip asks its index each time."""

    def mend(self, host: Host, site: Site) -> None:
        """pip leaves nothing half configured."""

    def _inspect(self, host: Host, site: Site) -> dict[str, tuple[str, frozenset[str]]]:
        done = host.ask(_pip(host, site, "inspect", "--local"))
        if done.status != 0:
            raise trouble(done, "pip cannot say what is there", _TABLE)
        return parse_inspect(text(done.stdout))

    def _run(self, host: Host, argv: Sequence[str]) -> CommandResult:
        done = host.run(argv)
        if done.status != 0:
            raise trouble(done, "pip could not do it", _TABLE)
        return done


def same_name(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_inspect(output: str) -> dict[str, tuple[str, frozenset[str]]]:
    """`pip inspect`: version, and what it needs without extras, by name."""
    found = {}
    for entry in json.loads(output)["installed"]:
        data = entry["metadata"]
        needs = (_required(one) for one in data.get("requires_dist", ()))
        found[same_name(data["name"])] = (str(data["version"]), frozenset(filter(None, needs)))
    return found


def parse_report(output: str) -> list[tuple[str, str]]:
    """`pip install --report`: names and versions that would be put."""
    entries: list[dict[str, Any]] = json.loads(output)["install"]
    return [(same_name(one["metadata"]["name"]), str(one["metadata"]["version"])) for one in entries]


def parse_versions(output: str) -> list[str]:
    """`pip index versions`: newest first."""
    found = _AVAILABLE.search(output)
    return [version.strip() for version in found[1].split(",")] if found else []


def with_dependents(there: Mapping[str, tuple[str, frozenset[str]]], names: Iterable[str]) -> list[str]:
    """The packages that are there, and all that need them."""
    gone = [same_name(name) for name in names if same_name(name) in there]
    for name in gone:  # grows while it is read
        gone += [other for other, (_, needs) in there.items() if name in needs and other not in gone]
    return gone


def _required(requirement: str) -> str:
    name, _, marker = requirement.partition(";")
    found = _REQUIRED.match(name)
    return "" if found is None or "extra" in marker else same_name(found[1])


def _exact(put: Sequence[Wish]) -> list[str]:
    return ["--", *(f"{wish.name}=={wish.version}" for wish in put)]


def _pip(host: Host, site: Site, *words: str) -> list[str]:
    """The venv's own pip. Raises Trouble when there is no venv."""
    if host.stat(f"{site.place}/pyvenv.cfg") is None:
        make = f'plan.shell.exec(["python3", "-m", "venv", …], creates = "{site.place}/pyvenv.cfg")'
        raise Trouble(f"there is no venv at {site.place}", f"make it before: {make}")
    quiet = ("--isolated", "--disable-pip-version-check", "--no-input", "--no-color")
    return [f"{site.real_place}/bin/python", "-I", "-m", "pip", *quiet, *words]
