"""Histories as they are shown: runs and what they did to paths, flat and as trees."""

from collections.abc import Iterable, Iterator, Sequence

from requisition.cli.drawing import ICONS, counted, tally
from requisition.cli.output import Output
from requisition.review.history.moments import shown
from requisition.review.history.questions import Event, Ran
from requisition.schemas.receipt import Left

_KINDS = {"file": "file", "dir": "directory", "absent": "absent"}
_STATES = {"executed": "good", "failed": "bad", "rolled_back": "warn", "interrupted": "bad"}


def described(left: Left | None) -> str:
    """How a path was left, in a few words."""
    if left is None:
        return "as root left it"
    if left.kind == "token":
        return left.token
    if left.kind == "link":
        return f"link to {left.target}"
    if left.kind == "absent":
        return "absent"
    content = f", {counted(left.size, 'byte')}" if left.kind == "file" and left.size >= 0 else ""
    digest = f", sha256 {left.sha256[:12]}…" if left.sha256 and not left.sealed else ""
    return f"{_KINDS[left.kind]} {left.mode:04o}{content}{digest}" + (", with a secret in it" if left.sealed else "")


def named(ran: Ran) -> str:
    """The package of a run, with its version."""
    return f"{ran.package} {ran.version}".rstrip()


def state(ran: Ran, output: Output) -> str:
    """How a run ended, and whether a part of it was taken back since."""
    word = ran.outcome if ran.state == "executed" else ran.state.replace("_", " ")
    if ran.taken_back and ran.state == "executed":
        word = "in part taken back"
    return output.style(f"{word:<11}", _STATES[ran.state])


def run_line(ran: Ran, output: Output, *, packages: bool = True) -> str:
    """One run."""
    whose = f"  {named(ran)}" if packages else ""
    where = f"{ran.host}:{ran.root}" if ran.host else ran.root
    counts = output.style(tally(ran.counts), "dim")
    half = "  with a half as root" if ran.half is not None else ""
    return (
        f"{shown(ran.started)}  {state(ran, output)}{whose}  {output.style(where, 'path')}  {counts}{half}  {ran.run}"
    )


def run_tree(runs: Iterable[Ran], output: Output) -> Iterator[str]:
    """Runs by package; those of a tree stand with every package of it."""
    by_package: dict[str, list[Ran]] = {}
    for ran in runs:
        for package in ran.packages or (ran.package,):
            by_package.setdefault(package, []).append(ran)
    for package in sorted(by_package):
        found = by_package[package]
        yield f"{output.style(package, 'head')}  {counted(len(found), 'run')}"
        for ran in found:
            yield f"  {run_line(ran, output, packages=ran.package != package)}"


def event_line(event: Event, output: Output, *, path: bool = True) -> str:
    """What one run did to one path."""
    icon, style = ICONS[event.status]
    if event.status == "done" and event.left is not None and event.left.kind == "absent":
        icon, style = ICONS["gone"]
    what = described(event.left) if event.status in ("done", "unchanged") else _undone(event)
    again = ""
    if event.last is not None:
        again = f"; found so {counted(event.confirmed, 'time')} since, last {shown(event.last.started)}"
    place = f"  {output.style(event.path, 'path')}" if path else ""
    head = f"{shown(event.ran.started)}  {output.style(icon, style)}{place}  {what}{again}"
    return f"{head}  {output.style(f'{event.node}  {event.ran.run}', 'dim')}"


def _undone(event: Event) -> str:
    word = {"failed": "failed", "rolled_back": "taken back", "undo_failed": "could not be taken back"}[event.status]
    return f"{word}: {described(event.left)}" if event.left is not None else word


def event_tree(events: Iterable[Event], output: Output) -> Iterator[str]:
    """Paths as a tree of folders, each with what was done to it. What is no file stands by itself."""
    by_path: dict[tuple[str, ...], list[Event]] = {}
    for event in events:
        root = f"{event.ran.host}:{event.ran.root}" if event.ran.host else event.ran.root
        inner = event.path.removeprefix("/").split("/") if event.path.startswith("/") else [event.path]
        by_path.setdefault((root, *inner), []).append(event)
    before: tuple[str, ...] = ()
    for parts in sorted(by_path):
        same = 0
        while same < min(len(parts) - 1, len(before)) and parts[same] == before[same]:
            same += 1
        for depth in range(same, len(parts)):
            folder = "/" if depth < len(parts) - 1 and not parts[depth].endswith("/") else ""
            yield "  " * depth + output.style(parts[depth] + folder, "path")
        for event in by_path[parts]:
            yield "  " * len(parts) + event_line(event, output, path=False)
        before = parts


def origin(event: Event, output: Output, receipt: str) -> Iterator[str]:
    """Which package, phase, node, line, order, signers, run and receipt made a path what it is."""
    ran = event.ran
    yield f"{output.style(event.path, 'head')}  in {output.style(ran.root, 'path')}" + (
        f" on {ran.host}" if ran.host else ""
    )
    phase = event.phase.partition("/")[2] or event.phase
    who = ", ".join(f"{one.signer or one.keyid} ({one.method})" for one in ran.admitted)
    again = "nobody looked since"
    if event.last is not None:
        again = f"{counted(event.confirmed, 'time')}, last by {event.last.run}, {shown(event.last.started)}"
    yield from _rows(
        ("left as", described(event.left)),
        ("made by", f"{event.package}, phase {phase}, {event.node}"),
        ("line", event.location or "not recorded"),
        ("order", f"{ran.order} of {named(ran)}  {ran.checksum}"),
        ("signed by", who or "nobody: it was applied unsigned"),
        ("run", f"{ran.run}, {shown(ran.started)} UTC"),
        ("receipt", f"{receipt}  {ran.receipt}"),
        ("as root", f"run {ran.half.run_id}, receipt {ran.half.receipt}" if ran.half and event.left is None else ""),
        ("found so", again),
        output=output,
    )


def _rows(*rows: tuple[str, str], output: Output) -> Iterator[str]:
    for name, text in rows:
        if text:
            yield f"  {output.style(f'{name:<10}', 'dim')}{text}"


def blame_lines(events: Sequence[Event], others: Iterable[str], output: Output) -> Iterator[str]:
    """Every path with the run, package and node that made it so, and those that no run made."""
    lines = {(event.ran.root, event.path): event for event in events}
    width = min(max((len(event.path) for event in events), default=0), 60)
    rows = [(path, root, event) for (root, path), event in lines.items()]
    unknown = [(path, "", None) for path in others]
    for path, _, event in sorted([*rows, *unknown], key=lambda row: row[:2]):
        if event is None:
            yield f"{output.style('?', 'warn')} {path:<{width}}  {output.style('unmanaged', 'dim')}"
            continue
        ran = event.ran
        node = f"{event.node}  {event.location}"
        yield (
            f"{output.style('✓', 'good')} {output.style(f'{path:<{width}}', 'path')}  {shown(ran.started)}"
            f"  {event.package}  {node}  {output.style(ran.run, 'dim')}"
        )
