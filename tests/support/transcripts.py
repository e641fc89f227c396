"""Recorded transcripts of tools that the tests' machine does not have, played to the real code.

A file holds commands (`$ …`), what they print (`! ` before lines of stderr) and `? N`, their exit status; one that occurs
several times has these answers in turn, and then the last one. Its head, lines of `#`, says where the form comes from. A
command that the transcript does not know fails the test.
"""

import shlex
from pathlib import Path

from requisition.stdlib.host import CommandResult

FOLDER = Path(__file__).parent.parent / "stdlib/transcripts"


class Transcript:
    """A host that answers as the tool did. `files`: contents by path below the root. `ran`: what changed something."""

    def __init__(self, name: str, files: dict[str, bytes] | None = None):
        self.answers: dict[tuple[str, ...], list[CommandResult]] = {}
        self.files = files or {}
        self.ran: list[str] = []
        self.asked: list[str] = []
        head, *steps = f"\n{(FOLDER / name).read_text()}".split("\n$ ")
        assert all(line.startswith("#") for line in head.split("\n") if line)
        for step in steps:
            command, *lines = step.split("\n")
            status = next((int(line[2:]) for line in lines if line.startswith("? ")), 0)
            err = [line[2:] for line in lines if line.startswith("! ")]
            out = [line for line in lines if line[:2] not in ("? ", "! ")]
            result = CommandResult(status, "\n".join(out).rstrip("\n").encode() + b"\n", "\n".join(err).encode())
            self.answers.setdefault(tuple(shlex.split(command)), []).append(result)

    def ask(self, argv, **_):
        self.asked.append(shlex.join(argv))
        assert tuple(argv) in self.answers, f"the transcript has no: {shlex.join(argv)}"
        return self._answer(argv)

    def run(self, argv, **_):
        self.ran.append(shlex.join(argv))
        return self._answer(argv) if tuple(argv) in self.answers else CommandResult(0, b"", b"")

    def _answer(self, argv):
        answers = self.answers[tuple(argv)]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def read(self, path, limit=0):
        return self.files[path]

    def stat(self, path):
        return None
