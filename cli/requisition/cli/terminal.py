"""Where output goes: plain lines for people, JSON for programs, colour only where it is wanted.

A line is made of spans: text, or (style, text). Control characters inside of spans are shown, never
sent, since names and diffs come from orders that nobody may have reviewed yet.
"""

import os
import re
import sys
from collections.abc import Callable
from typing import Any, TextIO

Span = str | tuple[str, str]
Line = tuple[Span, ...]

_STYLES = {
    "bold": "1",
    "dim": "2",
    "good": "32",
    "bad": "31",
    "warn": "33",
    "new": "32",
    "change": "33",
    "gone": "31",
    "place": "36",
    "head": "1;34",
}
# C0 but tab, DEL, C1, and what reorders or hides text (Unicode TR 36, bidirectional controls).
_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def clean(text: str) -> str:
    """The text with everything a terminal would act upon made visible."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class Terminal:
    """One command's way to speak."""

    def __init__(
        self,
        *,
        json: bool = False,
        quiet: bool = False,
        color: str = "auto",
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self.json = json
        self.quiet = quiet
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._out_color = _wants_color(color, self._out)
        self._err_color = _wants_color(color, self._err)

    @property
    def interactive(self) -> bool:
        """Whether a person sits here who can be asked."""
        return not self.json and sys.stdin.isatty() and self._out.isatty()

    @property
    def shows_progress(self) -> bool:
        """Whether a line that is overwritten may be drawn."""
        return not self.json and not self.quiet and self._err.isatty()

    def line(self, *spans: Span) -> None:
        """One line of the answer, unless it was asked to be quiet or for JSON."""
        if not self.json and not self.quiet:
            self._write(self._out, self._out_color, spans)

    def answer(self, *spans: Span) -> None:
        """A line that is the answer itself, so that --quiet does not silence it."""
        if not self.json:
            self._write(self._out, self._out_color, spans)

    def note(self, *spans: Span) -> None:
        """A line beside the answer, on stderr."""
        self._out.flush()
        self._write(self._err, self._err_color, spans)

    def raw(self, text: str) -> None:
        """Text for programs: completion scripts, schemas, graphs."""
        self._out.write(text)

    def value(self, value: Any, *, line: bool = False) -> None:
        """A JSON value; `line` keeps it on one line, for streams."""
        import msgspec

        data = msgspec.json.encode(value)
        if not line:
            data = msgspec.json.format(data, indent=2)
        self._out.write(data.decode() + "\n")
        if line:
            self._out.flush()

    def progress(self, text: str) -> None:
        """Overwrite the progress line; empty text removes it."""
        self._err.write("\r\x1b[K" + clean(text))
        self._err.flush()

    def confirm(self, question: str) -> bool:
        """Ask; only a plain yes counts."""
        self._out.write(f"{question} [y/N] ")
        self._out.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def _write(self, stream: TextIO, color: bool, spans: tuple[Span, ...]) -> None:
        paint: Callable[[Span], str] = _painted if color else _plain
        stream.write("".join(map(paint, spans)).rstrip() + "\n")


def _plain(span: Span) -> str:
    return clean(span if isinstance(span, str) else span[1])


def _painted(span: Span) -> str:
    if isinstance(span, str):
        return clean(span)
    style, text = span
    return f"\x1b[{_STYLES[style]}m{clean(text)}\x1b[0m" if style and text else clean(text)


def _wants_color(choice: str, stream: TextIO) -> bool:
    """`--color`; auto means a terminal that is not dumb, and no NO_COLOR (no-color.org)."""
    if choice != "auto":
        return choice == "always"
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
