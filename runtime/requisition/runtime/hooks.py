"""Lifecycle hooks: what this host wants to be told of a run. They see every event and can break nothing.

An installed distribution declares them under the entry-point group `requisition.hooks`: name anything, value
`module:function`; the function takes an Event. A hook that cannot be loaded, or that raises, is counted and
shown as a warning. Events never hold a secret.
"""

from collections.abc import Callable
from importlib.metadata import entry_points

from requisition.runtime.frames import Event

GROUP = "requisition.hooks"
Hook = Callable[[Event], None]


def load_hooks(emit: Hook) -> tuple[Hook, ...]:
    """Every hook of this installation, in order of names."""
    found = []
    for entry in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        try:
            found.append(entry.load())
        except Exception as error:  # noqa: BLE001  (a hook can break nothing, not even by being absent)
            emit(Event(kind="warning", text=f"the lifecycle hook {entry.name} cannot be loaded: {error}"))
    return tuple(found)
