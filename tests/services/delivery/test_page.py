"""The page tells all that is asked for, and nothing that a name can say becomes a part of it."""

from html.parser import HTMLParser

import msgspec

from requisition.services.delivery.cleanup import Interlock
from requisition.services.delivery.job import Event, Finding, Job, Override
from requisition.services.delivery.metrics import families
from requisition.services.delivery.overview import Detail, Overview, Place, Shown
from requisition.services.delivery.page import REFRESH, detail_page, overview_page, style
from requisition.services.delivery.states import State
from requisition.services.delivery.transport import Progress
from requisition.services.exposition import exposition

NOW = 1_800_000_000.0
NASTY = "/srv/<script>alert(1)</script>\"' onload=x\n\udcff&amp;"


def job(state: State = State.QUEUED, **more: object) -> Job:
    fields = {"number": 1, "id": "00ff00ff00ff00ff", "source": "/srv/runs/a", "destination": "nas", "target": "a"}
    return Job(**(fields | {"state": state, "enqueued_at": NOW, "changed_at": NOW} | more))  # type: ignore[arg-type]


def place(*shown: Shown, **more: object) -> Place:
    counts = {state: sum(one.job.state is state for one in shown) for state in {one.job.state for one in shown}}
    fields = {"name": "nas", "where": "nas.example:/v", "paused": "", "speed": "no limit", "counts": counts}
    return Place(**(fields | {"jobs": shown} | more))  # type: ignore[arg-type]


class Read(HTMLParser):
    """A page as a browser reads it: elements, their attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Read:
    found = Read(text)
    assert not found.open
    return found


def test_each_destination_has_its_jobs_with_state_progress_findings_and_interlocks() -> None:
    sending = Shown(
        job(State.RUNNING, manifest="sha256:0", bytes=4 << 20, sent=1 << 20),
        progress=Progress(2 << 20, 4 << 20, 1 << 20, 2.0),
    )
    blocked = Shown(
        job(State.BLOCKED), findings=(Finding("secrets", hard=True, path="key.pem", detail="a private key"),)
    )
    kept = Shown(job(State.VERIFIED), interlocks=(Interlock("passes", holds=False, why="1 of 2 comparisons"),))
    again = Shown(job(error="no route to host", error_kind="network", next_attempt=NOW + 30))
    text = read(overview_page(Overview(NOW, (place(sending, blocked, kept, again, paused="lab: moving"),)))).text
    for told in (
        "2.0 MiB of 4.0 MiB, 1.0 MiB/s, 2 s left", "key.pem", "a private key", "✗ passes 1 of 2 comparisons",
        "network: no route to host, again in 30 s", "paused: lab: moving", "1 blocked", "1 running", "nas.example:/v",
    ):  # fmt: skip
        assert told in text


def test_names_stay_names() -> None:
    hostile = job(State.BLOCKED, source=NASTY, target=NASTY, error=NASTY, error_kind=NASTY, destination=NASTY)
    finding = Finding(NASTY, hard=True, path=NASTY, detail=NASTY)
    shown = Shown(hostile, (finding,), (Interlock(NASTY, holds=True, why=NASTY),))
    event = Event(hostile.id, NOW, NASTY, "queued", "blocked", NASTY)
    override = Override(1, hostile.id, NASTY, NASTY, NASTY, NOW)
    plain = Shown(job(State.BLOCKED, error="e", error_kind="k"), (Finding("r", hard=True, path="p", detail="d"),),
                  (Interlock("n", holds=True, why="w"),))  # fmt: skip
    calm = Event("j", NOW, "who", "queued", "blocked", "why")
    for rude, kind in (
        (overview_page(Overview(NOW, (place(shown, name=NASTY, where=NASTY, paused=NASTY),))),
         overview_page(Overview(NOW, (place(plain, paused="p"),)))),
        (detail_page(Detail(shown, (event,), (override,))),
         detail_page(Detail(plain, (calm,), (msgspec.structs.replace(override, rule="r", who="w", reason="r"),)))),
    ):  # fmt: skip
        seen = read(rude)
        assert [tag for tag, _ in seen.elements] == [tag for tag, _ in read(kind).elements]
        assert "<script>alert(1)</script>" in seen.text


def test_the_page_needs_no_script_and_comes_again_by_itself() -> None:
    elements = read(overview_page(Overview(NOW, (place(Shown(job())),)))).elements
    assert not [attributes for tag, attributes in elements if tag in ("script", "form") or "style" in attributes]
    assert {"http-equiv": "refresh", "content": str(REFRESH)} in [attributes for _, attributes in elements]
    assert "prefers-color-scheme: dark" in style()


def test_a_job_has_a_page_with_its_history_and_overrides() -> None:
    one = Shown(job(State.VERIFIED, manifest="sha256:abc", files=3, bytes=5000, passes=1, verified_at=NOW))
    events = (Event("j", NOW, "lab", "", "queued", "enqueued"), Event("j", NOW, "worker", "queued", "running", "begun"))
    overrides = (Override(1, "j", "empty", "it is meant to be", "lab", NOW),)
    text = read(detail_page(Detail(one, events, overrides))).text
    for told in ("queued → running", "enqueued", "empty: it is meant to be (lab)", "4.9 KiB in 3 files", "sha256:abc"):
        assert told in text


def test_what_prometheus_reads_has_every_state_of_every_destination() -> None:
    odd = 'n"a\\s\n'
    sending = Shown(job(State.RUNNING), progress=Progress(1, 2, 1000.0))
    shown = Overview(NOW, (place(sending, name=odd, paused="x", delivered=7, oldest=60.0),))
    text = exposition(families(shown))
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    label = 'destination="n\\"a\\\\s\\n"'
    assert f'requisition_delivery_jobs{{{label},state="running"}} 1' in lines
    assert sum("delivery_jobs{" in line for line in lines) == len(State)
    assert f"requisition_delivery_paused{{{label}}} 1" in lines
    assert f"requisition_delivery_sending_bytes_per_second{{{label}}} 1000" in lines
    assert f"requisition_delivery_delivered_bytes{{{label}}} 7" in lines
    assert f"requisition_delivery_oldest_queued_seconds{{{label}}} 60" in lines
