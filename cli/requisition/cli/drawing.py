"""Runs as they happen, and how they ended. Nothing here decides anything."""

import time
from collections.abc import Callable, Mapping

from requisition.cli.output import Output, to_dict
from requisition.runtime.frames import Event, Result

ICONS = {
    "done": ("✓", "good"),
    "unchanged": ("=", "dim"),
    "new": ("+", "good"),
    "change": ("~", "warn"),
    "gone": ("-", "bad"),
    "look": ("○", "dim"),
    "unknown": ("?", "dim"),
    "skip": ("·", "dim"),
    "skipped": ("·", "dim"),
    "failed": ("!", "bad"),
    "changed": ("~", "warn"),
    "missing": ("-", "bad"),
    "extra": ("+", "warn"),
    "not_compensable": ("!", "warn"),
    "rolled_back": ("↺", "warn"),
    "undo_failed": ("!", "bad"),
}
SHOWN = 12
_ALWAYS = ("failed", "not_compensable", "undo_failed")
_REMOVERS = ("file.remove:", "file.unlink:")
_WORDS = {"rolled_back": "rolled back", "undo_failed": "could not be undone", "pending": "not reached"}


class RunDrawing:
    """Draws a run as it goes: a line a phase, a line a node up to SHOWN of them, then counts."""

    def __init__(self, output: Output, *, full: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._full = full
        self._clock = clock
        self._began = clock()
        self._ticked = self._began
        self._phase = ""
        self._shown = 0
        self._hidden: dict[str, int] = {}
        self._seen = 0
        self._total = 0
        self._tree = False

    def __call__(self, event: Event) -> None:
        """One event."""
        if self._output.as_json:
            self._output.json(to_dict(event))
            return
        draw = getattr(self, f"_draw_{event.kind}", None)
        if draw is not None:
            draw(event)
        self._tick()

    def finish(self) -> float:
        """Tell what was not named; seconds since the beginning."""
        self._close()
        self._output.progress("")
        return self._clock() - self._began

    def _draw_verified(self, event: Event) -> None:
        names = ", ".join(s["signer"] for s in event.data.get("signatures", ()) if s["counts"])
        name = self._output.style(event.data.get("name", ""), "head")
        checksum = self._output.style(event.data.get("checksum", "")[:19] + "…", "dim")
        self._output.say(f"{name}  {checksum}  {'signed by ' + names if names else event.text}")

    def _draw_plan(self, event: Event) -> None:
        data = event.data
        self._tree = bool(data.get("members"))
        self._total = sum(data.get(status, 0) for status in ("change", "look", "unknown"))
        looks = f", {data['look']:,} only look" if data.get("look") else ""
        later = f", {data['unknown']:,} decided on the way" if data.get("unknown") else ""
        nodes = counted(data["nodes"], "node")
        self._output.say(f"  {nodes}: {data['change']:,} to change, {data['unchanged']:,} as wanted{looks}{later}")

    def _draw_phase(self, event: Event) -> None:
        if event.status == "started":
            if not self._tree:  # its packages run side by side: each line says whose it is when it comes
                self._enter(event.phase)
        elif event.status == "retrying":
            self._output.say(f"    {self._output.style('once more', 'warn')}  {event.text}".rstrip())
        elif event.status == "rolled_back":
            self._close()
            self._phase = "rolling back"
            self._output.say(f"  {self._output.style('rolling back', 'warn')}: {event.text}")

    def _draw_node(self, event: Event) -> None:
        self._seen += 1
        self._enter(event.phase)
        text = "" if event.status == "done" and event.text == "absent" else event.text
        self._line(event, event.status, local(event.node, event.phase), text)

    def _draw_preview(self, event: Event) -> None:
        self._enter(event.phase)
        name = local(event.node, event.phase)
        status = event.status
        if status == "change" and event.text == "absent":
            status = "new"
        elif status == "change" and name.startswith(_REMOVERS):
            status = "gone"
        shown = self._line(event, status, name, "" if status == "new" else event.text)
        if shown and event.data.get("diff"):
            self._output.say(diff_lines(event.data["diff"], self._output))

    def _draw_rollback(self, event: Event) -> None:
        self._seen += 1
        status = "rolled_back" if event.status == "done" else event.status
        self._line(event, status, event.node or event.phase, "" if event.status == "done" else event.text)

    def _draw_drift(self, event: Event) -> None:
        if event.status == "diff":
            self._output.say(diff_lines(event.data["diff"], self._output))
            return
        icon, style = ICONS[event.status]
        self._output.result(
            f"  {self._output.style(icon, style)} {event.text}  {self._output.style(event.node, 'dim')}"
        )

    def _draw_warning(self, event: Event) -> None:
        self._output.say(f"  {self._output.style('warning', 'warn')}: {event.text}")

    def _draw_log(self, event: Event) -> None:
        self._output.say(self._output.style(f"      {event.text}", "dim"))

    def _enter(self, phase: str) -> None:
        if phase != self._phase:
            self._close()
            self._phase = phase
            self._output.say(f"  {self._output.style(phase, 'head')}")

    def _close(self) -> None:
        if self._hidden:
            self._output.say(self._output.style(f"    … more: {tally(self._hidden)} (--full names them)", "dim"))
        self._phase, self._shown, self._hidden = "", 0, {}

    def _line(self, event: Event, status: str, name: str, text: str) -> bool:
        """One node; False when it is only counted, because many were named already."""
        self._shown += 1
        if self._shown > SHOWN and not self._full and status not in _ALWAYS:
            self._hidden[status] = self._hidden.get(status, 0) + 1
            return False
        icon, style = ICONS.get(status, (" ", "dim"))
        item = f"[{'.'.join(map(str, event.scope))}]" if event.scope else ""
        shown = self._output.style(f"  {text}", "dim") if text else ""
        self._output.say(f"    {self._output.style(icon, style)} {name}{item}{shown}")
        return True

    def _tick(self) -> None:
        """A line that is overwritten, on a terminal, when a run takes more than a second."""
        now = self._clock()
        if now - self._began > 1 and now - self._ticked > 0.1:
            self._ticked = now
            self._output.progress(f"  {self._seen:,} of {self._total:,}  {duration(now - self._began)}")


def summary(result: Result, output: Output, took: float = 0.0) -> None:
    """The last lines of a run; `took` in seconds."""
    if output.as_json:
        output.json(to_dict(result))
        return
    output.findings(result.diagnostics)
    counts = tally(result.summary)
    if result.status == "changes":
        change, unknown = result.summary.get("change", 0), result.summary.get("unknown", 0)
        later = f", and {unknown:,} decided on the way" if unknown else ""
        output.result(f"{output.style('~', 'warn')} {counted(change, 'node')} would change{later}.")
    elif result.status == "done" and set(result.summary) <= {"unchanged", "change", "look", "unknown", "skip"}:
        same = result.summary.get("unchanged", 0)
        verb = "is" if same == 1 else "are"
        output.result(f"{output.style('=', 'good')} Nothing to do: {counted(same, 'node')} {verb} as wanted.")
    elif result.run_id:
        icon = output.style(*(("✓", "good") if result.status == "done" else ("!", "bad")))
        output.result(f"{icon} {_ending(result)} in {duration(took)}: {counts}.")
        output.say(output.style(f"  receipt {result.run_id}", "dim"))


def _ending(result: Result) -> str:
    state = result.data.get("state", "")
    if state == "executed":
        of_members = {"complete": "Taken back in part", "error": "Failed in part"}  # the others of the tree stand
        if result.summary.get("rolled_back") and result.outcome in of_members:
            return of_members[result.outcome]
        return "Done" if result.outcome == "complete" else f"Ended early, {result.outcome},"
    if state == "rolled_back":
        lead = "Taken back" if result.status == "done" else "Failed, and taken back"
        return f"{lead}, as far as it can be," if result.summary.get("undo_failed") else lead
    return "Failed"


def diff_lines(text: str, output: Output) -> str:
    """A unified diff, coloured and indented."""
    styles = {"+": "good", "-": "bad", "@": "path"}
    return "\n".join(
        "      " + (output.style(line, styles[line[0]]) if line[:1] in styles else line) for line in text.splitlines()
    )


def local(node: str, phase: str) -> str:
    """A node's id without its phase."""
    return node.removeprefix(phase + "/")


def counted(number: int, noun: str) -> str:
    """`1 node`, `10,000 nodes`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def tally(counts: Mapping[str, int]) -> str:
    """`4 done, 12 unchanged`; what did not happen is left out."""
    return ", ".join(f"{number:,} {_WORDS.get(name, name)}" for name, number in counts.items() if number)


def duration(seconds: float) -> str:
    """`40 ms`, `1.2 s`, `3 min 5 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
