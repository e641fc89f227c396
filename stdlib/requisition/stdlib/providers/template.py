"""Templates: text with holes, filled from data that the package gives."""

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Struct

from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, action
from requisition.stdlib.host import Host
from requisition.stdlib.providers.file import Group, Mode, Owner, observe_content, put_content
from requisition.stdlib.spec import Output, slot

if TYPE_CHECKING:
    from jinja2.environment import Template

KEPT = 64
"""Compiled templates kept; a template used for a thousand files is compiled once."""


class RenderSlots(Struct, frozen=True):
    source: Annotated[str, slot("input", "the template, a file of the package (Jinja2)")]
    data: Annotated[dict[str, Any], slot("dict", "what the template may use", secret=True)] = {}
    path: Annotated[str, slot("path", "where the result goes; empty: only into other nodes", claims=True)] = ""
    mode: Mode = 0o644
    owner: Owner = ""
    group: Group = ""
    includes: Annotated[list[str], slot("strings", "files of the package that the template includes")] = []


@action(
    "template.render",
    outputs=(
        Output("content", "content", "the rendered text"),
        Output("path", "path", "where it was written, if anywhere"),
    ),
)
class Render(BaseAction[RenderSlots]):
    """Render a template, into a file when `path` is given. A name that the data lacks is an error."""

    slots = RenderSlots

    def __init__(self) -> None:
        self._compiled: OrderedDict[str, Template] = OrderedDict()

    def observe(self, host: Host, slots: RenderSlots) -> Satisfied | Change:
        """Renders, then compares with what is there."""
        content = self._render(host, slots)
        outputs = {"content": content, "path": slots.path}
        if not slots.path:
            return Satisfied(outputs)
        return observe_content(host, slots.path, content, slots.mode, slots.owner, slots.group, outputs)

    def do(self, host: Host, slots: RenderSlots, change: Change) -> Done:
        """Write it beside the target, then rename."""
        content = change.contents[0]
        if content is None:
            content = self._render(host, slots)
        return put_content(host, change, content, {"content": content, "path": slots.path})

    def _render(self, host: Host, slots: RenderSlots) -> bytes:
        from requisition.stdlib.providers.sandbox import render

        return render(self._template(host, slots), as_text(slots.data), sealed=host.sealed)

    def _template(self, host: Host, slots: RenderSlots) -> "Template":
        from requisition.stdlib.providers.sandbox import compile_template, environment

        names = [slots.source, *slots.includes]
        key = hashlib.sha256("\0".join(host.input_digest(name)[0] + name for name in names).encode()).hexdigest()
        found = self._compiled.get(key)
        if found is None:
            found = compile_template(slots.source, environment({name: _text(host, name) for name in names}))
            self._compiled[key] = found
            if len(self._compiled) > KEPT:
                self._compiled.popitem(last=False)
        return found


def as_text(value: Any) -> Any:
    """Data with the contents that other nodes made, which are bytes, as text. Raises ActionError."""
    if isinstance(value, dict):
        return {key: as_text(one) for key, one in value.items()}
    if isinstance(value, list):
        return [as_text(one) for one in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise ActionError("a content in `data` is not UTF-8 text", "a template can only hold text") from error
    return value


def _text(host: Host, name: str) -> str:
    try:
        return host.input(name).decode()
    except UnicodeDecodeError as error:
        raise ActionError(f"{name} is not UTF-8 text", "a template must be text") from error
