"""The action protocol: observe, do, undo.

`observe` looks and never changes anything: it returns `Satisfied` when all is as wanted, or a `Change`
that says why, holds what is needed to undo it, and is made durable in the journal *before* `do` runs.
Files and renames are undone by the runtime from `Change.files` and `Change.moves`; an action with other effects
keeps what its own `undo` needs in `Change.undo`, which must be safe to call when `do` ran, ran half, or never ran.

How to add an action: CONTRIBUTING.md, "An action in one file".
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

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


class SomeFailed(ActionError):
    """A batch failed because of some of its nodes: `at` are their places in it."""

    def __init__(self, message: str, hint: str = "", at: tuple[int, ...] = ()) -> None:
        super().__init__(message, hint)
        self.at = at


class Cancelled(ActionError):
    """The run is being stopped."""


class GateClosed(Exception):
    """Raised by `observe`: the node, and every node that waits for it, is not to be done in this run; why."""


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
    JSON values without secrets, {} where `do` changes nothing; `sealed` says that contents carry a secret.
    """

    reason: str
    files: tuple[FileChange, ...] = ()
    contents: tuple[bytes | None, ...] = ()
    undo: Any = None
    outputs: Outputs | None = None
    sealed: bool = False
    moves: tuple[Move, ...] = ()

    @property
    def looks(self) -> bool:
        """Whether `do` only looks at something: there is nothing to take back."""
        return self.undo == {} and not self.files and not self.moves


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
        """Take back effects other than files, before these are put back. Raises NotCompensable or UndoConflict."""
        ...

    def undone(self, host: Host, undo: Any) -> None:
        """The files are put back too: have whoever reads them see that. As safe as `undo`, and raises the same."""
        ...

    def fingerprint(self, host: Host, left: tuple[Left, ...]) -> tuple[Left, ...]:
        """The present state of resources that are no files (kind `token`, path "<kind>:<key>"), in the order
        given: of all that this action left on the machine, in one call, for drift. Absent: kind `absent`."""
        ...


class Batched(Protocol):
    """What an action adds that says `batched=True`: its nodes that are ready together are done together.

    The runtime observes each, lets `join` complete their changes, makes all intents durable with one commit, calls
    `do_many` once and finishes each node by itself. A failure fails all nodes of the batch, or those that
    `SomeFailed` names; whatever was done by then is taken back by `undo_many`. After a kill each node is in doubt
    by itself, and either undo must find out what was done.
    """

    def batch(self, slots: Any) -> str:
        """Nodes of this action with the same key may be done together: \"apt\"."""
        ...

    def join(self, host: Host, work: Sequence[tuple[Any, Change]]) -> Sequence[Change]:
        """The changes, completed with what only shows when they are seen together; changes nothing."""
        ...

    def do_many(self, host: Host, work: Sequence[tuple[Any, Change]]) -> Sequence[Done]:
        """Make all the changes; what each node has done."""
        ...

    def undo_many(self, host: Host, undos: Sequence[Any]) -> None:
        """Take back several nodes of this action, whatever their key, the last one first. When it raises, the
        runtime takes them back one by one, so that each is told by itself."""
        ...


class Asked(NamedTuple):
    """What one node asks for, and where that was written."""

    node: str
    where: str
    action: str
    slots: Any


class Quarrel(NamedTuple):
    """Nodes that cannot all have what they ask for; told at the place of the node `at`."""

    at: int
    message: str
    hint: str = ""


class Judging(Protocol):
    """What actions add that share a `family`: their nodes are judged together, before anything is touched."""

    def judge(self, asked: Sequence[Asked]) -> tuple[Sequence[Any], Sequence[Quarrel]]:
        """Slots of all nodes of the family whose slots are known, as agreed between them, and what they cannot
        agree on. Pure, and the same when judged again: a resumed run asks anew."""
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

    def undone(self, host: Host, undo: Any) -> None:
        """Nobody has to be told."""

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
    looks: bool = False,
    batched: bool = False,
    family: str = "",
    ephemeral: str = "",
    reactive: str = "",
    serial: bool = False,
    renews: tuple[str, ...] = (),
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
            looks=looks,
            batched=batched,
            family=family,
            ephemeral=ephemeral,
            reactive=reactive,
            serial=serial,
            renews=renews,
        )
        return cls

    return attach
