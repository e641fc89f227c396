"""The global `plan`, generated in Starlark from the catalogue.

Each action becomes a function whose parameters are its slots, in their order, then the keywords that every
call has. It hands all of it to the recorder as one JSON text (each argument of a callable costs a conversion)
and returns a promise: a struct that, used as an argument, says which node's output is meant. Nothing here is
written by hand for any action.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from requisition.stdlib.spec import ActionSpec

EVERY_CALL = ("after", "retry", "on_conflict", "id", "note")
GLOBALS = ("plan", "note", "warn", "error", "success")
FLOW = "flow."
_ACTIONS = "#: the functions of all actions stand here\n"


_FLOW_FIELDS = (
    "gather = _gather, choose = _choose, wait_until = _wait_until, elevate = _elevate, retry = _retry, "
    "field = _field, source = _source, secret = _secret, deploy = _deploy, projects = _projects, "
    'complete = _terminal("flow.complete"), degraded = _terminal("flow.degraded"), '
    'fatal = _terminal("flow.fatal")'
)
CALLABLES = ("_emit", "_begin", "_open", "_close", "_end", "_elevated", "_pin", "_use_secret", "_nest", "_layers",
             "_say", "_phase_retry")  # fmt: skip


def prelude(catalogue: Mapping[str, ActionSpec]) -> str:
    """The prelude's source for a catalogue."""
    from importlib.resources import files as resources  # the child, which needs only the names, does without

    text = resources("requisition.compiler").joinpath("prelude.star").read_text("utf-8")
    head, tail = text.split(_ACTIONS)
    parts, namespaces = [head], dict[str, list[str]]()
    for name, spec in catalogue.items():
        if name.startswith(FLOW):
            continue
        namespace, _, verb = name.rpartition(".")
        parts.append(_function(spec))
        namespaces.setdefault(namespace, []).append(f"{verb} = {function_name(name)}")
    parts.append(tail)
    fields = [f"{name} = struct({', '.join(verbs)})" for name, verbs in sorted(namespaces.items())]
    parts.append(f"plan = struct({', '.join([*fields, _FLOW_FIELDS])})\n")
    return "\n".join(parts)


def function_name(action: str) -> str:
    """The Starlark function of an action: `file.copy` → `_file_copy`."""
    return "_" + action.replace(".", "_").replace("-", "_")


def _function(spec: ActionSpec) -> str:
    parameters = [slot.name if slot.required else f"{slot.name} = None" for slot in spec.slots]
    parameters += ["*", *(f"{name} = None" for name in EVERY_CALL)]
    recorded = ", ".join([_literal(spec.name), f"[{', '.join(slot.name for slot in spec.slots)}]", *EVERY_CALL])
    made = ", ".join(f"{o.name} = struct(_ref = n, _output = {_literal(o.name)})" for o in spec.outputs)
    return (
        f"def {function_name(spec.name)}({', '.join(parameters)}):\n"
        f"    n = _emit(json.encode([{recorded}, _here(call_stack(strip_frames = 1))]))\n"
        f"    return struct(_ref = n{', ' if made else ''}{made})\n"
    )


def _literal(value: Any) -> str:
    return msgspec.json.encode(value).decode()
