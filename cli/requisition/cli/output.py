"""What goes to the terminal: colour, findings, JSON. Plain words; the same with and without colour.

Names, diffs and logs come from orders that nobody may have reviewed yet: what a terminal would act upon is
shown, never sent.
"""

import os
import re
import sys
from collections.abc import Iterable
from typing import Any

import click

from requisition.schemas.diagnostic import Diagnostic, Failure

_STYLES: dict[str, dict[str, Any]] = {
    "good": {"fg": "green"},
    "bad": {"fg": "red", "bold": True},
    "warn": {"fg": "yellow"},
    "dim": {"dim": True},
    "head": {"bold": True},
    "path": {"fg": "cyan"},
}

# Our own colours, as `click.style` writes them; or C0 (but tab and newline), DEL, C1, and what reorders or
# hides text (bidirectional and zero-width controls).
_CONTROL = re.compile(
    "(\x1b\\[(?:0|1|2|31|32|33|36)m)|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def clean(text: str, *, color: bool = False) -> str:
    """The text with everything that a terminal would act upon made visible; our colours may stay."""
    return _CONTROL.sub(
        lambda found: found[0] if color and found[1] else found[0].encode("unicode_escape").decode("ascii"), text
    )


class Output:
    """One command's way to the person: options that every command has, and what prints."""

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, color: str = "auto", state: str | None = None
    ) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.color = _wants_color(color)
        self._state = state
        self._in_progress = False

    def set(self, option: str, value: Any) -> None:
        """Take one common option that was given after the command's name."""
        if option == "color":
            self.color = _wants_color(value)
        elif option == "state":
            self._state = value
        elif option == "as_json":
            self.as_json = True
        else:
            self.quiet = True

    @property
    def state_dir(self) -> str:
        """Where the runtime keeps its state."""
        from requisition.runtime.places import default_state

        return os.path.abspath(self._state or default_state())

    def style(self, text: str, name: str) -> str:
        """Text in a named style, if colour is on."""
        return click.style(text, **_STYLES[name]) if self.color else text

    def say(self, text: str = "") -> None:
        """A line for people, unless they asked for quiet or JSON."""
        if not self.quiet and not self.as_json:
            self.progress("")
            click.echo(clean(text, color=self.color), color=self.color)

    def result(self, text: str) -> None:
        """A line that even --quiet shows."""
        if not self.as_json:
            click.echo(clean(text, color=self.color), color=self.color)

    def lines(self, lines: Iterable[str]) -> None:
        """Results, each of which is one line whatever stands in it."""
        self.result("\n".join(line.replace("\n", "\\n") for line in lines))

    def progress(self, text: str) -> None:
        """A line that the next one overwrites, on stderr, where a terminal is; empty removes it."""
        if self.quiet or self.as_json or not sys.stderr.isatty() or not (text or self._in_progress):
            return
        self._in_progress = bool(text)
        sys.stderr.write("\r\x1b[K" + clean(text))
        sys.stderr.flush()

    def json(self, value: Any) -> None:
        """One JSON document on one line."""
        import msgspec

        click.echo(msgspec.json.encode(value).decode())

    def findings(self, found: Iterable[Diagnostic]) -> None:
        """Findings, on stderr or as JSON lines."""
        for one in found:
            if self.as_json:
                self.json({"type": "diagnostic", **to_dict(one)})
            else:
                click.echo(clean(self.shown(one), color=self.color), err=True, color=self.color)

    def shown(self, one: Diagnostic) -> str:
        """One finding as a block: what, the place in the file, why, and what to do next."""
        label = {"warn": "warning", "success": "✓"}.get(one.severity, one.severity)
        name = {"error": "bad", "warning": "warn", "warn": "warn", "success": "good"}.get(one.severity, "dim")
        head = f"{self.style(label, name)}: {one.what}"
        lines = [head]
        if one.where:
            lines.append(f"  {self.style('at', 'dim')} {self.style(one.where, 'path')}")
        if one.excerpt:
            lines.append(one.excerpt)
        if one.why:
            lines.append(f"  {self.style('why', 'dim')} {one.why}")
        if one.next:
            lines.append(f"  {self.style('next', 'dim')} {one.next}")
        return "\n".join(lines)


def to_dict(value: Any) -> Any:
    """A record as plain values."""
    import msgspec

    return msgspec.to_builtins(value)


def fail(error: BaseException, output: Output) -> int:
    """Tell what went wrong; the exit code."""
    if isinstance(error, Failure):
        output.findings(error.diagnostics)
        return error.exit_code
    if os.environ.get("PLAN_DEBUG"):
        import traceback

        traceback.print_exception(error)
    output.findings([_unexpected(error)])
    return 1


def _wants_color(choice: str) -> bool:
    """`--color`; auto means a terminal that is not dumb, and no NO_COLOR (no-color.org)."""
    if choice != "auto":
        return choice == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _unexpected(error: BaseException) -> Diagnostic:
    if isinstance(error, OSError) and error.strerror:
        return Diagnostic(
            what=error.strerror, where=str(error.filename or ""), next="check the path and its permissions"
        )
    return Diagnostic(
        what=f"{type(error).__name__}: {error}",
        why="this is a bug in requisition",
        next="please report it, with the output of the same command under PLAN_DEBUG=1",
    )


def key_dir() -> str:
    """Where `plan key new` puts keys."""
    from requisition.runtime.places import config_dir

    return os.path.join(config_dir(), "keys")
