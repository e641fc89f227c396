"""A conversation with the runtime for one command: ask, draw, exit code."""

import time

from requisition.cli import runner
from requisition.cli.draw.run import RunDrawing, draw_plan, draw_result
from requisition.cli.terminal import Terminal
from requisition.runtime.frames import EXIT_CODES, Request, Result


class Session:
    """Asks the runtime and draws what it answers."""

    def __init__(self, terminal: Terminal, *, full: bool = False, runtime: str = "") -> None:
        self.terminal = terminal
        self._full = full
        self._runtime = runtime

    def perform(self, request: Request) -> Result:
        """Ask for something that changes the machine; draw it to the end."""
        began = time.monotonic()
        result = self._ask(request)
        draw_result(self.terminal, result, time.monotonic() - began)
        return result

    def preview(self, request: Request) -> Result:
        """Ask for a dry run; draw the plan."""
        result = self._ask(request)
        draw_plan(self.terminal, result)
        return result

    def _ask(self, request: Request) -> Result:
        drawing = RunDrawing(self.terminal, full=self._full)
        try:
            return runner.ask(request, drawing, runtime=self._runtime, on_stop=self._stopping)
        finally:
            drawing.finish()

    def _stopping(self) -> None:
        self.terminal.note(("warn", "stopping: "), "the run is being brought to its end …")


def exit_code(result: Result, *, detailed: bool = False) -> int:
    """The exit code of a result; differences count only when that was asked for."""
    if result.status == "changes" and not detailed:
        return 0
    return EXIT_CODES[result.status]
