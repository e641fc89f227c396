"""Lines of a crontab: schedules, checked, and commands and variables in words that cron gives on as they are. Pure.

Sources: crontab(5) of Debian's cron and of cronie. They agree on all that is let through here; what only cron's own
parser lets through, as the range 5-1, never runs.
"""

import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from requisition.stdlib.action import ActionError

MAX_COMMAND = 998
"""Bytes, in all crons."""
NICKNAMES = ("@reboot", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ITEM = re.compile(r"(?:(\*)|(\w{1,3})(?:-(\w{1,3}))?)(?:/(\d{1,2}))?", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,98}")
_HINT = "as crontab(5) has it: minute, hour, day of month, month, day of week; or one of " + ", ".join(NICKNAMES)


class _Field(NamedTuple):
    what: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    first: int = 0


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS, 1),
    _Field("day of week", 0, 7, _DAYS, 0),
)


def schedule(text: str) -> str:
    """The schedule, with one space between fields. Raises ActionError for one that cron refuses or never meets."""
    if text in NICKNAMES:
        return text
    fields = [part for part in text.split(" ") if part]
    if len(fields) != len(_FIELDS):
        raise ActionError(f"the schedule {text!r} has {len(fields)} fields, and not five", _HINT)
    times = [_times(part, field, text) for part, field in zip(fields, _FIELDS, strict=True)]
    if fields[4].startswith("*") and all(min(times[2]) > _LENGTHS[month - 1] for month in times[3]):
        raise ActionError(f"the schedule {text!r} names a day that never comes", _HINT)
    return " ".join(fields)


def _times(text: str, field: _Field, whole: str) -> set[int]:
    """All values of one field."""
    found: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ActionError(f"the schedule {whole!r}: {item!r} is no {field.what}", _HINT)
        star, low, high, step = match.groups()
        first = field.low if star else _value(low, field, whole)
        last = field.high if star else _value(high, field, whole) if high else first
        if first > last:
            raise ActionError(f"the schedule {whole!r}: {item!r} goes backwards", "write it as two: 5-7,1")
        if step and not 0 < int(step) <= last - first:
            raise ActionError(f"the schedule {whole!r}: the step of {item!r} does not fit", _HINT)
        found.update(range(first, last + 1, int(step or 1)))
    return found


def _value(text: str, field: _Field, whole: str) -> int:
    if text.isdigit() and len(text) < 3 and field.low <= int(text) <= field.high:
        return int(text)
    if text.lower() in field.names:
        return field.names.index(text.lower()) + field.first
    raise ActionError(f"the schedule {whole!r}: {text!r} is no {field.what}", _HINT)


def command(argv: Sequence[str]) -> str:
    """A command line of exactly these words. Raises ActionError for what cannot stand in one line of a crontab."""
    if not argv or not argv[0]:
        raise ActionError("command names no program", 'give command = ["/usr/bin/program", ...]')
    for word in argv:
        check_text(f"the word {word!r} of the command", word)
    words = [_word(word) for word in argv]
    if words[0][0] not in "'/":
        words[0] = f"'{words[0]}'"  # bare, it could be an assignment, or `if`
    line = " ".join(words)
    if len(line.encode()) > MAX_COMMAND:
        raise ActionError(f"the command is longer than {MAX_COMMAND} bytes, as cron takes it", "put it into a script")
    return line


def _word(text: str) -> str:
    """A word for the shell, behind cron: that ends the command at a bare %, turns \\% into %, and in some versions
    two backslashes into one. Where one backslash meets another or a %, quotes come between them."""
    return re.sub(r"\\(?=[\\%])", r"\\''", shlex.quote(text)).replace("%", "\\%")


def variable(name: str, value: str) -> str:
    """A line that sets a variable. Cron takes what stands between two quotes as it is, but for blanks at its end.
    Raises ActionError."""
    if not _NAME.fullmatch(name):
        raise ActionError(f"{name!r} cannot name a variable", "use letters, digits and _, no digit first")
    if name in ("LOGNAME", "USER", "SHELL"):
        why = "commands are written for /bin/sh" if name == "SHELL" else "give the user as user = ..."
        raise ActionError(f"{name} is not set for a job", why)
    check_text(f"the value of {name}", value)
    quote = "'" if '"' in value else '"'
    if quote in value or value != value.rstrip() or len(value.encode()) > MAX_COMMAND - len(name) - 3:
        raise ActionError(f"cron cannot hold the value of {name}", 'set it in the command: ["env", "NAME=value", ...]')
    return f"{name}={quote}{value}{quote}"


def check_text(what: str, text: str) -> None:
    """Raises ActionError unless it is one line of plain text."""
    for letter in text:
        if letter != "\t" and unicodedata.category(letter) in ("Cc", "Cs"):
            raise ActionError(f"{what} has the character {letter!r} in it", "give one line of text")


def crontab(when: str, user: str, argv: Sequence[str], env: Mapping[str, str]) -> str:
    """A file for /etc/cron.d."""
    lines = [variable(name, value) for name, value in sorted(env.items())]
    return "\n".join(["# Written by Requisition.", *lines, f"{schedule(when)} {user} {command(argv)}", ""])
