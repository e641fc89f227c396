"""Script tests: steps and what they print, in one text file that needs no Python.

    # Words for the reader.
    $ plan build hello.star -o hello.yaml --root $ROOT     a step, run by sh in an empty folder
    ✓ hello.yaml: 1 node, ...                              what it prints; `...` is any text of a line
    ...                                                    alone: any number of lines
    ? 4                                                    its exit code, when it is not 0
    -- hello.star --                                       a file that is there from the start
    def install(package, phase):
        plan.file.write("hello", "/hello")

Output and errors are one stream. The folder itself reads as $WORK in what is printed; $ROOT is an empty
folder in it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_FILE = re.compile(r"^-- (\S+) --$")


class Step(NamedTuple):
    line: int
    command: str
    expected: tuple[str, ...]
    code: int


class Script(NamedTuple):
    steps: tuple[Step, ...]
    files: dict[str, str]


def parse(text: str) -> Script:
    """Read a script. Raises ValueError with the line for text that belongs to no step."""
    steps: list[Step] = []
    files: dict[str, str] = {}
    name = ""
    for number, line in enumerate(text.splitlines(), 1):
        if found := _FILE.match(line):
            name = found[1]
            files[name] = ""
        elif name:
            files[name] += line + "\n"
        elif line.startswith("$ "):
            steps.append(Step(number, line[2:], (), 0))
        elif line.startswith("? "):
            steps[-1] = steps[-1]._replace(code=int(line[2:]))
        elif line and not line.startswith("# "):
            if not steps:
                raise ValueError(f"line {number} belongs to no step: {line}")
            steps[-1] = steps[-1]._replace(expected=(*steps[-1].expected, line))
    return Script(tuple(steps), files)


def run(script: Script, folder: Path) -> str:
    """Run every step up to the first that is not as expected, and tell of it; empty when all are."""
    for name, content in script.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    (folder / "root").mkdir()
    for step in script.steps:
        done = subprocess.run(
            ["sh", "-c", step.command],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        printed = done.stdout.decode().replace(str(folder), "$WORK")
        if done.returncode != step.code or not matches(printed, step.expected):
            expected = "".join(line + "\n" for line in step.expected)
            return (
                f"line {step.line}: $ {step.command}\n"
                f"--- expected, exit {step.code}\n{expected}--- printed, exit {done.returncode}\n{printed}"
            )
    return ""


def environment(folder: Path) -> dict[str, str]:
    """A person who was never here: no keys, no trust, no state, nothing of this machine's own settings."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "REQUISITION_STATE": str(folder / "state"),
        "LANG": "C.UTF-8",
        "ROOT": str(folder / "root"),
    }


def matches(printed: str, expected: tuple[str, ...]) -> bool:
    """Whether the lines are as expected; blank lines do not count."""
    lines = "".join(line + "\n" for line in printed.splitlines() if line.strip())
    pattern = "".join(
        r"(?:[^\n]*\n)*" if line == "..." else "[^\n]*".join(map(re.escape, line.split("..."))) + r"\n"
        for line in expected
    )
    return re.fullmatch(pattern, lines) is not None
