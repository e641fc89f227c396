"""What recovery finds, and what became of it."""

from typing import Literal

from msgspec import Struct

Kind = Literal[
    "in use",
    "torn log",
    "damaged log",
    "damaged record",
    "sync cut off",
    "start without an end",
    "half-made clone",
    "checkout cut off",
    "temporary file",
    "stale lock",
    "pins unreadable",
    "not checked out",
    "plan.lock is newer",
    "plan.lock is older",
    "run cut off",
    "backup left behind",
]


class Finding(Struct, frozen=True, kw_only=True):
    """One artefact of something that was cut off, told once.

    `path` is what it is about: a package, or a file relative to the root's folder, or a run. `mend` says what mending
    does, where that is safe; else it is empty and `next` says what is left to a person. `other` is what mending has
    to know beside.
    """

    kind: Kind
    root: str
    path: str
    text: str
    mend: str = ""
    next: str = ""
    other: str = ""


class Mended(Struct, frozen=True, kw_only=True):
    """What became of a finding. `done` is false for what is left to a person: `text` says what to do."""

    finding: Finding
    done: bool
    text: str


def left(finding: Finding, why: str = "") -> Mended:
    """It is left to a person."""
    return Mended(finding=finding, done=False, text=why or finding.next)


def done(finding: Finding, text: str = "") -> Mended:
    """It was mended."""
    return Mended(finding=finding, done=True, text=text or finding.mend)


def gone(finding: Finding) -> Mended:
    """There is nothing to mend any more."""
    return Mended(finding=finding, done=True, text="it is gone already")
