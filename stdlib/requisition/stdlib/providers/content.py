"""Content that is written in the package itself."""

from typing import Annotated

from msgspec import Struct

from requisition.stdlib.action import BaseAction, Change, Satisfied, action
from requisition.stdlib.host import Host
from requisition.stdlib.spec import Output, slot


class LiteralSlots(Struct, frozen=True):
    text: Annotated[str, slot("string", "the text", secret=True)]


@action("content.literal", outputs=(Output("content", "content", "the text"),), effect="pure")
class Literal(BaseAction[LiteralSlots]):
    """Text as it stands, for other nodes to use."""

    slots = LiteralSlots

    def observe(self, host: Host, slots: LiteralSlots) -> Satisfied | Change:
        """There is nothing to change."""
        return Satisfied({"content": slots.text})
