"""npm: packages of one prefix, as `npm install --global` keeps them; scripts of packages are not run.

Where they come from is said by `etc/npmrc` of the prefix, never by the user's settings or the environment. Sources:
npm's documentation of `ls`, `view` and `install` with `--json`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from requisition.stdlib.host import CommandResult, Host
from requisition.stdlib.providers.package.complaints import Row, text, trouble
from requisition.stdlib.providers.package.manager import Installed, Options, Site, Step, Trouble, Wish
from requisition.stdlib.providers.package.orders import semver_compare

_NAME = re.compile(r"(?:@[a-z0-9~][a-z0-9._~-]*/)?[A-Za-z0-9~][A-Za-z0-9._~-]*")
_QUIET = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
_TABLE = (
    Row(r"'((?:@[^/'\s]+/)?[^@/'\s]+)@[^'\s]*' (?:is not in|could not be found)", "npm knows no package {0}",
        "check the name, and the registry in etc/npmrc of the prefix", names=True),
    Row(r"ETARGET.*\n.*No matching version found for ((?:@[^/\s]+/)?[^@\s]+)@(\S+?)\.?\s", "npm cannot have {0} {1}",
        "ask for another version", names=True),
    Row(r"E404", "npm knows no such package", "check the names, and the registry in etc/npmrc of the prefix"),
    Row(r"EINTEGRITY", "what the registry sent is not what it promises", "the registry is damaged: use another"),
    Row(r"EBADENGINE", "a package is not made for this version of node", "ask for another version of it"),
    Row(r"(?:ECONNREFUSED|ENOTFOUND|ETIMEDOUT|EAI_AGAIN)", "the registry cannot be reached",
        "check the network, and the registry in etc/npmrc of the prefix"),
    Row(r"ERESOLVE", "what these packages need cannot be had together", "look at the versions asked for"),
    Row(r"ENOSPC", "there is no space left for packages", "free some space"),
    Row(r"EACCES", "the prefix cannot be written", "apply as its owner"),
)  # fmt: skip


class Npm:
    """See `Manager`."""

    name: ClassVar[str] = "npm"
    places: ClassVar[bool] = True

    def valid_name(self, name: str) -> bool:
        """With a scope or none; no addresses, paths or tags."""
        return len(name) <= 214 and _NAME.fullmatch(name) is not None

    def same_name(self, name: str) -> str:
        """Names have one spelling."""
        return name

    def compare(self, one: str, other: str) -> int:
        """semver.org."""
        return semver_compare(one, other)

    def installed(self, host: Host, site: Site) -> Mapping[str, Installed]:
        """One `npm ls`; what packages bring for themselves alone is not counted."""
        if host.stat(f"{site.place}/lib/node_modules") is None:
            return {}
        done = host.ask(_npm(site, "ls", "--depth=0", "--json"), env=_environment(site))
        if done.status not in (0, 1):  # 1: something is missing or extraneous
            raise trouble(done, "npm cannot say what is there", _TABLE)
        return parse_list(text(done.stdout))

    def offers(self, host: Host, site: Site, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """One `npm view` a name; what the tag `latest` names comes first."""
        found = {}
        for name in names:
            argv = _npm(site, "view", "--json", "--", name, "versions", "dist-tags")
            done = host.ask(argv, env=_environment(site))
            if done.status == 0:
                found[name] = parse_view(text(done.stdout))
            elif "E404" not in text(done.stderr) + text(done.stdout):
                raise trouble(done, "npm cannot say what can be had", _TABLE)
        return found

    def foresee(
        self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options
    ) -> Sequence[Step]:
        """Global packages do not touch each other; npm's dry run tells whether all that they need can be had."""
        there = self.installed(host, site)
        if put and host.stat(f"{site.place}/lib") is not None:  # npm's dry run does not make it
            done = host.ask(_npm(site, "install", "--dry-run", *_QUIET, *_exact(put)), env=_environment(site))
            if done.status != 0:
                raise trouble(done, "npm finds no way to do it", _TABLE)
        steps = [Step(wish.name, there[wish.name].version if wish.name in there else "", wish.version) for wish in put]
        return [*steps, *(Step(name, there[name].version, "") for name in drop if name in there)]

    def age_ms(self, host: Host, site: Site) -> int | None:
        """There are no lists."""
        return 0

    def change(self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options) -> None:
        """One `npm uninstall` and one `npm install`."""
        if drop:
            self._run(host, site, _npm(site, "uninstall", *_QUIET, "--", *drop))
        if put:
            self._run(host, site, _npm(site, "install", *_QUIET, *_exact(put)))

    def mark(self, host: Host, site: Site, names: Sequence[str], *, auto: bool) -> None:
        """npm has no such mark."""

    def hold(self, host: Host, site: Site, names: Sequence[str], *, held: bool) -> None:
        """npm cannot."""
        raise Trouble("npm cannot hold a package", "give its version where it is installed", names)

    def refresh(self, host: Host, site: Site) -> None:
        """npm asks its registry each time."""

    def mend(self, host: Host, site: Site) -> None:
        """npm leaves nothing half configured."""

    def _run(self, host: Host, site: Site, argv: Sequence[str]) -> CommandResult:
        done = host.run(argv, env=_environment(site))
        if done.status != 0:
            raise trouble(done, "npm could not do it", _TABLE)
        return done


def parse_list(output: str) -> dict[str, Installed]:
    """`npm ls --json`: top-level packages."""
    found: dict[str, dict[str, Any]] = json.loads(output or "{}").get("dependencies", {})
    return {
        name: Installed(one["version"], broken=bool(one.get("missing")))
        for name, one in found.items()
        if "version" in one
    }


def parse_view(output: str) -> list[str]:
    """`npm view NAME versions dist-tags --json`: `latest` first, then the newest."""
    found = json.loads(output)
    if isinstance(found, list):  # npm 11 gives one entry a version that fits
        found = found[0] if found else {}
    versions = found.get("versions", [])
    versions = [versions] if isinstance(versions, str) else list(versions)[::-1]
    latest = found.get("dist-tags", {}).get("latest")
    return sorted(versions, key=lambda version: version != latest)


def _exact(put: Sequence[Wish]) -> list[str]:
    return ["--", *(f"{wish.name}@{wish.version}" for wish in put)]


def _npm(site: Site, verb: str, *words: str) -> list[str]:
    return ["npm", verb, "--global", f"--prefix={site.real_place}", *words]


def _environment(site: Site) -> dict[str, str]:
    """Settings of the prefix only."""
    return {
        "npm_config_userconfig": "/dev/null",
        "npm_config_globalconfig": f"{site.real_place}/etc/npmrc",
        "npm_config_logs_max": "0",
    }
