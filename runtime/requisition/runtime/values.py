"""What flows between nodes during a run: outputs, gather items, secrets; and slots resolved from them.

A scope is the tuple of item indexes of the enclosing gathers. A promise is looked up in its own scope
first, then outwards, so that a body sees what was made before its gather.
"""

from collections.abc import Mapping
from typing import Any

from requisition.schemas.document import Node

Scope = tuple[int, ...]


class Unresolved(Exception):
    """A slot refers to something that has no value (yet); `skipped` when it never will have one."""

    def __init__(self, message: str, *, skipped: bool = False) -> None:
        super().__init__(message)
        self.skipped = skipped


class Values:
    """Grows during a run. Workers add to it; a key is only ever set once a try."""

    def __init__(
        self,
        by_id: Mapping[str, int],
        wanted: frozenset[int],
        secrets: Mapping[str, str],
        gathers: Mapping[str, str],
    ) -> None:
        """`wanted`: nodes whose outputs are used; `gathers`: body phase to the gather that runs it."""
        self.wanted = wanted
        self._gathers = gathers
        self._by_id = by_id
        self._secrets = secrets
        self._outputs: dict[tuple[int, Scope], Mapping[str, Any]] = {}
        self._items: dict[tuple[str, Scope], Any] = {}
        self._skipped: set[tuple[int, Scope]] = set()
        self._closed: set[tuple[int, Scope]] = set()

    def set_outputs(self, node: int, scope: Scope, outputs: Mapping[str, Any]) -> None:
        """Record what a node produced."""
        self._outputs[node, scope] = outputs

    def set_skipped(self, node: int, scope: Scope) -> None:
        """Record that a node will produce nothing."""
        self._skipped.add((node, scope))

    def close(self, node: int, scope: Scope) -> None:
        """Record that a node, and whatever waits for it, is not to be done."""
        self._skipped.add((node, scope))
        self._closed.add((node, scope))

    def closed_gate(self, node: Node, scope: Scope) -> str:
        """A node that this one waits for and that is closed; empty when there is none."""
        if self._closed:
            for need in node.needs:
                index = self._by_id[need]
                if any((index, scope[:depth]) in self._closed for depth in range(len(scope) + 1)):
                    return need
        return ""

    def set_item(self, gather: str, scope: Scope, item: Any) -> None:
        """Record the item that a gather's body works on in a scope."""
        self._items[gather, scope] = item

    def item_of(self, body: str, scope: Scope) -> Any:
        """The item that the gather around `scope` works on; None outside of a gather. `body` is the phase
        of the asking node, because two gathers may run in scopes of equal numbers."""
        gather = self._gathers.get(body)
        return self._items.get((gather, scope)) if gather is not None else None

    def outputs(self, node: int, scope: Scope) -> Mapping[str, Any]:
        """Outputs of a node as seen from a scope. Raises Unresolved."""
        for depth in range(len(scope), -1, -1):
            found = self._outputs.get((node, scope[:depth]))
            if found is not None:
                return found
            if (node, scope[:depth]) in self._skipped:
                raise Unresolved("it uses the output of a node that was skipped", skipped=True)
        raise Unresolved("it uses the output of a node that has not run yet")

    def resolve(self, node: Node, scope: Scope) -> dict[str, Any]:
        """The slots of a node as plain values."""
        return {name: self.value(value, scope) for name, value in node.slots.items()}

    def value(self, value: Any, scope: Scope) -> Any:
        """One slot value, promises, proxies and secrets replaced wherever they stand in it."""
        if isinstance(value, dict):
            if "$ref" in value:
                return self._promise(value, scope)
            if "$item" in value:
                return self._proxy(value, scope)
            if "$secret" in value:
                try:
                    return self._secrets[value["$secret"]]
                except KeyError:
                    raise Unresolved(f"the secret {value['$secret']!r} was not given") from None
            return {key: self.value(inner, scope) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner, scope) for inner in value]
        return value

    def _promise(self, mark: Mapping[str, str], scope: Scope) -> Any:
        outputs = self.outputs(self._by_id[mark["$ref"]], scope)
        name = mark.get("output") or next(iter(outputs), "")
        if name not in outputs:
            raise Unresolved(f"{mark['$ref']} has no output {name!r}; it has {', '.join(sorted(outputs))}")
        return outputs[name]

    def _proxy(self, mark: Mapping[str, str], scope: Scope) -> Any:
        for depth in range(len(scope), -1, -1):
            if (mark["$item"], scope[:depth]) in self._items:
                item = self._items[mark["$item"], scope[:depth]]
                field = mark.get("field")
                if not field:
                    return item
                if not isinstance(item, dict) or field not in item:
                    raise Unresolved(f"the item {scope} of {mark['$item']} has no field {field!r}")
                return item[field]
        raise Unresolved(f"there is no item of {mark['$item']} here")
