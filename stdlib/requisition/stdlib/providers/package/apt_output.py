"""What apt's and dpkg's programs print, as data. Pure."""

import re
from collections.abc import Sequence, Set

from requisition.stdlib.providers.package.manager import Installed, Step, Trouble

_INSTALLED, _BROKEN, _RESIDUE = "iWt", "HUF", "c"  # states of dpkg-query's Status-Abbrev
_STEP = re.compile(r"(Inst|Remv|Purg) (\S+)(?: \[([^\]]+)\])?(?: \((\S+) [^)]*\))?")
_VERSION = re.compile(r" (?:\*\*\*|   ) (\S+) (-?[0-9]+)")
_SOURCE = re.compile(r" {8,}(-?[0-9]+) (\S.*)")
SHOWN = 6


def parse_installed(text: str, auto: Set[str], arch: str) -> dict[str, Installed]:
    """By name and, for each, by `name:architecture`; a plain name means the machine's own architecture where
    there are several. `text`: lines of package, architecture, version and status, separated by tabs."""
    found: dict[str, Installed] = {}
    own: set[str] = set()
    for line in text.splitlines():
        name, architecture, version, status = line.split("\t")
        state = status[1:2]
        if state not in _INSTALLED + _BROKEN + _RESIDUE or not state:
            continue
        marked = f"{name}:{architecture if architecture != 'all' else arch}" in auto
        one = Installed(
            "" if state == _RESIDUE else version, marked, status[:1] == "h", state in _BROKEN or status[2:3] == "R"
        )
        found[f"{name}:{architecture}"] = one
        if name not in own:
            found[name] = one
        if architecture in (arch, "all"):
            own.add(name)
    return found


def parse_auto(text: str) -> set[str]:
    """apt's extended_states: `name:architecture` of what was installed only because others need it."""
    found = set()
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if fields.get("Auto-Installed") == "1":
            found.add(f"{fields.get('Package', '')}:{fields.get('Architecture', '')}")
    return found


def parse_policy(text: str) -> dict[str, Sequence[str]]:
    """`apt-cache policy`: versions that a repository has and no pin forbids, the candidate first, the others in
    apt's order. What only dpkg's status has cannot be had."""
    tables: dict[str, list[str]] = {}
    candidates: dict[str, str] = {}
    name = version = ""
    for line in text.splitlines():
        if line and not line.startswith(" "):
            name, version = line.rstrip(":"), ""
        elif line.startswith("  Candidate: "):
            candidates[name] = line.removeprefix("  Candidate: ")
        elif (source := _SOURCE.fullmatch(line)) is not None:
            had = tables.setdefault(name, [])
            if version and version not in had and int(source[1]) >= 0 and not source[2].endswith("/dpkg/status"):
                had.append(version)
        elif (row := _VERSION.fullmatch(line)) is not None:
            version = row[1]
    return {
        name: sorted(had, key=lambda version: version != candidates.get(name)) for name, had in tables.items() if had
    }


def parse_simulation(text: str) -> tuple[Step, ...]:
    """`apt-get --simulate`: what is installed, changed or removed."""
    steps = []
    for line in text.splitlines():
        match = _STEP.match(line)
        if match is not None:
            steps.append(Step(match[2], match[3] or "", (match[4] or "") if match[1] == "Inst" else ""))
    return tuple(steps)


def as_asked(steps: Sequence[Step], names: Sequence[str]) -> tuple[Step, ...]:
    """Steps under the names that were asked for: apt leaves out the machine's own architecture."""
    told = {step.name for step in steps}
    plain = {name.partition(":")[0]: name for name in names if ":" in name and name not in told}
    return tuple(Step(plain.get(step.name, step.name), step.before, step.after) for step in steps)


_TROUBLES: Sequence[tuple[str, str, str]] = (
    (r"Unable to locate package (\S+)", "there is no package {0}", "check the name, or refresh the lists before it"),
    (r"Version '([^']*)' for '([^']*)' was not found", "{1} cannot be had in version {0}", "refresh the lists"),
    (r"dpkg was interrupted", "dpkg was interrupted earlier", "run dpkg --configure -a as root, then apply again"),
    (
        r"(?:Could not get lock|Unable to acquire the dpkg frontend lock|dpkg frontend lock was locked by)(.*)",
        "another program is at work on packages{0}",
        "wait until it is done, or raise `lock_timeout`",
    ),
    (
        r"(?:Could not open lock file|are you root|requires superuser privilege).*",
        "packages can only be changed as root",
        "run plan apply as root",
    ),
    (
        r"NO_PUBKEY ([0-9A-F]+)",
        "the key {0} of a repository is not trusted here",
        "check the repository's key with its owner, put it below /etc/apt/keyrings, and name it by signed-by",
    ),
    (
        r"The repository '([^']*)' is not signed",
        "the repository {0} is not signed",
        "use a signed repository; apt trusts no other",
    ),
    (
        r"(?:Hash Sum mismatch|File has unexpected size|The following signatures were invalid)",
        "what the mirror sent is not what its index promises",
        "the mirror is damaged or not up to date: refresh the lists, or use another mirror",
    ),
    (
        r"(?:Could not resolve|Could not connect|Connection failed|Unable to connect to|Failed to fetch)",
        "the mirror cannot be reached",
        "check the network and the sources of apt",
    ),
    (
        r"Held packages were changed",
        "a package is held at its version",
        "let it go with plan.package.hold(..., held = False)",
    ),
    (
        r"(?:unmet dependencies|held broken packages)",
        "what these packages need cannot be had together",
        "look at what apt says, and at the versions asked for",
    ),
    (r"(?:not have enough free space|No space left)", "there is no space left for packages", "free some space"),
    (r"(?:unauthenticated packages)", "a package's origin cannot be verified", "use a signed repository"),
    (
        r"error processing (?:package|archive) (\S+)",
        "a script of the package {0} failed",
        "look at what dpkg says: apt-get install with the same package shows all of it",
    ),
)


def trouble_in(stderr: str, what: str) -> Trouble:
    """The kind of trouble that apt's complaints tell of, with what to do; otherwise `what`. Its last lines are shown
    in either case."""
    lines = [line.strip() for line in stderr.splitlines() if line.startswith(("E:", "W:", "Err", "dpkg:"))]
    shown = "; ".join(lines[-SHOWN:])
    for pattern, message, hint in _TROUBLES:
        match = re.search(pattern, stderr)
        if match is not None:
            names = re.findall(pattern, stderr) if "locate" in pattern else []
            return Trouble(f"{message.format(*match.groups())}: {shown}" if shown else message, hint, names)
    return Trouble(f"{what}: {shown or stderr.strip()[-400:] or 'it does not say why'}", "look at what apt says")
