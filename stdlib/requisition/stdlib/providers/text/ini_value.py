"""A setting of an INI file, as systemd, git, php and many others read it: every other byte stays.

`[section]` lines, `key = value` lines with `=` or `:`, comments that begin with `#` or `;`. The last of
several equal keys is the one that counts for most readers, and the one that is set.
"""

import re
from collections.abc import Sequence

from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.text.edit import line_end

_SECTION = re.compile(r"\s*\[([^\]]*)\]\s*(?:[#;].*)?$")
_SETTING = re.compile(r"(\s*)([^\s=:#;\[][^=:]*?)(\s*[=:]\s*|\s*$)")


def set_ini(text: str, key: Sequence[str], value: object) -> str:
    """The text with `section, name` or, above all sections, `name` set. Raises ActionError."""
    if len(key) not in (1, 2):
        raise ActionError(f"{'.'.join(key)} is no section and name", 'an INI key is ["section", "name"] or ["name"]')
    section, name = ("", key[0]) if len(key) == 1 else (key[0], key[1])
    wanted = _written(value)
    lines = text.splitlines(keepends=True)
    end = line_end(text)
    first, last = _span(lines, section)
    if first < 0:
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += end
        gap = [end] if lines and lines[-1].strip() else []
        return "".join([*lines, *gap, f"[{section}]{end}", f"{name} = {wanted}{end}"])
    for at in range(last - 1, first - 1, -1):
        found = _SETTING.match(lines[at].rstrip("\r\n"))
        if found is not None and found[2] == name:
            bare = lines[at].rstrip("\r\n")
            glue = found[3] if found[3].strip() else " = "
            lines[at] = f"{found[1]}{found[2]}{glue}{wanted}{lines[at][len(bare) :]}"
            return "".join(lines)
    while last > first and not lines[last - 1].strip():
        last -= 1
    if last and not lines[last - 1].endswith("\n"):
        lines[last - 1] += end
    lines.insert(last, _like_neighbours(lines[first:last], name, wanted) + end)
    return "".join(lines)


def _span(lines: list[str], section: str) -> tuple[int, int]:
    """First and behind last line of a section's settings; (−1, −1) when it is absent. The part above all
    sections is there always."""
    heads = [(at, found[1].strip()) for at, line in enumerate(lines) if (found := _SECTION.match(line))]
    if not section:
        return 0, heads[0][0] if heads else len(lines)
    for number, (at, name) in enumerate(heads):
        if name == section:
            return at + 1, heads[number + 1][0] if number + 1 < len(heads) else len(lines)
    return -1, -1


def _like_neighbours(lines: list[str], name: str, value: str) -> str:
    """A setting with the blanks that the last setting before it has."""
    for line in reversed(lines):
        found = _SETTING.match(line.rstrip("\r\n"))
        if found is not None and found[3].strip():
            return f"{found[1]}{name}{found[3]}{value}"
    return f"{name} = {value}"


def _written(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if value is None or isinstance(value, list | dict) or "\n" in text or "\r" in text:
        raise ActionError(f"{text[:40]!r} is no value of an INI file", "it holds one line of text")
    return text
