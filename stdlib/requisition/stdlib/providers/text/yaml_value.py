"""A value in a YAML text, put at its place: comments, order and every other byte stay (YAML 1.1, as PyYAML reads it).

The parser tells where a value begins and ends; the new one is written in flow style, which is the same value
in any place. Afterwards the parser must read the whole as wanted, or the edit is refused.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from requisition.stdlib.action import ActionError

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")


def set_yaml(text: str, key: Sequence[str], value: Any) -> str:
    """The text with `value` under the nested `key`; mappings on the way are made. Raises ActionError."""
    import yaml

    try:
        before = yaml.safe_load(text)
        there, found = _get(before, key)
        if there and _spelled(found) == _spelled(value):
            return text
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        changed = _fresh(text, key, value) if node is None else _set(text, node, list(key), value)
        after = yaml.safe_load(changed)
    except (yaml.YAMLError, RecursionError) as error:
        raise ActionError(f"the file is not YAML: {str(error).splitlines()[0]}") from error
    _put(before := {} if before is None else before, key, value)
    if after != before:
        raise ActionError(f"{'.'.join(key)} cannot be set in this file without changing its form", "edit it by hand")
    return changed


def _set(text: str, node: Any, key: list[str], value: Any) -> str:
    import yaml

    if not isinstance(node, yaml.MappingNode):
        raise ActionError(f"there is no mapping to hold {key[0]!r}", "name another key")
    for name, held in node.value:
        if name.value != key[0]:
            continue
        if len(key) > 1 and not _is_null(held):
            return _set(text, held, key[1:], value)
        for part in reversed(key[1:]):
            value = {part: value}
        return _replace(text, name, held, value)
    return _insert(text, node, key, value)


def _replace(text: str, name: Any, held: Any, value: Any) -> str:
    start, end = held.start_mark.index, _end(held)
    if start == end:  # an empty value: `key:`
        at = text.index(":", name.end_mark.index) + 1
        return f"{text[:at]} {_flow(value)}{text[at:]}"
    old = text[start:end]
    kept = old[len(old.rstrip()) :]  # block values end behind their last line break
    if start > 0 and "\n" in text[name.end_mark.index : start] and _is_block(held):
        colon = text.index(":", name.end_mark.index) + 1
        return f"{text[:colon]} {_flow(value)}\n{text[_line_end(text, end) :]}"
    return text[:start] + _flow(value) + kept + text[end:]


def _insert(text: str, node: Any, key: list[str], value: Any) -> str:
    for part in reversed(key[1:]):
        value = {part: value}
    if node.flow_style:
        at = node.end_mark.index - 1
        comma = ", " if node.value else ""
        return f"{text[:at].rstrip()}{comma}{_scalar(key[0])}: {_flow(value)}{text[at:]}"
    first = node.value[0][0].start_mark
    at = _line_end(text, max(_end(node.value[-1][1]), _end(node.value[-1][0])))
    indent = " " * first.column
    glue = "" if not at or text[at - 1] == "\n" else "\n"
    return f"{text[:at]}{glue}{indent}{_scalar(key[0])}: {_flow(value)}\n{text[at:]}"


def _fresh(text: str, key: Sequence[str], value: Any) -> str:
    """A text that holds nothing yet, or comments only."""
    for part in reversed(key[1:]):
        value = {part: value}
    glue = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{glue}{_scalar(key[0])}: {_flow(value)}\n"


def _flow(value: Any) -> str:
    """A value on one line. JSON is YAML; text that needs no quotes goes without."""
    return _scalar(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _scalar(text: str) -> str:
    import yaml

    if _PLAIN.fullmatch(text) and yaml.safe_load(text) == text:
        return text
    return json.dumps(text, ensure_ascii=False)


def _is_null(node: Any) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _is_block(node: Any) -> bool:
    return getattr(node, "flow_style", None) is False


def _end(node: Any) -> int:
    """Behind the last character of a node. The parser's own mark of a block lies behind the comments that
    follow it, so its last leaf is asked."""
    if not node.value or not _is_block(node):
        return int(node.end_mark.index)
    last = node.value[-1]
    return max(_end(part) for part in last) if isinstance(last, tuple) else _end(last)


def _line_end(text: str, at: int) -> int:
    """Behind the line that ends at or holds this place; `at` itself when it begins a line."""
    if at == 0 or text[at - 1] == "\n":
        return at
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _spelled(value: Any) -> str:
    """Tells 1 from true, which Python does not."""
    return json.dumps(value, sort_keys=True, default=repr)


def _get(document: Any, key: Sequence[str]) -> tuple[bool, Any]:
    for part in key:
        if not isinstance(document, dict) or part not in document:
            return False, None
        document = document[part]
    return True, document


def _put(document: Any, key: Sequence[str], value: Any) -> None:
    for part in key[:-1]:
        if not isinstance(document.get(part), dict):
            document[part] = {}
        document = document[part]
    document[key[-1]] = value
