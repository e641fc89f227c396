"""What is shown to Prometheus, by the letter of the text format, and to whoever asks for health."""

import contextlib
import http.client
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from requisition.services.exposition import CONTENT_TYPE, Family, exposition
from requisition.services.watch.config import Watch
from requisition.services.watch.metrics import families, routes
from requisition.services.watch.policy import Ref
from requisition.services.watch.records import Counters, Kept, Listed, Remote
from requisition.services.web import application, listen
from support.background import Background

SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\[\\"n])*)"')


def parsed(text):
    """Samples of a text as Prometheus reads it: name and labels → value. Fails for any line that it would not take."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP [a-z_]+ .*|TYPE [a-z_]+ (counter|gauge))", line), line
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        labels = tuple(
            (name, re.sub(r"\\(.)", lambda e: "\n" if e[1] == "n" else e[1], value))
            for name, value in LABEL.findall(match[2] or "")
        )
        assert (match[1], labels) not in found, line
        found[match[1], labels] = float(match[3])
    assert text.endswith("\n")
    return found


def listed(name, *statuses, paused="", failures=0, unreachable=0):
    refs = {"good": {"good": "a" * 40}, "failed": {"failed": "b" * 40}, "running": {"running": "c" * 40}}
    return Listed(
        kept=Kept(watch=Watch(name=name, url=f"/srv/{name}"), origin="file", paused=paused, failures=failures),
        remote=Remote(url=f"/srv/{name}", asked=1.5, failures=unreachable),
        refs=tuple(Ref(watch=name, ref=f"refs/heads/{n}", **refs[one]) for n, one in enumerate(statuses)),
    )


@given(st.text(), st.floats(allow_nan=False))
def test_any_label_and_any_number_comes_back_as_it_was(text, value):
    family = Family("a_b", "gauge", "words\nand \\more", (((("x", text), ("y", "z")), value),))
    text_of = exposition([family])
    if "\r" not in text and not set(text) & set("\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"):  # lines for str.splitlines
        assert parsed(text_of) == {("a_b", (("x", text), ("y", "z"))): value}


def test_counters_watches_and_webhooks_are_told():
    counters = Counters(polls=7, polls_failed=2, runs_good=3, runs_failed=1, running=1, untold=4)
    watches = [listed("web", "good", "good", "failed", failures=2), listed("db", paused="lunch", unreachable=5)]
    found = parsed(exposition(families(counters, watches, {("github", "woken"): 6})))

    def value(name, **labels):
        return found[f"requisition_watch_{name}", tuple(labels.items())]

    assert value("polls_total") == 7
    assert value("polls_failed_total") == 2
    assert value("runs_total", status="good") == 3
    assert value("runs_total", status="failed") == 1
    assert value("runs_running") == 1
    assert value("notifications_failed_total") == 4
    assert (value("paused", watch="web"), value("paused", watch="db")) == (0, 1)
    assert value("failures", watch="web") == 2
    assert value("remote_failures", watch="db") == 5
    assert value("remote_asked_timestamp_seconds", watch="db") == 1.5
    assert value("refs", watch="web", status="good") == 2
    assert value("refs", watch="web", status="failed") == 1
    assert value("refs", watch="db", status="failed") == 0
    assert value("webhook_deliveries_total", form="github", outcome="woken") == 6


def test_without_webhooks_there_is_nothing_about_them():
    assert "webhook" not in exposition(families(Counters(), [], None))


class Supervisor:
    def __init__(self, *watches):
        self.counters = Counters(polls=1)
        self.watches = watches

    async def list(self):
        return self.watches


def asked(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()


def test_metrics_and_health_are_served():
    supervisor = Supervisor(listed("web", "failed", failures=1), listed("db", paused="x"), listed("mail", "good"))

    @contextlib.asynccontextmanager
    async def served():
        runner = await listen(application(routes(supervisor, None)), "127.0.0.1:0")
        yield runner.addresses[0][1]
        await runner.cleanup()

    with Background(served) as port:
        status, kind, body = asked(port, "/metrics")
        assert (status, kind) == (200, CONTENT_TYPE)
        assert parsed(body.decode())["requisition_watch_polls_total", ()] == 1
        status, _, body = asked(port, "/health")
        assert status == 200
        assert json.loads(body) == {"status": "ok", "watches": 3, "paused": 1, "failing": 1}
