"""Variables in the texts of actions: `$NAME`, `${NAME}`, `%NAME%`; `$$` and `%%` stand for one $ and %.

Each is replaced once: what a value holds is text and nothing else. A $ or % that begins no variable is a mistake,
so that one that was meant as text is never taken for something else later.
"""

import difflib
import re
from collections.abc import Callable, Iterable

_TOKEN = re.compile(
    r"\$\$|%%|\$\{(?P<braced>[^}]*)(?P<closed>\}?)|\$(?P<plain>[A-Za-z_][A-Za-z0-9_]*)|%(?P<percent>[^%]*)(?P<end>%?)|\$"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NAMES = "a name has letters, digits and _, no digit first"


class NoValue(Exception):
    """A name that has no value here: what to say of it, and what to do."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.what, self.advice = what, advice


class BadText(Exception):
    """A text that cannot be expanded: what is wrong, from which character (from 0), and what to do."""

    def __init__(self, offset: int, what: str, advice: str) -> None:
        super().__init__(what)
        self.offset, self.what, self.advice = offset, what, advice


Value = Callable[[str, int], str]
"""The value of a name that stands at an offset of the text. Raises NoValue."""


def expand(text: str, value: Value) -> str:
    """The text with its variables replaced. Raises BadText."""
    if "$" not in text and "%" not in text:
        return text

    def put(found: re.Match[str]) -> str:
        if found[0] in ("$$", "%%"):
            return found[0][0]
        name = _name(found)
        try:
            return value(name, found.start())
        except NoValue as error:
            raise BadText(found.start(), error.what, error.advice) from error

    return _TOKEN.sub(put, text)


def escape(text: str) -> str:
    """The text that expands to this one, whatever variables there are."""
    return text.replace("$", "$$").replace("%", "%%")


def names_in(text: str) -> list[str]:
    """The names in a text, as they come. Raises BadText."""
    found: list[str] = []

    def note(name: str, _: int) -> str:
        found.append(name)
        return ""

    expand(text, note)
    return found


def unknown(name: str, known: Iterable[str]) -> NoValue:
    """What to say of a name that is none of those known."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 1)
    advice = f"did you mean {near[0]}?" if near else f"declare it: settings: {{{name}: {{description: what it is}}}}"
    return NoValue(f"there is no variable {name}; known are {', '.join(known)}", advice)


def _name(found: re.Match[str]) -> str:
    at, sigil = found.start(), found[0][0]
    name = found["plain"] or found["braced"] or found["percent"] or ""
    if found["braced"] is not None and not found["closed"]:
        raise BadText(at, "${ is not closed", "write ${NAME}, or $$ for a dollar sign")
    if found["percent"] is not None and not found["end"]:
        raise BadText(at, "this % has no second one", "write %NAME%, or %% for a percent sign")
    if not name:
        advice = "write ${NAME}" if found["braced"] is not None else "write $NAME, or $$ for a dollar sign"
        raise BadText(at, f"{found[0]} names no variable", advice)
    if not _NAME.match(name):
        sign = "$$ for a dollar sign" if sigil == "$" else "%% for a percent sign"
        raise BadText(at, f"{name!r} cannot name a variable", f"{_NAMES}; write {sign}")
    return name
