"""Typed stubs of everything that `plan` has, in Starlark, for the static check.

What a call returns may stand for any value, so stubs return `typing.Any`; literals are still checked.
"""

from collections.abc import Mapping

from requisition.compiler.prelude import EVERY_CALL, FLOW, GLOBALS
from requisition.stdlib.spec import ActionSpec

_ANY = "typing.Any"
_TYPES = {
    "string": "str",
    "int": "int",
    "bool": "bool",
    "path": "str",
    "input": "str",
    "content": "str",
    "mode": "int",
    "duration": "str | int",
    "strings": "list[str] | tuple[str, ...]",
    "dict": f"dict[str, {_ANY}]",
    "any": _ANY,
}
_EVERY_CALL = {"after": _ANY, "retry": _ANY, "on_conflict": "str", "id": "str", "note": "str"}
_TIME = "str | int"
_FLOW = {
    "gather": f"items: {_ANY}, body: {_ANY}, limit: int = 0, EVERY",
    "choose": f"input: {_ANY} = None, cases: list[{_ANY}] = [], default: {_ANY} = None, EVERY",
    "wait_until": f"input: {_ANY}, predicate: str, timeout: {_TIME} = 0, interval: {_TIME} = 0, EVERY",
    "complete": "message: str = '', EVERY",
    "degraded": "message: str = '', EVERY",
    "fatal": "message: str = '', EVERY",
    "elevate": f"body: {_ANY}",
    "retry": f"max_attempts: int, backoff: str = '', initial_delay: {_TIME} = 0, max_delay: {_TIME} = 0",
    "field": f"item: {_ANY}, name: str",
    "source": "path: str",
    "secret": "name: str",
    "deploy": f"package: str, features: list[str] = [], without: list[str] = [], settings: dict[str, {_ANY}] = {{}}",
    "projects": f"layers: {_ANY} = None, data: dict[str, {_ANY}] = {{}}",
}


def stub_name(call: str) -> str:
    """The stub of `plan.<call>`, as long as `plan.<call>` is."""
    return "plan_" + call.replace(".", "_").replace("-", "_")


def callable_names(catalogue: Mapping[str, ActionSpec]) -> frozenset[str]:
    """What may follow `plan.` in a call: actions and the functions that steer the flow."""
    return frozenset([*(name for name in catalogue if not name.startswith(FLOW)), *_FLOW])


def stubs(catalogue: Mapping[str, ActionSpec]) -> str:
    """Source of the stubs: `plan` itself, every call below it, and the other names of the language."""
    every = ", ".join(["*", *(f"{name}: {_EVERY_CALL[name]} | None = None" for name in EVERY_CALL)])
    signatures = {name: ", ".join([*_slots(catalogue[name]), every]) for name in catalogue if not name.startswith(FLOW)}
    signatures |= {name: parameters.replace("EVERY", every) for name, parameters in _FLOW.items()}
    made = [f"def {stub_name(name)}({parameters}) -> {_ANY}: pass" for name, parameters in signatures.items()]
    made += [f"def {name}(text: {_ANY}): pass" for name in GLOBALS if name != "plan"]
    made += [f"def _anything() -> {_ANY}: pass", "plan = _anything()"]
    return "\n".join(made) + "\n"


def _slots(spec: ActionSpec) -> list[str]:
    return [f"{slot.name}: {_TYPES[slot.type]}" + ("" if slot.required else " | None = None") for slot in spec.slots]
