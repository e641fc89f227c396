"""Features and settings of one build: what was asked, checked against what the manifest offers."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from requisition.compiler.manifest import Manifest, Setting
from requisition.schemas.diagnostic import BadInput, Diagnostic

_KINDS: dict[str, type[Any]] = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}


def chosen_features(manifest: Manifest, wanted: Iterable[str], without: Iterable[str], where: str) -> tuple[str, ...]:
    """Names of the features that are on, sorted."""
    wanted, without = tuple(wanted), tuple(without)
    unknown = [name for name in (*wanted, *without) if name not in manifest.features]
    if unknown:
        raise BadInput(_unknown("feature", name, manifest.features, where) for name in unknown)
    on = {name for name, feature in manifest.features.items() if feature.default}
    return tuple(sorted((on | set(wanted)) - set(without)))


def chosen_settings(manifest: Manifest, given: Mapping[str, Any], where: str) -> dict[str, Any]:
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
    except msgspec.MsgspecError as error:
        raise ValueError(f"found {given!r}, expected JSON: {error}") from error


def check_value(setting: Setting, value: Any) -> None:
    """Raises ValueError with what was found and what the fragment expects."""
    if type(value) is not _KINDS[setting.type]:
        raise ValueError(f"found {value!r}, expected {setting.type}")
    if setting.enum is not None and value not in setting.enum:
        raise ValueError(f"found {value!r}, expected one of {', '.join(map(str, setting.enum))}")
    if setting.type == "integer":
        if setting.minimum is not None and value < setting.minimum:
            raise ValueError(f"found {value}, expected at least {setting.minimum}")
        if setting.maximum is not None and value > setting.maximum:
            raise ValueError(f"found {value}, expected at most {setting.maximum}")
    if setting.pattern is not None and isinstance(value, str) and not re.search(setting.pattern, value):
        raise ValueError(f"found {value!r}, expected a match of {setting.pattern}")
    if setting.items is not None and isinstance(value, list):
        inner = msgspec.convert(setting.items, Setting)
        for item in value:
            check_value(inner, item)


def _unknown(kind: str, name: str, known: Iterable[str], where: str) -> Diagnostic:
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 1)
    return Diagnostic(
        what=f"the package has no {kind} {name!r}",
        where=where,
        why=f"it has {', '.join(known) or 'none'}",
        next=f"did you mean {near[0]!r}?" if near else f"leave it out, or add it to {kind}s",
    )
