"""The action protocol: observe, do, undo.

`observe` looks and never changes anything: it returns `Satisfied` when all is as wanted, or a `Change`
that says why, holds what is needed to undo it, and is made durable in the journal *before* `do` runs.
Files and renames are undone by the runtime from `Change.files` and `Change.moves`; an action with other effects
keeps what its own `undo` needs in `Change.undo`, which must be safe to call when `do` ran, ran half, or never ran.

How to add an action: CONTRIBUTING.md, "An action in one file".
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.host import FileChange, Host, Move
from requisition.stdlib.spec import ActionSpec, Effect, Output, describe_slots

S = TypeVar("S", bound=Struct)
Outputs = Mapping[str, Any]


class ActionError(Exception):
    """The action cannot do what it was asked: a message for the user, and what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Raced(ActionError):
    """The target changed between observation and effect; nothing was destroyed. The runtime observes again."""


class Cancelled(ActionError):
    """The run is being stopped."""


class NotCompensable(Exception):
    """Raised by `undo` where the effect cannot be taken back; recorded, and the unwind goes on."""


class UndoConflict(Exception):
    """Raised by `undo` where someone else changed the resource since; it is left alone and recorded."""


class Satisfied(Struct, frozen=True):
    """Nothing to do. `left` is what stands there, as `do` would have left it."""

    outputs: Outputs = {}
    left: tuple[Left, ...] = ()


class Change(Struct, frozen=True):
    """What `do` would change and how to take it back.

    `contents` are the new contents of `files`, one each (None where there is none or it is too large
    to keep), for `do` and for diffs. `outputs` when they are known before `do`. `undo` must be plain
    JSON values without secrets; `sealed` says that contents carry a secret.
    """

    reason: str
    files: tuple[FileChange, ...] = ()
    contents: tuple[bytes | None, ...] = ()
    undo: Any = None
    outputs: Outputs | None = None
    sealed: bool = False
    moves: tuple[Move, ...] = ()


class Done(Struct, frozen=True):
    """After the effect: outputs for other nodes, and the state left behind for `plan status`."""

    outputs: Outputs = {}
    left: tuple[Left, ...] = ()


class Action(Protocol[S]):
    """One action. Instances are stateless and shared between threads."""

    spec: ClassVar[ActionSpec]
    slots: type[S]

    def observe(self, host: Host, slots: S) -> Satisfied | Change:
        """Look, change nothing. Called at preflight and, where the run may have moved things, again."""
        ...

    def do(self, host: Host, slots: S, change: Change) -> Done:
        """Make the change that `observe` returned."""
        ...

    def undo(self, host: Host, undo: Any) -> None:
        """Take back effects other than files. Raises NotCompensable or UndoConflict."""
        ...

    def fingerprint(self, host: Host, left: tuple[Left, ...]) -> tuple[Left, ...]:
        """The present state of resources that are no files (kind `token`, path "<kind>:<key>"), in the order
        given: of all that this action left on the machine, in one call, for drift. Absent: kind `absent`."""
        ...


class BaseAction(Generic[S]):
    """Defaults for actions: files only, nothing of its own to undo."""

    spec: ClassVar[ActionSpec]
    slots: type[S]

    def observe(self, host: Host, slots: S) -> Satisfied | Change:
        """See `Action.observe`."""
        raise TypeError(f"{type(self).__name__} does not define observe")

    def do(self, host: Host, slots: S, change: Change) -> Done:
        """See `Action.do`."""
        raise TypeError(f"{type(self).__name__} does not define do")

    def undo(self, host: Host, undo: Any) -> None:
        """Nothing beyond the files, which the runtime restores."""

    def fingerprint(self, host: Host, left: tuple[Left, ...]) -> tuple[Left, ...]:
        """Nothing beyond the files, which the runtime compares."""
        return left


A = TypeVar("A", bound=BaseAction[Any])


def action(
    name: str,
    *,
    outputs: tuple[Output, ...] = (),
    effect: Effect = "target",
    compensable: bool = True,
    blocking: bool = False,
    repeatable: bool = False,
) -> Any:
    """Class decorator: builds `spec` from the class's docstring and its `slots` Struct."""

    def attach(cls: type[A]) -> type[A]:
        cls.spec = ActionSpec(
            name=name,
            doc=(cls.__doc__ or "").strip(),
            slots=describe_slots(cls.slots),
            outputs=outputs,
            effect=effect,
            compensable=compensable,
            blocking=blocking,
            repeatable=repeatable,
        )
        return cls

    return attach
