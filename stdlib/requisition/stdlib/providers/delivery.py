"""Deliveries: folders handed to the delivery service of this machine, which ships and verifies them in its own time."""

from typing import Annotated, Any

from msgspec import Struct

from requisition.schemas.diagnostic import Failure
from requisition.stdlib import control
from requisition.stdlib.action import ActionError, BaseAction, Change, Done, NotCompensable, Satisfied, action
from requisition.stdlib.host import Host
from requisition.stdlib.spec import Output, slot

_WHO = "a package"
_PATIENCE = 60.0


class EnqueueSlots(Struct, frozen=True):
    path: Annotated[str, slot("path", "the folder, within a root of delivery.yaml", writes=True)]
    to: Annotated[str, slot("string", "name of the destination in delivery.yaml")]
    target: Annotated[str, slot("string", "path at the destination; by default its path within the root")] = ""
    socket: Annotated[str, slot("string", "socket of the service, when it is not at its usual place")] = ""


@action(
    "delivery.enqueue",
    outputs=(
        Output("job", "string", "id of the job: `plan delivery show` tells how far it is"),
        Output("state", "string", "its state when the action ended"),
    ),
    effect="outside",
    blocking=True,
)
class Enqueue(BaseAction[EnqueueSlots]):
    """Have a folder shipped to storage by the running `plan delivery serve`. The action ends when the job is recorded,
    not when it is delivered; a folder that is under way, or lies there the same, is not shipped again. Taken back as
    long as its delivery has not begun."""

    slots = EnqueueSlots

    def observe(self, host: Host, slots: EnqueueSlots) -> Satisfied | Change:
        """Ask the service what it knows of this folder."""
        asked = _asked(host, slots)
        job = _ask(slots.socket, "known", asked)["job"]
        if job is not None:
            return Satisfied({"job": job["id"], "state": job["state"]})
        return Change(f"ships it to {slots.to}", undo={"socket": slots.socket, "asked": asked})

    def do(self, host: Host, slots: EnqueueSlots, change: Change) -> Done:
        """Enqueue it."""
        job = _ask(slots.socket, "enqueue", _asked(host, slots))
        return Done({"job": job["id"], "state": job["state"]})

    def undo(self, host: Host, undo: Any) -> None:
        """Cancel the job, unless its delivery has begun."""
        try:
            _ask(undo["socket"], "withdraw", undo["asked"] | {"why": "the run was taken back"})
        except ActionError as error:
            raise NotCompensable(str(error)) from error


def _asked(host: Host, slots: EnqueueSlots) -> dict[str, Any]:
    return {"path": host.real_path(slots.path), "to": slots.to, "target": slots.target, "who": _WHO}


def _ask(socket: str, verb: str, args: dict[str, Any]) -> Any:
    try:
        return control.ask(socket or control.default_socket("delivery"), verb, args, timeout=_PATIENCE)
    except Failure as error:
        first = error.diagnostics[0]
        what = f"{first.where}: {first.what}" if first.where else first.what
        raise ActionError(f"{what} ({first.why})" if first.why else what, first.next) from error
