"""Promises, proxies and secrets: how scripts write them, how the order does, and where each may stand."""

from collections.abc import Mapping, Sequence
from typing import Any

from requisition.compiler.recording import Call, PhaseRecord
from requisition.compiler.slots import bad


class Promises:
    """Resolves what the prelude's structs stand for. `ids` are the node names given so far, by call."""

    def __init__(self, calls: Sequence[Call], phases: Sequence[PhaseRecord], ids: Sequence[str]) -> None:
        self._calls = calls
        self._phases = phases
        self._ids = ids
        self.secrets: dict[str, str] = {}
        self.gave_secret = False

    def resolve(self, value: Mapping[str, Any], call: Call, refs: set[int]) -> dict[str, Any] | None:
        """As the order writes it, adding to `refs` the call that is waited for; None for any other dict."""
        if "_ref" in value:
            number = self._number(value["_ref"], call)
            self._check_visible(number, call)
            refs.add(number)
            output = value.get("_output")
            return {"$ref": self._ids[number], "output": output} if output else {"$ref": self._ids[number]}
        if "_item" in value:
            gather = self._number(value["_item"], call)
            self._check_inside(gather, call)
            field = value.get("_field")
            if field:
                self._check_field(gather, field, call)
            return {"$item": self._ids[gather], "field": field} if field else {"$item": self._ids[gather]}
        if "_secret" in value:
            name = str(value["_secret"])
            self.secrets.setdefault(name, call.location)
            self.gave_secret = True
            return {"$secret": name}
        return None

    def after(self, call: Call) -> set[int]:
        """The calls that `after = […]` names."""
        if call.after is None:
            return set()
        found = set()
        for one in call.after if isinstance(call.after, list) else [call.after]:
            if not isinstance(one, dict) or "_ref" not in one:
                raise bad(call.location, f"after: found {one!r}, expected what a plan call returned")
            number = self._number(one["_ref"], call)
            self._check_visible(number, call)
            found.add(number)
        return found

    def leads_to(self, numbers: set[int], wanted: int) -> bool:
        """Whether promises and `after`, as the author wrote them, lead from some calls to another."""
        pending, seen = list(numbers), set[int]()
        while pending:
            number = pending.pop()
            if number == wanted:
                return True
            if number not in seen:
                seen.add(number)
                pending.extend(_refs_in([self._calls[number].slots, self._calls[number].after]))
        return False

    def _number(self, value: Any, call: Call) -> int:
        """A call that has its name already: scripts hold only promises of calls that were made."""
        if type(value) is int and 0 <= value < len(self._ids) and self._ids[value]:
            return value
        raise bad(call.location, "the names _ref, _item and _secret are taken: give the key another name")

    def _check_visible(self, number: int, call: Call) -> None:
        """A promise made in a body has no value outside of it."""
        inner = self._calls[number].phase
        if self._phases[inner].kind != "forward" and inner not in self._around(call.phase):
            raise bad(call.location, f"{self._ids[number]} was made in a body; outside of it, use the body's result")

    def _check_inside(self, gather: int, call: Call) -> None:
        bodies = {body.phase for body in self._calls[gather].bodies}
        if not bodies.intersection(self._around(call.phase)):
            raise bad(call.location, "the item of a gather has a value only in its body")

    def _check_field(self, gather: int, field: str, call: Call) -> None:
        slots = self._calls[gather].slots
        items = slots.get("items") if isinstance(slots, dict) else None
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict) and not {"_ref", "_item", field} & item.keys():
                has = ", ".join(item) or "nothing"
                raise bad(call.location, f"an item of the gather has no {field!r}; it has {has}")

    def _around(self, phase: int) -> list[int]:
        """A phase and the bodies around it, innermost first."""
        found = [phase]
        while (owner := self._phases[found[-1]].owner) >= 0:
            found.append(self._calls[owner].phase)
        return found


def _refs_in(value: Any) -> list[int]:
    found, pending = [], [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            if "_ref" in one:
                found.append(one["_ref"])
            else:
                pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)
    return found
