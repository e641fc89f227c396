"""A value in a TOML text. tomlkit keeps comments, order and blanks as they are."""

from collections.abc import Sequence
from typing import Any

from requisition.stdlib.action import ActionError


def set_toml(text: str, key: Sequence[str], value: Any) -> str:
    """The text with `value` under the nested `key`; tables on the way are made. Raises ActionError."""
    import tomlkit
    from tomlkit.container import OutOfOrderTableProxy
    from tomlkit.exceptions import TOMLKitError
    from tomlkit.items import AbstractTable

    if value is None:
        raise ActionError("TOML has no null", "give a value")
    try:
        document = tomlkit.parse(text)
        table: Any = document
        for part in key[:-1]:
            if part not in table:
                table[part] = tomlkit.table()
            table = table[part]
            if not isinstance(table, AbstractTable | OutOfOrderTableProxy):
                raise ActionError(f"{part!r} is no table", "name another key")
        if key[-1] in table and _plain(table[key[-1]]) == value and type(_plain(table[key[-1]])) is type(value):
            return text
        table[key[-1]] = value
        return tomlkit.dumps(document)
    except TOMLKitError as error:
        raise ActionError(f"the file is not TOML: {error}") from error


def _plain(item: Any) -> Any:
    return item.unwrap() if hasattr(item, "unwrap") else item
