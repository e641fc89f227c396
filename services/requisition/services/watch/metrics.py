"""What the daemon shows of itself to machines: Prometheus text exposition 0.0.4 at /metrics, and /health."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Literal

from aiohttp import web

from requisition.services.exposition import CONTENT_TYPE, Family, Labels, exposition
from requisition.services.watch.records import Counters, Listed
from requisition.services.watch.supervisor import Supervisor
from requisition.services.watch.webhook import Hooks

_STATUSES = ("new", "queued", "running", "retrying", "failed", "good", "gone")


def families(
    counters: Counters, watches: Iterable[Listed], hooks: Mapping[tuple[str, str], int] | None = None
) -> list[Family]:
    """What is shown of counters and watches. Pure."""
    watches = list(watches)
    found = [
        _of("build_info", "gauge", "The version that runs.", {(("version", version("requisition")),): 1}),
        _of("polls_total", "counter", "Remotes asked.", {(): counters.polls}),
        _of("polls_failed_total", "counter", "Remotes that did not answer.", {(): counters.polls_failed}),
        _of("polls_running", "gauge", "Remotes being asked.", {(): counters.polling}),
        _of(
            "runs_total", "counter", "Pipelines that ended.",
            {(("status", "good"),): counters.runs_good, (("status", "failed"),): counters.runs_failed},
        ),
        _of("runs_running", "gauge", "Pipelines at work.", {(): counters.running}),
        _of("notifications_failed_total", "counter", "Ends of runs that nobody could be told.", {(): counters.untold}),
        _of("paused", "gauge", "Whether a watch is paused.", _each(watches, lambda one: bool(one.kept.paused))),
        _of("failures", "gauge", "Runs that failed since a good one.", _each(watches, lambda one: one.kept.failures)),
        _of("remote_failures", "gauge", "Polls that failed in a row.", _each(watches, lambda one: one.remote.failures)),
        _of("remote_asked_timestamp_seconds", "gauge", "The last poll.", _each(watches, lambda one: one.remote.asked)),
        _of("refs", "gauge", "Branches and tags of a watch by their state.", dict(_refs(watches))),
    ]  # fmt: skip
    if hooks is not None:
        rows: dict[Labels, float] = {(("form", f), ("outcome", o)): count for (f, o), count in sorted(hooks.items())}
        found.append(_of("webhook_deliveries_total", "counter", "Webhooks that came.", rows))
    return found


def _of(name: str, kind: Literal["counter", "gauge"], text: str, samples: Mapping[Labels, float]) -> Family:
    return Family(f"requisition_watch_{name}", kind, text, tuple(samples.items()))


def _each(watches: Iterable[Listed], value: Callable[[Listed], float]) -> dict[Labels, float]:
    return {(("watch", one.kept.watch.name),): value(one) for one in watches}


def _refs(watches: Iterable[Listed]) -> Iterator[tuple[Labels, float]]:
    """Every status of every watch, also those that no ref has: a series that comes and goes cannot be watched."""
    for one in watches:
        counts = Counter(ref.status for ref in one.refs)
        for status in _STATUSES:
            yield (("watch", one.kept.watch.name), ("status", status)), counts[status]


def routes(supervisor: Supervisor, hooks: Hooks | None) -> list[web.RouteDef]:
    """/metrics, and /health: 200 as long as the daemon works and can read its state."""

    async def metrics(_: web.Request) -> web.Response:
        watches = await supervisor.list()
        found = families(supervisor.counters, watches, hooks.counts if hooks else None)
        body = await asyncio.to_thread(exposition, found)  # of 500 watches, ten milliseconds
        return web.Response(body=body.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def health(_: web.Request) -> web.Response:
        watches = await supervisor.list()
        paused = sum(bool(one.kept.paused) for one in watches)
        failing = sum(bool(one.kept.failures or one.remote.failures) for one in watches)
        return web.json_response({"status": "ok", "watches": len(watches), "paused": paused, "failing": failing})

    return [web.get("/metrics", metrics), web.get("/health", health)]
