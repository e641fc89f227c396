"""The gate: what may not leave this machine, and who may say that it may.

Validators look at a folder before it is pushed, each time, and give findings. The configuration may make a class of
them hard or soft, or turn it off. A hard one blocks the job until it is resolved or overridden (`overrides.py`).
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from importlib.metadata import entry_points
from itertools import islice

import msgspec

from requisition.services.delivery import validators
from requisition.services.delivery.aside import Stopped
from requisition.services.delivery.config import Destination, Gate
from requisition.services.delivery.folder import Folder
from requisition.services.delivery.job import Finding

GROUP = "requisition.delivery.validators"
_TOLD = 100
"""Findings of one validator that are kept: more tell nobody more."""

Subject = validators.Subject
Validator = Callable[[Subject], Iterable[Finding]]


def load_validators(say: Callable[[str], None]) -> tuple[tuple[str, Validator], ...]:
    """The built-in ones, and those of this installation's plug-ins. One that cannot be loaded is one that cannot be
    passed, either: whoever installed it relies on it."""
    found: list[tuple[str, Validator]] = list(validators.BUILTIN.items())
    for entry in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        try:
            found.append((entry.name, entry.load()))
        except Exception as error:  # noqa: BLE001  (a plug-in may raise anything; it must not pass silently)
            say(f"the validator {entry.name} cannot be loaded: {error!r}")
            found.append((entry.name, _broken(entry.name, f"it cannot be loaded: {error!r}")))
    return tuple(found)


def inspect(
    source: str,
    target: str,
    destination: Destination,
    gate: Gate,
    asked: Sequence[tuple[str, Validator]],
    stopped: Callable[[], bool] = lambda: False,
) -> list[Finding]:
    """All that validators hold against a delivery, after the configuration's word. Reads the folder: not for the
    loop. Raises OSError when it cannot be read, Stopped when `stopped` says so."""
    with Folder(source) as folder:
        subject = Subject(folder, target, destination, gate, stopped)
        found = [finding for name, validator in asked for finding in _findings(name, validator, subject)]
    return [one for each in found if (one := _weighed(each, gate)) is not None]


def blocking(findings: Iterable[Finding], overridden: Collection[str]) -> list[Finding]:
    """Those that stand in the way."""
    return [one for one in findings if one.hard and one.rule not in overridden]


def _findings(name: str, validator: Validator, subject: Subject) -> list[Finding]:
    try:
        found = list(islice(validator(subject), _TOLD + 1))
    except (OSError, Stopped):
        raise
    except Exception as error:  # noqa: BLE001  (as above)
        found = list(_broken(name, f"it failed: {error!r}")(subject))
    if len(found) > _TOLD:
        last = found[_TOLD]
        worst = Finding(last.rule, any(one.hard for one in found), "", f"and more than {_TOLD} others")
        found = [*found[:_TOLD], worst]
    return found


def _broken(name: str, why: str) -> Validator:
    def findings(_: Subject) -> Iterable[Finding]:
        return (Finding(name, hard=True, path="", detail=why),)

    return findings


def _weighed(finding: Finding, gate: Gate) -> Finding | None:
    if finding.rule in gate.off:
        return None
    if finding.rule in gate.hard or finding.rule in gate.soft:
        return msgspec.structs.replace(finding, hard=finding.rule in gate.hard)
    return finding
