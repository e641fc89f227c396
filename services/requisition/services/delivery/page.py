"""The status page: HTML from what is known, no script, nothing that can be clicked to change anything.

Every name in it comes from folders and far ends that nobody may have looked at: all of it is escaped.
"""

import html
from collections.abc import Iterable
from importlib.resources import files

from requisition.schemas.quantities import size_text
from requisition.services.clock import timestamp
from requisition.services.delivery.job import Event, Finding, Job
from requisition.services.delivery.overview import Detail, Overview, Place, Shown
from requisition.services.delivery.states import MEANING, State

REFRESH = 5
_TONE = {
    State.QUEUED: "idle",
    State.RUNNING: "busy",
    State.AWAITING_VERIFY: "busy",
    State.VERIFIED: "good",
    State.CLEANUP_ELIGIBLE: "good",
    State.CLEANED: "good",
    State.BLOCKED: "bad",
    State.FAILED: "bad",
    State.CANCELLED: "idle",
}


def style() -> str:
    """The style sheet, for light and dark."""
    return files(__package__).joinpath("page.css").read_text("utf-8")


def overview_page(shown: Overview) -> str:
    """All destinations with their jobs."""
    return _document(
        "Delivery",
        [
            "<header><h1>Delivery</h1>",
            f'<p class="soft">{_e(timestamp(shown.now))}, again every {REFRESH} s</p></header>',
            *(part for place in shown.places for part in _place(place, shown.now)),
        ],
    )


def detail_page(shown: Detail) -> str:
    """One job with all that is known of it."""
    job = shown.shown.job
    facts = [
        ("destination", job.destination),
        ("target", job.target),
        ("state", f"{job.state}: {MEANING[job.state]}"),
        ("size", f"{size_text(job.bytes)} in {job.files:,} files" if job.manifest else "not hashed yet"),
        ("manifest", job.manifest),
        ("attempts", str(job.attempts)),
        ("passes", f"{job.passes}, the last at {timestamp(job.verified_at)}" if job.passes else "0"),
        ("error", f"{job.error_kind}: {job.error}" if job.error else ""),
        ("overridden", "; ".join(f"{one.rule}: {one.reason} ({one.who})" for one in shown.overrides)),
    ]
    return _document(
        job.source,
        [
            f"<header><h1>{_e(job.source)}</h1>",
            f'<p class="soft">job {_e(job.id)} · <a href="/">all jobs</a></p></header>',
            "<section><dl>",
            *(f"<dt>{name}</dt><dd>{_e(value)}</dd>" for name, value in facts if value),
            "</dl>",
            _progress(shown.shown),
            "<h3>Findings</h3>" if shown.shown.findings else "",
            _findings(shown.shown.findings),
            "<h3>May the source go?</h3>" if shown.shown.interlocks else "",
            _interlocks(shown.shown),
            "<h3>History</h3>",
            _history(shown.history),
            "</section>",
        ],
    )


def _document(title: str, parts: Iterable[str]) -> str:
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH}"><title>{_e(title)}</title>'
        '<link rel="stylesheet" href="/page.css"></head><body>'
    )
    return head + "\n".join(part for part in parts if part) + "</body></html>\n"


def _place(place: Place, now: float) -> Iterable[str]:
    yield f'<section><div class="head"><h2>{_e(place.name)}</h2><span class="soft">{_e(place.where)}</span>'
    yield f'<span class="soft">{_e(place.speed)}</span>'
    if place.paused:
        yield f'<span class="warn">paused: {_e(place.paused)}</span>'
    yield '</div><ul class="tally">'
    yield from (
        f'<li class="{_TONE[state]}">{count:,} {_e(_words(state))}</li>'
        for state in State
        if (count := place.counts.get(state, 0))
    )
    yield "</ul>"
    if not place.jobs:
        yield '<p class="soft">No job.</p></section>'
        return
    heads = "".join(f"<th>{head}</th>" for head in ("job", "source → target", "state", "what there is to say"))
    yield f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>'
    yield from (_row(one, now) for one in place.jobs)
    yield "</tbody></table></div>"
    if hidden := sum(place.counts.values()) - len(place.jobs):
        yield f'<p class="soft">{hidden:,} more: plan delivery list</p>'
    yield "</section>"


def _row(shown: Shown, now: float) -> str:
    job = shown.job
    return (
        f'<tr><td class="id"><a href="/job/{_e(job.id)}">{_e(job.id[:8])}</a></td>'
        f'<td>{_e(job.source)}<br><span class="soft">→ {_e(job.target)}</span></td>'
        f'<td><span class="state {_TONE[job.state]}">{_e(_words(job.state))}</span></td>'
        f'<td class="wide">{_progress(shown)}{_trouble(job, now)}{_findings(shown.findings)}{_interlocks(shown)}</td>'
        "</tr>"
    )


def _progress(shown: Shown) -> str:
    job, progress = shown.job, shown.progress
    if job.state is not State.RUNNING or not job.bytes:
        return ""
    sent = progress.sent if progress else job.sent
    text = f"{size_text(sent)} of {size_text(job.bytes)}"
    if progress and progress.rate:
        text += f", {size_text(progress.rate)}/s"
    if progress and progress.eta is not None:
        text += f", {progress.eta:.0f} s left"
    return f'<p><progress max="{job.bytes}" value="{min(sent, job.bytes)}"></progress> {_e(text)}</p>'


def _trouble(job: Job, now: float) -> str:
    if not job.error:
        return ""
    after = max(0.0, job.next_attempt - now)
    again = f", again in {after:.0f} s" if job.state is State.QUEUED and job.next_attempt else ""
    return f'<p class="bad">{_e(f"{job.error_kind}: {job.error}")}{again}</p>'


def _findings(found: Iterable[Finding]) -> str:
    lines = "".join(
        f'<li><span class="{"bad" if one.hard else "warn"}">{_e(one.rule)}</span> {_e(one.path)} '
        f'<span class="soft">{_e(one.detail)}</span></li>'
        for one in found
    )
    return f'<ul class="why">{lines}</ul>' if lines else ""


def _interlocks(shown: Shown) -> str:
    lines = "".join(
        f'<li><span class="{"good" if one.holds else "idle"}">{"✓" if one.holds else "✗"}</span> {_e(one.name)} '
        f'<span class="soft">{_e(one.why)}</span></li>'
        for one in shown.interlocks
    )
    return f'<ul class="why">{lines}</ul>' if lines else ""


def _history(history: Iterable[Event]) -> str:
    lines = "".join(
        f'<tr><td class="id">{_e(timestamp(one.at))}</td><td>{_e(one.who)}</td><td>{_e(_step(one))}</td>'
        f"<td>{_e(one.why)}</td></tr>"
        for one in history
    )
    return f'<div class="scroll"><table><tbody>{lines}</tbody></table></div>'


def _step(event: Event) -> str:
    if event.old in ("", event.new):
        return _words(event.new)
    return f"{_words(event.old)} → {_words(event.new)}"


def _words(state: str) -> str:
    return state.replace("_", " ")


def _e(text: str) -> str:
    return html.escape(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
