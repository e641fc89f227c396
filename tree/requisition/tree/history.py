"""What a log of events comes to: the state it implies, and the few events that say so.

Each fact of the state has one event that says it last. The state is those events by fact; a compacted log is
those events in their order. So compaction keeps the state by construction, and a compacted log stays as it is.
"""

from collections.abc import Iterable

from msgspec import Struct

from requisition.schemas.treeevent import (
    Added,
    Completed,
    Event,
    Halted,
    Later,
    Removed,
    Started,
    Sync,
    Updated,
)

Step = Started | Completed | Halted
Fact = tuple[str, str]
"""What, and of which package (or line)."""


class Package(Struct, frozen=True):
    """What is known of one package: how it came into the tree, how its pin was moved last, its last step."""

    added: Added | None = None
    pinned: Updated | None = None
    step: Step | None = None

    @property
    def dangling(self) -> bool:
        """Whether its installation began and nobody told how it ended."""
        return isinstance(self.step, Started)


class State(Struct, frozen=True):
    """The state of a tree by its log. `sync` is the begin or end of the last sync; `later` what newer versions
    wrote."""

    packages: dict[str, Package] = {}
    sync: Sync | None = None
    later: tuple[Later, ...] = ()

    @property
    def dangling(self) -> tuple[Started, ...]:
        """Starts that nothing followed, by path."""
        found = (self.packages[path].step for path in sorted(self.packages))
        return tuple(step for step in found if isinstance(step, Started))

    def tells(self, event: Added | Removed | Updated) -> bool:
        """Whether the log says already that a package is part of the tree, or is not."""
        package = self.packages.get(event.path)
        if isinstance(event, Added):
            return package is not None and package.added is not None
        return isinstance(event, Removed) and package is None

    @property
    def cut_off(self) -> bool:
        """Whether the last sync began and did not end."""
        return self.sync is not None and self.sync.step == "begin"


def fold(events: Iterable[Event]) -> State:
    """The state that the events imply."""
    packages: dict[str, dict[str, Event]] = {}
    later: list[Later] = []
    sync: Sync | None = None
    for (fact, path), (_, event) in _facts(events).items():
        if isinstance(event, Later):
            later.append(event)
        elif isinstance(event, Sync):
            sync = event
        else:
            packages.setdefault(path, {})[fact] = event
    return State({path: Package(**facts) for path, facts in packages.items()}, sync, tuple(later))  # type: ignore[arg-type]


def compacted(events: Iterable[Event]) -> list[Event]:
    """The events that the state depends on, in their order."""
    return [event for _, event in sorted(_facts(events).values(), key=lambda found: found[0])]


def _facts(events: Iterable[Event]) -> dict[Fact, tuple[int, Event]]:
    """By fact, the position and event that says it last."""
    found: dict[Fact, tuple[int, Event]] = {}
    for position, event in enumerate(events):
        match event:
            case Started() | Completed() | Halted():
                found["step", event.path] = position, event
            case Sync():
                found["sync", ""] = position, event
            case Updated():
                found["pinned", event.path] = position, event
            case Added():
                found.pop(("pinned", event.path), None)
                found["added", event.path] = position, event
            case Removed():
                for fact in ("added", "pinned", "step"):
                    found.pop((fact, event.path), None)
            case Later():
                found["later", str(position)] = position, event
    return found
