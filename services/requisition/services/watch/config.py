"""watch.yaml: which repositories are watched, and what becomes of a new commit.

    version: "1"
    interval: 1m
    watches:
      web:
        url: https://git.example.org/web.git
        refs: [main]
        root: /
        trust: commit
        signers: /etc/requisition/signers
        secrets: {token: file:/etc/requisition/token}

Secrets stand here by reference only. The same fields, as JSON, are what `add` takes at the socket.
"""

import copy
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

from requisition.runtime.places import config_dir
from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.document import ConflictPolicy
from requisition.schemas.guarded import read_guarded
from requisition.schemas.strictyaml import Positions
from requisition.services.watch import refs
from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.git_repository import remote

VERSION = "1"
MAX_WATCHES = 10_000
MAX_JOBS = 64
MAX_WAIT = 86400.0
DURATIONS = frozenset({"interval", "timeout", "poll_timeout", "retry_after", "retry_limit", "keep_logs_for"})
DURATION = r"^[1-9][0-9]{0,8}(ms|s|m|h|d)$"
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_FENCES = ("GIT_", "LD_", "DYLD_", "PYTHON")
"""Variables that would change which program runs, or take git's fences down."""

Trust = Literal["", "commit", "tag", "order"]


class Notify(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the end of a run is told. `url_file`: the file that holds the address, which often is a secret."""

    url_file: str
    on: tuple[Literal["success", "failure", "paused"], ...] = ("failure", "paused")


class Watch(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One repository, and what is done with it. Seconds; in watch.yaml "30s", "5m", "2h", "1d".

    refs         branches by name or glob (`main`, `release/*`), tags as `tag:v*`; or in full, `refs/heads/…`
    path         the package's folder in the repository, "" its root
    interval     how often the remote is asked; 0: as often as the others
    root         target root; "" what the order says
    features     `+name` switches one on, `-name` off; `settings` gives package settings
    trust        what must be signed: `commit`, `tag` (both by a key of `signers`, a file of ssh-keygen(1) ALLOWED
                 SIGNERS) or `order` (the file `order` of the repository, by the machine's trust policy, or `policy`)
    key          path of a key without passphrase that signs what is built here, for a machine with a trust policy
    on_conflict  what becomes of something else that is in the way; `jobs`: slow nodes at a time (as of `plan apply`)
    environment  variables of the pipeline beside the few that it needs
    secrets      name → `file:/PATH`
    on_failure   `keep`: nothing more than what `plan apply` does itself, it takes a failed run back; `rollback`: also
                 take back what of a failed run still stands; `pause`: after `pause_after` failures in a row
    retries      how often a commit is tried again, `retry_after` seconds later, doubled each time up to `retry_limit`
    on_rewrite   a branch that was rewritten or a tag that was moved: `refuse` it, or `accept` it
    timeout      of a whole pipeline
    """

    name: str
    url: str
    refs: tuple[str, ...] = ("main",)
    path: str = ""
    interval: float = 0
    root: str = ""
    features: tuple[str, ...] = ()
    settings: dict[str, str] = {}
    trust: Trust = ""
    signers: str = ""
    order: str = ""
    policy: str = ""
    key: str = ""
    on_conflict: ConflictPolicy = "stop"
    jobs: int = 4
    environment: dict[str, str] = {}
    secrets: dict[str, str] = {}
    on_failure: Literal["keep", "rollback", "pause"] = "keep"
    pause_after: int = 3
    retries: int = 4
    retry_after: float = 30
    retry_limit: float = 3600
    on_rewrite: Literal["refuse", "accept"] = "refuse"
    timeout: float = 3600
    notify: tuple[Notify, ...] = ()


class Config(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The file. `jobs`: pipelines, and `polls`: remotes asked, at a time. `listen`: host:port of webhooks, and
    `webhook_secret`: path of the file that holds their key; `metrics`: host:port of metrics and health; "" for none.
    Runs and their logs are kept up to `keep_logs`, and for `keep_logs_for`."""

    version: str
    interval: float = 60
    poll_timeout: float = 30
    jobs: int = 2
    polls: int = 16
    socket: str = ""
    listen: str = ""
    webhook_secret: str = ""
    metrics: str = ""
    keep_logs: int = 1000
    keep_logs_for: float = 30 * 86400
    watches: dict[str, Watch] = {}


def default_path() -> str:
    """Where watch.yaml lies when nothing else is said."""
    return "/etc/requisition/watch.yaml" if os.geteuid() == 0 else os.path.join(config_dir(), "watch.yaml")


def load(path: str) -> Config:
    """Read watch.yaml. Raises BadInput with every mistake, Refused when others may write the file: what it says is
    run as its reader."""
    why = "whoever can write it decides what runs here"
    text = read_guarded(path, "watch.yaml", why=why, missing="write one: docs/watch.md")
    return parse(text, path)


def parse(text: bytes | str, where: str) -> Config:
    """What a text says. Raises BadInput with every mistake, each with its line."""
    value, positions = strictyaml.load(text, where)
    findings = _mend(value, positions, where)
    try:
        config = strictyaml.typed(value, positions, where, Config)
    except strictyaml.BadYaml as error:
        raise BadInput([*findings, *error.diagnostics]) from error
    if config.version != VERSION:
        findings.append(_finding(f"version: found {config.version!r}, expected {VERSION!r}", where, positions, ()))
    if len(config.watches) > MAX_WATCHES:
        findings.append(_finding(f"more than {MAX_WATCHES} watches", where, positions, ("watches",)))
    if min(config.jobs, config.polls, config.keep_logs) < 1:
        findings.append(_finding("jobs, polls and keep_logs are at least 1", where, positions, ()))
    if bool(config.listen) != bool(config.webhook_secret):
        findings.append(_finding("listen goes with webhook_secret, and this with it", where, positions, ()))
    for name, watch in config.watches.items():
        findings += [_finding(f"{name}: {w}", where, positions, ("watches", name, f)) for f, w in faults(watch)]
    if findings:
        raise BadInput(findings)
    return config


def watch_of(name: str, fields: dict[str, Any]) -> Watch:
    """One watch as the socket is told of it. Raises BadInput."""
    value, positions = {"version": VERSION, "watches": {name: copy.deepcopy(fields)}}, Positions()
    findings = _mend(value, positions, name)
    try:
        watch = msgspec.convert(value, Config).watches[name]
    except msgspec.ValidationError as error:
        raise BadInput([*findings, Diagnostic(what=str(error).replace("$.watches[...]", name))]) from error
    findings += [Diagnostic(what=f"{name}: {what}") for _, what in faults(watch)]
    if findings:
        raise BadInput(findings)
    return watch


def faults(watch: Watch) -> Iterator[tuple[str, str]]:
    """What a watch says that cannot be meant: (field, what is wrong)."""
    if not _NAME.match(watch.name):
        yield "name", f"{watch.name!r} is no name: letters, digits, '.', '_' and '-', at most 64"
    try:
        remote(watch.url)
    except ActionError as error:
        yield "url", str(error)
    if not watch.refs:
        yield "refs", "no branch or tag is watched"
    for ref in watch.refs:
        if why := refs.fault(ref):
            yield "refs", why
    for field in ("path", "order"):
        if why := _leads_out(getattr(watch, field)):
            yield field, why
    yield from _trust_faults(watch)
    yield from _environment_faults(watch)
    yield from _option_faults(watch)


def _option_faults(watch: Watch) -> Iterator[tuple[str, str]]:
    for field in ("root", "signers", "policy", "key"):
        if (path := getattr(watch, field)) and (not path.startswith("/") or "\0" in path):
            yield field, f"{path!r} is no absolute path"
    for feature in watch.features:
        if feature[:1] not in ("+", "-") or not _NAME.match(feature[1:]):
            yield "features", f"{feature!r}: write +name to switch a feature on, -name to switch it off"
    if any(not key or key.startswith("-") or "=" in key for key in watch.settings):
        yield "settings", "a setting's key is not empty, begins with no '-' and holds no '='"
    if not 1 <= watch.jobs <= MAX_JOBS:
        yield "jobs", f"jobs is 1 to {MAX_JOBS}"
    if not (1 <= watch.pause_after <= 1000 and 0 <= watch.retries <= 1000):
        yield "retries", "retries is 0 to 1000, pause_after 1 to 1000"
    if max(watch.retry_after, watch.retry_limit) > MAX_WAIT:
        yield "retry_limit", "a failure is tried again within a day"
    for one in watch.notify:
        if not one.url_file.startswith("/") or "\0" in one.url_file:
            yield "notify", "url_file is the absolute path of the file that holds the address"


def _trust_faults(watch: Watch) -> Iterator[tuple[str, str]]:
    if (watch.trust in ("commit", "tag")) != bool(watch.signers):
        yield "signers", "signers go with trust: commit or trust: tag, and these with signers"
    if (watch.trust == "order") != bool(watch.order):
        yield "order", "order, the path of a signed order, goes with trust: order, and this with it"
    if watch.policy and watch.trust != "order" and not watch.key:
        yield "policy", "a trust policy goes with trust: order, or with a key that signs what is built"
    if watch.key and watch.trust == "order":
        yield "key", "a signed order is built already: there is nothing to sign"
    if watch.trust == "tag" and not all(map(refs.is_tag, watch.refs)):
        yield "refs", "trust: tag takes only tags, as tag:v*"
    if watch.trust == "order" and (watch.features or watch.settings):
        yield "features", "a signed order is built already: features and settings have no say"


def _environment_faults(watch: Watch) -> Iterator[tuple[str, str]]:
    for name, value in watch.environment.items():
        if not _VARIABLE.match(name) or "\0" in value:
            yield "environment", f"{name!r} is no variable"
        elif name.startswith(_FENCES):
            yield "environment", f"{name} would change which program runs, or how safely"
    for name, place in watch.secrets.items():
        if not _VARIABLE.match(name):
            yield "secrets", f"{name!r} is no name of a secret"
        if not place.startswith("file:/") or "\0" in place:
            yield "secrets", f"{name}: found {'a value' if ':' not in place else repr(place)}, expected file:/PATH"


def _leads_out(path: str) -> str:
    """Why a path within a repository is none; "" when it is, or is not given."""
    parts = path.split("/")
    if path and (any(part in ("", ".", "..", ".git") for part in parts) or path[0] == "-" or "\0" in path):
        return f"{path!r} is no plain path within the repository"
    return ""


def _mend(value: Any, positions: Positions, where: str) -> list[Diagnostic]:
    """Durations as seconds, in place, and each watch with its name; what could not be."""
    findings: list[Diagnostic] = []
    if not isinstance(value, dict):
        return findings
    watches = value.get("watches")
    entries = watches.items() if isinstance(watches, dict) else ()
    places: Iterable[tuple[tuple[str, ...], Any]] = [((), value), *((("watches", n), e) for n, e in entries)]
    for path, fields in places:
        for key in sorted(DURATIONS & fields.keys()) if isinstance(fields, dict) else ():
            seconds = _seconds(fields[key])
            if seconds is None:
                what = f"{key}: found {fields[key]!r}, expected a time as 30s, 5m, 2h or 1d"
                findings.append(_finding(what, where, positions, (*path, key)))
            fields[key] = seconds or 1
        if path and isinstance(fields, dict):
            if "name" in fields:
                findings.append(_finding("unknown key 'name': the key is the name", where, positions, (*path, "name")))
            fields["name"] = path[-1]
    return findings


def _seconds(value: Any) -> float | None:
    found = re.fullmatch(DURATION, value) if isinstance(value, str) else None
    return int(value.removesuffix(found[1])) * _UNITS[found[1]] if found else None


def _finding(what: str, where: str, positions: Positions, path: tuple[str, ...]) -> Diagnostic:
    """A finding at the nearest place that is in the file."""
    places = [positions[path[:end]] for end in range(len(path), -1, -1) if path[:end] in positions]
    line, column = places[0] if places else (0, 0)
    return Diagnostic(what=what, where=f"{where}:{line}:{column}" if line else where, next="correct it")
