"""What is made of a secret is one too: which nodes' outputs are secret, and where these may stand.

The runtime judges by the same rule again (`hydrate`); here it is told to the author, with the call's place.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from requisition.compiler.slots import misplaced_secret
from requisition.stdlib.catalogue import Catalogue

_FLOW = "flow."
_MARKS = ("$ref", "$item", "$secret")


class Secrecy:
    """Grows with the nodes, in the order in which they are linked: promises point backwards."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._makers = frozenset(
            name for name, spec in catalogue.items() if any(output.secret for output in spec.outputs)
        )
        self._nodes: dict[str, str] = {}

    def see(self, node: str, action: str, slots: Mapping[str, Any], location: str, *, given: bool) -> None:
        """One more node; `given`: a `plan.secret` is among its slots. Raises BadInput for a secret in a slot
        that others can read."""
        if action in self._makers or given:
            self._nodes[node] = action
        if not self._nodes:
            return
        spec = self._catalogue[action]
        for name, value in slots.items():
            if value.__class__ not in (dict, list) or not any(map(self._carries, _marks(value))):
                continue
            slot = spec.slot(name)
            if slot is not None and not slot.secret and not action.startswith(_FLOW):
                raise misplaced_secret(spec, slot, location)
            self._nodes[node] = action

    def _carries(self, mark: Mapping[str, Any]) -> bool:
        """Whether a value may be a secret or hold one. Paths are none, whatever the file holds."""
        if "$item" in mark:
            return mark["$item"] in self._nodes
        action = self._nodes.get(mark.get("$ref", ""))
        if action is None or action.startswith(_FLOW):
            return action is not None
        outputs = self._catalogue[action].outputs
        name = mark.get("output") or (outputs[0].name if outputs else "")
        return all(output.type != "path" for output in outputs if output.name == name)


def _marks(value: Any) -> Iterator[Mapping[str, Any]]:
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            if any(mark in one for mark in _MARKS):
                yield one
            else:
                pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)
