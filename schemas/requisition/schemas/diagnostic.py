"""What a person is told when something is wrong: what, where in their file, why, what to do next.

Every error that a user can meet is a `Failure`; each house subclasses it once or a few times. The tree:

    Failure
    ├── BadInput          a file, option or document that is not as it must be        exit 4
    ├── Refused           trust said no; nothing was parsed further, nothing touched  exit 3
    ├── Conflicted        the target is not as the order may assume                   exit 5
    ├── Interrupted       a run was cut off and can be resumed or rolled back         exit 6
    └── Failed            the work was tried and failed                               exit 1
"""

from collections.abc import Iterable
from typing import ClassVar, Self

from msgspec import Struct


class Diagnostic(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One finding. `where` is `file:line:column` of the user's file or a path of the target; `excerpt`
    the source line with a caret below it, ready to print."""

    what: str
    where: str = ""
    why: str = ""
    next: str = ""
    excerpt: str = ""
    severity: str = "error"
    code: str = ""

    def __str__(self) -> str:
        """One block of text, as the terminal shows it without colour."""
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.excerpt:
            lines.append(self.excerpt)
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.next:
            lines.append(f"  next: {self.next}")
        return "\n".join(lines)


class Failure(Exception):
    """Carries every finding of one step, not the first only."""

    exit_code: ClassVar[int] = 1

    def __init__(self, diagnostics: Diagnostic | Iterable[Diagnostic]) -> None:
        self.diagnostics = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        super().__init__("\n".join(str(d) for d in self.diagnostics))

    @classmethod
    def of(cls, what: str, *, where: str = "", why: str = "", next: str = "") -> Self:  # noqa: A002
        """A failure with a single finding."""
        return cls(Diagnostic(what=what, where=where, why=why, next=next))


class BadInput(Failure):
    """Input that is not as it must be."""

    exit_code = 4


class Refused(Failure):
    """Trust said no."""

    exit_code = 3


class Conflicted(Failure):
    """The target is not as the order may assume."""

    exit_code = 5


class Interrupted(Failure):
    """A run was cut off and can be resumed or rolled back."""

    exit_code = 6


class Failed(Failure):
    """The work was tried and failed."""
