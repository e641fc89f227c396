"""What a tool complained of, in our words. A table has a pattern, a message and a hint a row; the groups of the
pattern fill the message, and the first of them may name the package at fault."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from requisition.stdlib.host import CommandResult
from requisition.stdlib.providers.package.manager import Trouble

_SHOWN = 400


class Row(NamedTuple):
    """One kind of trouble. `names`: the first group is a package."""

    pattern: str
    message: str
    hint: str
    names: bool = False


def trouble(done: CommandResult, what: str, table: Sequence[Row]) -> Trouble:
    """The first row that fits what the tool printed; otherwise `what`, with its last words."""
    said = text(done.stderr) + "\n" + text(done.stdout)
    for row in table:
        found = re.search(row.pattern, said)
        if found is not None:
            names = dict.fromkeys(hit if isinstance(hit, str) else hit[0] for hit in re.findall(row.pattern, said))
            return Trouble(row.message.format(*found.groups()), row.hint, tuple(names) if row.names else ())
    shown = (text(done.stderr).strip() or text(done.stdout).strip())[-_SHOWN:]
    return Trouble(f"{what}: {shown or f'it ended with status {done.status}'}", "look at what it says")


def text(output: bytes) -> str:
    """Output as text."""
    return output.decode("utf-8", "replace")
