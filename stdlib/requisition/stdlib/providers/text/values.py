"""`text.set`: one setting of a JSON, YAML, TOML or INI file, with the rest of the file as it was."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from msgspec import Struct

from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, action
from requisition.stdlib.host import Host
from requisition.stdlib.providers.file import PATH
from requisition.stdlib.providers.text.edit import (
    Create,
    EditedPath,
    New,
    NewGroup,
    NewMode,
    NewOwner,
    Validate,
    observe_edit,
    put_edit,
)
from requisition.stdlib.providers.text.ini_value import set_ini
from requisition.stdlib.providers.text.json_value import set_json
from requisition.stdlib.providers.text.toml_value import set_toml
from requisition.stdlib.providers.text.yaml_value import set_yaml
from requisition.stdlib.spec import slot

_FORMATS: dict[str, Callable[[str, Sequence[str], Any], str]] = {
    "json": set_json,
    "yaml": set_yaml,
    "toml": set_toml,
    "ini": set_ini,
}
_EXTENSIONS = {"json": "json", "yaml": "yaml", "yml": "yaml", "toml": "toml", "ini": "ini", "service": "ini"}


class SetSlots(Struct, frozen=True):
    path: EditedPath
    key: Annotated[list[str], slot("strings", 'where the value lies: ["server", "port"]')]
    value: Annotated[Any, slot("any", "text, number, bool, list or dict; for INI files one line", secret=True)]
    format: Annotated[str, slot("string", "json, yaml, toml or ini; empty: as the file's extension says")] = ""
    create: Create = False
    mode: NewMode = 0o644
    owner: NewOwner = ""
    group: NewGroup = ""
    validate: Validate = []


@action("text.set", outputs=PATH, blocking=True)
class Set(BaseAction[SetSlots]):
    """Set one value in a JSON, YAML, TOML or INI file. Comments, order and form of everything else stay."""

    slots = SetSlots

    def observe(self, host: Host, slots: SetSlots) -> Satisfied | Change:
        """Compares the file with what it would be."""
        if not slots.key or not all(slots.key):
            raise ActionError("key names nothing", 'give key = ["section", "name"]')
        setter = _setter(slots)
        new = New(slots.create, slots.mode, slots.owner, slots.group)
        try:
            return observe_edit(host, slots.path, new, lambda text: setter(text, slots.key, slots.value))
        except ActionError as error:
            raise ActionError(
                f"{slots.path}: {error}".replace(f"{slots.path}: {slots.path}", slots.path), error.hint
            ) from error

    def do(self, host: Host, slots: SetSlots, change: Change) -> Done:
        """Put the new text in place."""
        return put_edit(host, change, slots.validate)


def _setter(slots: SetSlots) -> Callable[[str, Sequence[str], Any], str]:
    name = slots.format or _EXTENSIONS.get(slots.path.rpartition(".")[2], "")
    if name not in _FORMATS:
        raise ActionError(f"{slots.path}: its format is not known", f"give format = one of {', '.join(_FORMATS)}")
    return _FORMATS[name]
