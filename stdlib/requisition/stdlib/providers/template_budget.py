"""What rendering may cost: one budget a render, spent by everything that makes text or takes a step.

A sandbox that only forbids names cannot stop a template from doubling a string forty times, or from looping
in silence. So nothing is left unpaid: each character made costs one unit, each loop pass, call, filter and
element of a collection `STEP` units, and what could multiply (repetition, join, replace, widths) pays before
it is made. Whoever is slow in spite of that meets the deadline at the next payment.
"""

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from jinja2 import Undefined

MAX_COST = 64 << 20
MAX_SECONDS = 10.0
STEP = 64
MAX_NUMBERS = {
    "batch": 1000, "center": 1000, "indent": 1000, "ljust": 1000, "rjust": 1000, "round": 20, "slice": 1000,
    "tojson": 8, "wordwrap": 1000, "zfill": 1000,
}  # fmt: skip
"""Largest number that may be given to these filters and methods: each is a width, a count or a precision."""

TEXT_METHODS = frozenset(
    """capitalize casefold center count endswith find index isalnum isalpha isascii isdecimal isdigit islower
    isnumeric isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix replace rfind
    rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title upper zfill
    """.split()  # noqa: SIM905
)
"""Methods of text that a template may call; `format` and its kin reach into attributes and ask for widths."""

_WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(\d{4}|\*)")


class TooMuch(Exception):
    """The template would cost more, or ask for more, than a configuration file may."""


class Budget(threading.local):
    """What the render on this thread has left."""

    left = 0
    deadline = 0.0

    def start(self) -> None:
        """A new render begins."""
        self.left = MAX_COST
        self.deadline = time.monotonic() + MAX_SECONDS

    def spend(self, units: int) -> None:
        """Pay. Raises TooMuch when there is not enough left, in units or in time."""
        self.left -= units
        if self.left < 0 or time.monotonic() > self.deadline:
            raise TooMuch("it costs more than a configuration file may")

    def weigh(self, value: object) -> None:
        """Pay for a value with all that is in it, as often as it is in it."""
        if isinstance(value, (str, int)):  # nearly always
            self.spend(len(value) if isinstance(value, str) else 1)
            return
        pending = [value]
        while pending:
            one = pending.pop()
            if isinstance(one, (str, bytes)):
                self.spend(len(one))
            elif isinstance(one, dict):
                self.spend(STEP * len(one))
                pending.extend(one)
                pending.extend(one.values())
            elif isinstance(one, (list, tuple, set, frozenset)):
                self.spend(STEP * len(one))
                pending.extend(one)
            elif isinstance(one, Undefined):
                str(one)  # raises: what is not there is not passed on inside of a list either

    def pay_ahead(self, name: str, value: Any, given: tuple[Any, ...]) -> None:
        """Pay for a filter or method whose result may be much larger than what goes in."""
        most = MAX_NUMBERS.get(name)
        if most is not None and any(isinstance(one, int) and abs(one) > most for one in given):
            raise TooMuch(f"{name} takes no number over {most} here")
        if name == "replace" and len(given) >= 2:
            old, new = str(given[0]), str(given[1])
            self.spend((str(value).count(old) if old else len(value) + 1) * len(new))
        elif name == "join":
            self.spend(len(value) * max([0, *(len(one) for one in given if isinstance(one, str))]))
        elif name in ("wordwrap", "indent"):
            widths = (len(one) if isinstance(one, str) else one for one in given if isinstance(one, (str, int)))
            pieces = len(value) if name == "wordwrap" else str(value).count("\n") + 1
            self.spend(pieces * max([4, *widths]))
        elif name == "format" and _WIDE_FORMAT.search(str(value)):
            raise TooMuch("a width in a format string")
        elif name == "sum" and any(isinstance(one, list) for one in given):
            raise TooMuch("sum adds numbers here, not lists")


def paid_filter(budget: Budget, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, paid for. Jinja's marks on the function, which say what it wants passed, are kept."""
    place = 1 if hasattr(function, "jinja_pass_arg") else 0

    def paid(*arguments: Any, **named: Any) -> Any:
        if name == "join" and not isinstance(arguments[place], (str, list, tuple)):
            arguments = (*arguments[:place], list(arguments[place]), *arguments[place + 1 :])
        budget.spend(STEP)
        budget.pay_ahead(name, arguments[place], (*arguments[place + 1 :], *named.values()))
        made = function(*arguments, **named)
        budget.weigh(made)
        return made

    for mark in getattr(function, "__dict__", ()):
        setattr(paid, mark, getattr(function, mark))
    return paid
