"""Histories as they are shown: runs and what they did to paths, flat and as trees."""

import operator
from collections.abc import Iterable, Iterator
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from requisition.cli.drawing import ICONS, counted, tally
from requisition.cli.output import Output
from requisition.review.history.answers import Blame, Origin
from requisition.review.history.moments import shown
from requisition.review.history.origin import on_machine
from requisition.review.history.questions import Event, Ran
from requisition.review.values import visible
from requisition.schemas.receipt import Left

S = TypeVar("S", bound=Struct)
_KINDS = {"file": "file", "dir": "directory", "absent": "absent"}
_STATES = {"executed": "good", "failed": "bad", "rolled_back": "warn", "interrupted": "bad"}


def plain(record: S) -> S:
    """A record whose texts print, each in one line: receipts may say anything."""
    texts = {name: now for name in record.__struct_fields__ if (now := _plain(was := getattr(record, name))) is not was}
    return replace(record, **texts) if texts else record


def _plain(value: object) -> object:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Struct):
        return plain(value)
    if isinstance(value, tuple):
        inner = tuple(map(_plain, value))
        return value if all(map(operator.is_, inner, value)) else inner
    return value


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
    ran = plain(ran)
    whose = f"  {named(ran)}" if packages else ""
    where = f"{ran.host}:{ran.root}" if ran.host else ran.root
    counts = output.style(tally(ran.counts), "dim")
    half = "  with a half as root" if ran.half is not None else "  half of another run" if ran.is_half else ""
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
        yield f"{output.style(visible(package), 'head')}  {counted(len(found), 'run')}"
        for ran in found:
            yield f"  {run_line(ran, output, packages=ran.package != package)}"


def event_line(event: Event, output: Output, *, path: bool = True) -> str:
    """What one run did to one path."""
    event = plain(event)
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
            yield "  " * depth + output.style(visible(parts[depth]) + folder, "path")
        for event in by_path[parts]:
            yield "  " * len(parts) + event_line(event, output, path=False)
        before = parts


def origin(found: Origin, output: Output) -> Iterator[str]:
    """Which package, phase, node, line, order, signers, run and receipt made a path what it is; what it was before, and
    what somebody changed since."""
    found = plain(found)
    event = found.made or found.before[-1]
    where = output.style(event.ran.root, "path") + (f" on {event.ran.host}" if event.ran.host else "")
    if found.made is None:
        yield f"{output.style(event.path, 'head')}  in {where}: no run that stands made it"
    else:
        yield f"{output.style(event.path, 'head')}  in {where}"
        yield from _rows(_origin_rows(found.made, found.receipt), output)
    if found.changes is not None:
        now = output.style("; ".join(found.changes), "warn") if found.changes else output.style("as left", "good")
        yield from _rows([("now", now)], output)
    yield from _rows((("before", event_line(one, output, path=False)) for one in found.before), output)
    yield from _rows((("after", event_line(one, output, path=False)) for one in found.after), output)


def _origin_rows(event: Event, receipt: str) -> Iterator[tuple[str, str]]:
    ran = event.ran
    yield "left as", described(event.left)
    yield "made by", f"{event.package}, phase {event.phase.partition('/')[2] or event.phase}, {event.node}"
    yield "line", event.location or "not recorded"
    yield "order", f"{ran.order} of {named(ran)}, {ran.checksum}"
    who = ", ".join(f"{one.signer or one.keyid} ({one.method})" for one in ran.admitted)
    yield "signed by", who or "nobody: it was applied unsigned"
    yield "run", f"{ran.run}, {shown(ran.started)} UTC"
    yield "receipt", f"{receipt}, {ran.receipt}"
    if ran.half is not None and event.left is None:
        yield "as root", f"run {ran.half.run_id}, receipt {ran.half.receipt}"
    if event.last is not None:
        again = counted(event.confirmed, "time")
        yield "found so", f"{again} since, last by {event.last.run}, {shown(event.last.started)}"


def _rows(rows: Iterable[tuple[str, str]], output: Output) -> Iterator[str]:
    for name, text in rows:
        yield f"  {output.style(f'{name:<10}', 'dim')}{text}"


def blame_lines(found: Blame, output: Output) -> Iterator[str]:
    """Every path of the machine with the run, package and node that made it so, and those that no run made."""
    named = [(on_machine(event.ran.root, event.path), event) for event in found.paths]
    width = min(max((len(path) for path, _ in named), default=0), 80)
    gone = frozenset(found.missing)
    lines = [(path, _blame_line(path, event, width, output, there=path not in gone)) for path, event in named]
    other = output.style(*ICONS["extra"])
    lines += [
        (path, f"{other} {visible(path):<{width}}  {output.style('unmanaged', 'dim')}") for path in found.unmanaged
    ]
    return (line for _, line in sorted(lines, key=lambda line: line[0]))


def _blame_line(path: str, event: Event, width: int, output: Output, *, there: bool) -> str:
    event = plain(event)
    icon = output.style(*ICONS["done" if there else "missing"])
    node = f"{event.package}  {event.node}  {event.location}"
    place = output.style(f"{visible(path):<{width}}", "path")
    return f"{icon} {place}  {shown(event.ran.started)}  {node}  {output.style(event.ran.run, 'dim')}"
