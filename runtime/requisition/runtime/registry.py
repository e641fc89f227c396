"""Action names to implementations: the built-in providers, and plug-ins by entry point.

A plug-in distribution declares, under the entry-point group `requisition.actions`, one entry an action
(name = action, value = `module:class`). Modules are imported when an order first uses them. A plug-in
cannot take a built-in's name.
"""

import importlib
from importlib.metadata import entry_points
from typing import Any

from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.action import Action
from requisition.stdlib.catalogue import suggest
from requisition.stdlib.providers import BUILTIN

GROUP = "requisition.actions"


class UnknownAction(BadInput):
    """The order names an action that this host does not have."""


class Registry:
    """Finds and keeps one instance of each action that is asked for."""

    def __init__(self) -> None:
        self._found: dict[str, Action[Any]] = {}

    def get(self, name: str, *, where: str) -> Action[Any]:
        """The action of that name. Raises UnknownAction naming where it was asked for."""
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = self._load(name, where)
        return found

    def _load(self, name: str, where: str) -> Action[Any]:
        place = BUILTIN.get(name)
        if place is None:
            plugin = next(iter(entry_points(group=GROUP, name=name)), None)
            if plugin is None:
                near = suggest(name)
                raise UnknownAction.of(
                    f"this host has no action {name!r}",
                    where=where,
                    why="neither the standard library nor an installed plug-in provides it",
                    next=f"did you mean {near!r}?" if near else "install the plug-in that provides it",
                )
            place = plugin.value
        module, _, attribute = place.partition(":")
        try:
            action: Action[Any] = getattr(importlib.import_module(module), attribute)()
        except (ImportError, AttributeError) as error:
            raise UnknownAction.of(
                f"the provider of {name!r} cannot be loaded", where=where, why=str(error), next="reinstall it"
            ) from error
        return action
