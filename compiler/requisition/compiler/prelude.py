"""The global `plan`, generated in Starlark from the catalogue.

Each action becomes a function whose parameters are its slots, in their order, then the keywords that every
call has. It hands all of it to the recorder as one JSON text (each argument of a callable costs a conversion)
and returns a promise: a struct that, used as an argument, says which node's output is meant. Nothing here is written by hand for any action.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from requisition.stdlib.spec import ActionSpec

EVERY_CALL = ("after", "retry", "on_conflict", "id", "note")
GLOBALS = ("plan", "note", "warn", "error", "success")
FLOW = "flow."

_HEAD = """
def _extra(after, retry, on_conflict, id, note):
    if after == None and retry == None and on_conflict == None and id == None and note == None:
        return None
    return {"after": after, "retry": retry, "on_conflict": on_conflict, "id": id, "note": note}

def _promise(n, outputs):
    return struct(_ref = n, **{name: struct(_ref = n, _output = name) for name in outputs})
"""

_TAIL = """
def _item(n, items):
    if type(items) == "list" and len(items) and type(items[0]) == "dict":
        return struct(_item = n, **{key: struct(_item = n, _field = key) for key in items[0]})
    return struct(_item = n)

def _gather(items, body, limit = 0, *, after = None, retry = None, on_conflict = None, id = None, note = None):
    n = _begin("flow.gather", call_stack(strip_frames = 1))
    _open(n, "body", "")
    body(_item(n, items))
    _close()
    _end(n, json.encode([{"items": items, "limit": limit}, _extra(after, retry, on_conflict, id, note)]))
    return _promise(n, ["results"])

def _choose(input = None, cases = [], default = None, *, after = None, retry = None, on_conflict = None, id = None, note = None):
    n = _begin("flow.choose", call_stack(strip_frames = 1))
    for predicate, branch in cases:
        _open(n, "case", predicate)
        branch()
        _close()
    if default != None:
        _open(n, "default", "")
        default()
        _close()
    _end(n, json.encode([{"input": input}, _extra(after, retry, on_conflict, id, note)]))
    return _promise(n, ["result"])

def _wait_until(input, predicate, timeout = "60s", interval = "5s", *, after = None, retry = None, on_conflict = None, id = None, note = None):
    n = _begin("flow.wait_until", call_stack(strip_frames = 1))
    slots = {"until": predicate, "timeout": timeout, "interval": interval}
    if type(input) == "function":
        _open(n, "body", "")
        input()
        _close()
    else:
        slots["input"] = input
    _end(n, json.encode([slots, _extra(after, retry, on_conflict, id, note)]))
    return _promise(n, ["result"])

def _terminal(name):
    def end(message = "", *, after = None, retry = None, on_conflict = None, id = None, note = None):
        _emit(json.encode([name, {"message": message}, _extra(after, retry, on_conflict, id, note), call_stack(strip_frames = 1)]))
    return end

def _elevate(body):
    _elevated(True)
    body()
    _elevated(False)

def _retry(max_attempts, backoff = "none", initial_delay = "1s", max_delay = "60s"):
    return {"max_attempts": max_attempts, "backoff": backoff, "initial_delay": initial_delay, "max_delay": max_delay}

def _field(item, name):
    return struct(_item = item._item, _field = name)

def _source(path):
    _pin(path, call_stack(strip_frames = 1))
    return path

def _secret(name):
    _use_secret(name, call_stack(strip_frames = 1))
    return struct(_secret = name)

def _deploy(package, features = [], without = [], settings = {}):
    _nest(package, json.encode({"features": features, "without": without, "settings": settings}), call_stack(strip_frames = 1))

def _projects(layers = None, data = {}):
    _layers(json.encode({"layers": layers, "data": data}), call_stack(strip_frames = 1))

def _speak(kind):
    def say(text):
        _say(kind, str(text), call_stack(strip_frames = 1))
    return say

note = _speak("note")
warn = _speak("warn")
error = _speak("error")
success = _speak("success")

def make_package(facts):
    def has_feature(name):
        if name not in facts["declared"]:
            fail("the package declares no feature %r; it has %s" % (name, ", ".join(facts["declared"]) or "none"))
        return name in facts["features"]
    def setting(key):
        if key not in facts["settings"]:
            fail("the package declares no setting %r; it has %s" % (key, ", ".join(facts["settings"].keys()) or "none"))
        return facts["settings"][key]
    return struct(
        name = facts["name"], version = facts["version"], source_root = "", target_root = facts["target_root"],
        os = facts["os"], distro = facts["distro"], arch = facts["arch"],
        has_feature = has_feature, setting = setting,
    )

def make_phase(name):
    def retry(max_attempts, backoff = "none", initial_delay = "1s", max_delay = "60s"):
        _phase_retry(json.encode(_retry(max_attempts, backoff, initial_delay, max_delay)), call_stack(strip_frames = 1))
    def compensate(function):
        _open(-1, "compensation", "")
        function()
        _close()
    return struct(name = name, retry = retry, compensate = compensate)
"""

_FLOW_FIELDS = (
    "gather = _gather, choose = _choose, wait_until = _wait_until, elevate = _elevate, retry = _retry, "
    "field = _field, source = _source, secret = _secret, deploy = _deploy, projects = _projects, "
    'complete = _terminal("flow.complete"), degraded = _terminal("flow.degraded"), fatal = _terminal("flow.fatal")'
)
CALLABLES = ("_emit", "_begin", "_open", "_close", "_end", "_elevated", "_pin", "_use_secret", "_nest", "_layers",
             "_say", "_phase_retry")  # fmt: skip


def prelude(catalogue: Mapping[str, ActionSpec]) -> str:
    """The prelude's source for a catalogue."""
    parts, namespaces = [_HEAD], dict[str, list[str]]()
    for name, spec in catalogue.items():
        if name.startswith(FLOW):
            continue
        namespace, _, verb = name.rpartition(".")
        parts.append(_function(spec))
        namespaces.setdefault(namespace, []).append(f"{verb} = {function_name(name)}")
    parts.append(_TAIL)
    fields = [f"{name} = struct({', '.join(verbs)})" for name, verbs in sorted(namespaces.items())]
    parts.append(f"plan = struct({', '.join([*fields, _FLOW_FIELDS])})\n")
    return "\n".join(parts)


def function_name(action: str) -> str:
    """The Starlark function of an action: `file.copy` → `_file_copy`."""
    return "_" + action.replace(".", "_").replace("-", "_")


def _function(spec: ActionSpec) -> str:
    parameters = [slot.name if slot.required else f"{slot.name} = None" for slot in spec.slots]
    parameters += ["*", *(f"{name} = None" for name in EVERY_CALL)]
    slots = ", ".join(f'"{slot.name}": {slot.name}' for slot in spec.slots)
    made = ", ".join(f"{o.name} = struct(_ref = n, _output = {_literal(o.name)})" for o in spec.outputs)
    return (
        f"def {function_name(spec.name)}({', '.join(parameters)}):\n"
        f"    n = _emit(json.encode([{_literal(spec.name)}, {{{slots}}}, "
        f"_extra({', '.join(EVERY_CALL)}), call_stack(strip_frames = 1)]))\n"
        f"    return struct(_ref = n{', ' if made else ''}{made})\n"
    )


def _literal(value: Any) -> str:
    return msgspec.json.encode(value).decode()
