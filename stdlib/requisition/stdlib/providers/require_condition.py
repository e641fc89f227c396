"""A gate on several things at once, as packages without Starlark say it: data, decided on the machine.

{"path_exists": PATH}  {"cmd_available": NAME}  {"symlink_ok": {"src": TEXT, "dst": PATH}}
{"all_of": [...]}  {"any_of": [...]}  {"none_of": [...]}
"""

import shutil
from posixpath import normpath
from typing import Annotated, Any

from msgspec import Struct

from requisition.stdlib.action import ActionError, BaseAction, Change, Satisfied, action
from requisition.stdlib.host import Host
from requisition.stdlib.providers.require import PATH, Message, gate
from requisition.stdlib.spec import Output, slot

MAX_DEPTH = 32
_SHOWN, _SHOWN_DEPTH = 200, 4


class ConditionSlots(Struct, frozen=True):
    test: Annotated[Any, slot("any", 'what must be so: {"cmd_available": "git"}, {"any_of": [...]}')]
    on_fail: Annotated[str, slot("string", "error, skip or warn; tell: only say it in `met`")] = "error"
    message: Message = ""


@action("require.condition", outputs=(Output("met", "bool", "whether it is so"),), effect="outside", looks=True)
class RequireCondition(BaseAction[ConditionSlots]):
    """Go on only when a condition holds: path_exists, cmd_available, symlink_ok; all_of, any_of, none_of such."""

    slots = ConditionSlots

    def observe(self, host: Host, slots: ConditionSlots) -> Satisfied | Change:
        """Looks at no more than it takes to decide."""
        met = holds(host, slots.test)
        if met or slots.on_fail == "tell":
            return Satisfied({"met": met})
        gate(
            host, f"it does not hold: {shown(slots.test)}", "make it so, then apply again", slots.on_fail, slots.message
        )
        return Satisfied({"met": False})


def holds(host: Host, test: object, depth: int = 1) -> bool:
    """Whether a test holds on this machine. Raises ActionError for what is no test."""
    if not isinstance(test, dict) or len(test) != 1 or depth > MAX_DEPTH:
        raise ActionError(
            f"found {shown(test)}, expected a test with one key, nested at most {MAX_DEPTH} deep",
            'write it as {"path_exists": "/etc/ssl"}',
        )
    ((name, value),) = test.items()
    if name in ("all_of", "any_of", "none_of") and isinstance(value, list):
        met = (holds(host, one, depth + 1) for one in value)
        return all(met) if name == "all_of" else any(met) is (name == "any_of")
    if name == "path_exists" and _is_path(value):
        return host.stat(value) is not None
    if name == "cmd_available" and isinstance(value, str) and value and "/" not in value and value[0] != "-":
        return shutil.which(value, path=PATH) is not None
    if name == "symlink_ok" and _is_link(value):
        found = host.stat(value["dst"])
        return found is not None and found.kind == "link" and host.readlink(value["dst"]) == value["src"]
    raise ActionError(f"{shown(test)} is no test", "see plan actions require.condition")


def _is_path(value: object) -> bool:
    """Absolute below the target root and normalized: nothing in it leads out."""
    return isinstance(value, str) and value[:1] == "/" != value[1:2] and normpath(value) == value and "\0" not in value


def _is_link(value: object) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"src", "dst"}
        and isinstance(value["src"], str)
        and _is_path(value["dst"])
    )


def shown(test: object, depth: int = 0) -> str:
    """A test in a few words."""
    if not isinstance(test, dict) or len(test) != 1 or depth > _SHOWN_DEPTH:
        return repr(test)[:_SHOWN] if depth <= _SHOWN_DEPTH else "…"
    ((name, value),) = test.items()
    if isinstance(value, list):
        return f"{name}({', '.join(shown(one, depth + 1) for one in value[:_SHOWN])})"[:_SHOWN]
    return f"{name} {value['dst'] if isinstance(value, dict) and 'dst' in value else value}"[:_SHOWN]
