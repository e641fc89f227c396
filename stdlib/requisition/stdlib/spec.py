"""What the catalogue says of an action: names, types and meaning of its slots and outputs.

A provider declares its slots once, as a msgspec Struct whose fields carry `slot(...)`; `describe`
derives the catalogue entry from it, so that code, catalogue, type check and documentation agree.
"""

from typing import Any, Literal, get_type_hints

import msgspec
from msgspec import NODEFAULT, Meta, Struct

SlotType = Literal[
    "string",  # text
    "int",
    "bool",
    "path",  # a path below the target root, normalized, starting with `/`
    "input",  # a file of the package, relative to it; pinned by digest in the order
    "content",  # text, or bytes that another node produced
    "mode",  # permission bits, 0..0o7777
    "duration",  # milliseconds; scripts write "200ms", "5s", "2m"
    "strings",  # list of text
    "dict",  # names to JSON values
    "any",  # any JSON value
]
Effect = Literal[
    "pure",  # computes from its slots and inputs alone; run at preflight, and again after a resume
    "target",  # changes nothing but the files it declares; undone by the runtime from their prior state
    "outside",  # changes or reads something else; undone, if at all, by its own `undo`
]


class Slot(Struct, frozen=True, omit_defaults=True):
    """One input of an action. `claims`: the action makes this path its own (conflicts are found here); `writes`: the
    action changes this path, or what bears this name, or reads all that lies below it, so that calls are done as
    written; `secret`: a `plan.secret` may be given; `only_secret`: nothing but one may, so that the value itself can
    never stand in an order."""

    name: str
    type: SlotType
    doc: str
    required: bool = True
    default: Any = None
    writes: bool = False
    claims: bool = False
    secret: bool = False
    only_secret: bool = False


class Output(Struct, frozen=True, omit_defaults=True):
    """One value that other nodes can use; the first output of an action is its default one. `secret`: it may
    stand only where a `plan.secret` may."""

    name: str
    type: SlotType
    doc: str
    secret: bool = False


class ActionSpec(Struct, frozen=True, omit_defaults=True):
    """The catalogue entry of an action.

    `blocking` actions may take long and run on a worker thread; `repeatable` ones may be polled by
    `wait_until`; those with `looks` never change anything; `compensable` is false where the effect cannot be undone
    by us. Nodes of `batched` actions are done together (`Batched`); those of a `family` are judged together before
    anything is touched (`Judging`).
    `ephemeral` names the slot by which a node asks to be done only when one that needs it has something to do,
    and to be taken back at the end of its phase. `reactive` names the slot, true by default, by which it is done only
    when a node that it waits for changed something in this run; it is taken back after all that is not. `renews` are
    the slots that name what an action begins anew, with all that its node had waited for: in that, a reactive node of
    the same thing that follows has no reason. `serial` actions of a provider change the same files, which their slots
    do not name: they are done as written.
    """

    name: str
    doc: str
    slots: tuple[Slot, ...]
    outputs: tuple[Output, ...] = ()
    effect: Effect = "target"
    compensable: bool = True
    blocking: bool = False
    repeatable: bool = False
    looks: bool = False
    batched: bool = False
    family: str = ""
    ephemeral: str = ""
    reactive: str = ""
    renews: tuple[str, ...] = ()
    serial: bool = False
    since: str = "0.1"

    def slot(self, name: str) -> Slot | None:
        """The slot of that name, or None."""
        return next((s for s in self.slots if s.name == name), None)


def slot(
    type: SlotType,  # noqa: A002  (the catalogue's own word)
    doc: str,
    *,
    writes: bool = False,
    claims: bool = False,
    secret: bool = False,
    only_secret: bool = False,
) -> Meta:
    """Annotation of a slot field: `path: Annotated[str, slot("path", "where it goes", claims=True)]`."""
    extra = {"type": type, "writes": writes or claims, "claims": claims, "secret": secret or only_secret}
    if only_secret:
        extra["only_secret"] = True
    return Meta(description=doc, extra=extra)


def describe_slots(slots: type[Struct]) -> tuple[Slot, ...]:
    """The catalogue's view of a slots Struct. Raises TypeError for a field without `slot(...)`."""
    hints = get_type_hints(slots, include_extras=True)
    described = []
    for field in msgspec.structs.fields(slots):
        meta = next((m for m in getattr(hints[field.name], "__metadata__", ()) if isinstance(m, Meta)), None)
        if meta is None or meta.extra is None:
            raise TypeError(f"{slots.__name__}.{field.name} has no slot(...) annotation")
        required = field.default is NODEFAULT and field.default_factory is NODEFAULT
        default = None
        if field.default is not NODEFAULT:
            default = field.default
        elif field.default_factory is not NODEFAULT:
            default = field.default_factory()
        described.append(
            Slot(
                name=field.encode_name,
                doc=meta.description or "",
                required=required,
                default=default,
                **meta.extra,
            )
        )
    return tuple(described)
