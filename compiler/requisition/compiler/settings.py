"""Features and settings of one build: what was asked, checked against what the manifest offers."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from requisition.schemas.canonical import MAX_INTEGER
from requisition.schemas.diagnostic import BadInput, Diagnostic

if TYPE_CHECKING:
    from requisition.compiler.manifest import Manifest

_KINDS: dict[str, type[Any]] = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
_MAX_DEPTH = 32


class Setting(Struct, frozen=True, forbid_unknown_fields=True):
    """A typed value: a JSON Schema fragment (2020-12), of which these keywords are understood."""

    type: Literal["string", "integer", "boolean", "array", "object"] = "string"
    description: str = ""
    default: Any = None
    enum: list[Any] | None = None
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None
    items: dict[str, Any] | None = None


class PatternCheck(Struct, frozen=True, array_like=True):
    """A text that a setting's pattern must match. Patterns are the package's and may take for ever: they are
    tried in the evaluation child, whose time is bounded."""

    setting: str
    pattern: str
    text: str


def chosen_features(manifest: "Manifest", wanted: Iterable[str], without: Iterable[str], where: str) -> tuple[str, ...]:
    """Names of the features that are on, sorted."""
    wanted, without = tuple(wanted), tuple(without)
    unknown = [name for name in (*wanted, *without) if name not in manifest.features]
    if unknown:
        raise BadInput(_unknown("feature", name, manifest.features, where) for name in unknown)
    on = {name for name, feature in manifest.features.items() if feature.default}
    return tuple(sorted((on | set(wanted)) - set(without)))


def chosen_settings(manifest: "Manifest", given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Every setting's value, typed. Texts are read as the setting's type says."""
    findings = [_unknown("setting", name, manifest.settings, where) for name in given if name not in manifest.settings]
    values: dict[str, Any] = {}
    for name, setting in manifest.settings.items():
        try:
            values[name] = _value(setting, given[name]) if name in given else _default(setting)
            check_value(setting, values[name])
        except ValueError as error:
            findings.append(
                Diagnostic(
                    what=f"setting {name!r}: {error}",
                    where=where,
                    why=setting.description,
                    next=f"give it with --set {name}=…",
                )
            )
    if findings:
        raise BadInput(findings)
    return values


def _default(setting: Setting) -> Any:
    if setting.default is None:
        raise ValueError("it has no default and no value was given")
    return setting.default


def _value(setting: Setting, given: Any) -> Any:
    if not isinstance(given, str) or setting.type == "string":
        return given
    if setting.type == "integer":
        if not re.fullmatch(r"-?[0-9]{1,16}", given):
            raise ValueError(f"found {given!r}, expected a whole number")
        return int(given)
    if setting.type == "boolean":
        if given not in ("true", "false"):
            raise ValueError(f"found {given!r}, expected true or false")
        return given == "true"
    try:
        return msgspec.json.decode(given)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"found {given[:80]!r}, expected JSON: {error}") from error


def check_fragment(setting: Setting, depth: int = 0) -> None:
    """Raises ValueError, or msgspec's, for a fragment that cannot be checked against."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"items are nested deeper than {_MAX_DEPTH}")
    if setting.pattern is not None:
        try:
            re.compile(setting.pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"its pattern cannot be read: {error}") from error
    if setting.items is not None:
        check_fragment(msgspec.convert(setting.items, Setting), depth + 1)


def check_value(setting: Setting, value: Any) -> None:
    """Everything but patterns. Raises ValueError with what was found and what the fragment expects."""
    if type(value) is not _KINDS[setting.type]:
        raise ValueError(f"found {value!r}, expected {setting.type}")
    if setting.enum is not None and value not in setting.enum:
        raise ValueError(f"found {value!r}, expected one of {', '.join(map(str, setting.enum))}")
    if setting.type == "integer":
        if setting.minimum is not None and value < setting.minimum:
            raise ValueError(f"found {value}, expected at least {setting.minimum}")
        if setting.maximum is not None and value > setting.maximum:
            raise ValueError(f"found {value}, expected at most {setting.maximum}")
    _check_plain(value, 0)
    if setting.items is not None and isinstance(value, list):
        inner = msgspec.convert(setting.items, Setting)
        for item in value:
            check_value(inner, item)


def pattern_checks(manifest: "Manifest", values: Mapping[str, Any]) -> list[PatternCheck]:
    """What is left to be checked in the child, by `mismatches`."""
    return [
        PatternCheck(name, pattern, text)
        for name, setting in manifest.settings.items()
        for pattern, text in _patterns(setting, values[name])
    ]


def mismatches(checks: Iterable[PatternCheck]) -> list[Diagnostic]:
    """Findings for texts that do not match; in the child."""
    return [
        Diagnostic(
            where="package.yaml",
            what=f"setting {one.setting!r}: found {one.text[:80]!r}, expected a match of {one.pattern}",
            next=f"give it with --set {one.setting}=…",
        )
        for one in checks
        if not re.search(one.pattern, one.text)
    ]


def _patterns(setting: Setting, value: Any) -> Iterator[tuple[str, str]]:
    if setting.pattern is not None and isinstance(value, str):
        yield setting.pattern, value
    if setting.items is not None and isinstance(value, list):
        inner = msgspec.convert(setting.items, Setting)
        for item in value:
            yield from _patterns(inner, item)


def _check_plain(value: Any, depth: int) -> None:
    """What an order can hold (`canonical`): whole numbers within ±2^53, ASCII keys, a bounded depth."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {_MAX_DEPTH}")
    if isinstance(value, float) or (isinstance(value, int) and abs(value) > MAX_INTEGER):
        raise ValueError(f"found {value!r}, expected a whole number within ±2^53, or text")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not key.isascii():
                raise ValueError(f"found the key {key!r}, expected ASCII")
            _check_plain(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_plain(inner, depth + 1)


def _unknown(kind: str, name: str, known: Iterable[str], where: str) -> Diagnostic:
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 1)
    return Diagnostic(
        what=f"the package has no {kind} {name!r}",
        where=where,
        why=f"it has {', '.join(known) or 'none'}",
        next=f"did you mean {near[0]!r}?" if near else f"leave it out, or add it to {kind}s",
    )
