"""What a fleet's store and reactor take in: reports of hosts, over SQLite and over PostgreSQL, both durable.

    python bench/fleet_store.py [--hosts 1000] [--events 5000] [--at-once 200] [--folder DIR]

*one*: each report a transaction of its own, no reactor; *128*: as many in a transaction as the reactor takes together.
*plain* is the reference, run in turns with *one*: the same log row alone, written as a transaction. *check-ins*: hosts
that ask the reactor, each with a report, so many at once. Printed: events a second, milliseconds a transaction or
check-in (median, p99), and the ratio to plain. PostgreSQL is left out where it is not installed.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from requisition.services.fleet import events
from requisition.services.fleet.applier import Applier, Change
from requisition.services.fleet.events import Record
from requisition.services.fleet.fold import apply
from requisition.services.fleet.reactor import Reactor
from requisition.services.fleet.state import FleetState, Phase
from requisition.services.fleet.store import Clerk, Store
from requisition.services.fleet.store_postgres import PostgresStore
from requisition.services.fleet.store_sqlite import SqliteStore
from support import postgres

NOW = 1_800_000_000_000
ROLLOUT = "sha256:" + "1" * 64
ORDER = "sha256:" + "2" * 64
ROUNDS = 5


def report(name: str, seq: int) -> events.Report:
    said = events.Restated(Phase.CONVERGED, ROLLOUT, ORDER, "", ORDER, "", "", NOW, 1)
    return events.Report(host=name, stream="s", seq=seq, at=NOW, event=said)


def changes(fleet: FleetState, names: list[str]) -> Iterator[Change]:
    """Reports of one host after the other, without end."""
    seq = 0
    while True:
        seq += 1
        for name in names:
            fleet, todo = apply(fleet, report(name, seq), NOW)
            yield Change(fleet.number, NOW, todo)


def timed(count: int, work: Callable[[], object]) -> list[float]:
    found = []
    for _ in range(count):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


def show(what: str, spans: list[float], events: int, wall: float, beside: float = 0.0) -> None:
    p99 = statistics.quantiles(spans, n=100)[98]
    ratio = f"  {statistics.median(spans) / beside:5.2f} x plain" if beside else ""
    rate, middle = events / wall, statistics.median(spans) * 1e3
    print(f"  {what:24} {rate:9,.0f} events/s  median {middle:7.3f} ms  p99 {p99 * 1e3:7.3f} ms{ratio}")


def alone(store: Store, seat: int, names: list[str], count: int) -> None:
    applier = Applier(seat, lambda _, text: sys.exit(text), Counter())
    fleet = FleetState()
    first = []
    for name in names:
        fleet, todo = apply(fleet, events.Noted(events.Enrolled(name, "s", "")), NOW)
        first.append(Change(fleet.number, NOW, todo))
    applier.commit(store, first)
    coming, written = changes(fleet, names), fleet.number
    one: list[float] = []
    plain: list[float] = []

    def row() -> None:
        nonlocal written
        written += 1
        with store.transaction(seat) as transaction:
            transaction.append(Record(written, NOW, report("h00000", 1)))

    def shifted(few: list[Change]) -> None:
        """The log has the plain rows too."""
        nonlocal written
        numbered = [change._replace(number=written + n) for n, change in enumerate(few, 1)]
        written += applier.commit(store, numbered)

    def written_out(batches: list[list[Change]]) -> list[float]:
        feed = iter(batches)
        return timed(len(batches), lambda: shifted(next(feed)))

    for _ in range(ROUNDS):
        batches = [list(islice(coming, 1)) for _ in range(count // ROUNDS)]
        one += written_out(batches)
        plain += timed(len(batches), row)
    show("plain", plain, len(plain), sum(plain))
    show("one", one, len(one), sum(one), statistics.median(plain))
    batches = [list(islice(coming, 128)) for _ in range(max(100, count // 128))]
    many = written_out(batches)
    show("128", many, 128 * len(many), sum(many))


async def asked(store: Store, seat: int, names: list[str], count: int, at_once: int) -> None:
    clerk = Clerk(store)
    applier = Applier(seat, lambda _, text: sys.exit(text), Counter())
    reactor = Reactor(clerk, applier, lambda _: sys.exit("no rollouts here"), lambda _, text: sys.exit(text))
    serving = asyncio.create_task(reactor.run())
    await reactor.ask(lambda _turn: None)
    due = iter(range(count))
    spans: list[float] = []

    async def host() -> None:
        for number in due:
            name = names[number % len(names)]
            seq = reactor.fleet.hosts[name].seq + 1
            word = events.Heartbeat(host=name, stream="s", seq=seq)
            start = time.perf_counter()
            await reactor.check_in(word, (report(name, seq),), takes_work=True)
            spans.append(time.perf_counter() - start)

    start = time.perf_counter()
    await asyncio.gather(*(host() for _ in range(at_once)))
    show(f"check-ins, {at_once} at once", spans, count, time.perf_counter() - start)
    print(f"  {'':24} {count / applier.counts['transactions']:9.1f} events a transaction")
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    clerk.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1_000)
    parser.add_argument("--events", type=int, default=5_000)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--folder", help="where the databases are; a folder on the disk that is to be measured")
    given = parser.parse_args()
    names = [f"h{number:05d}" for number in range(given.hosts)]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=given.folder))
        stores: dict[str, Callable[[], Store]] = {"SQLite": lambda: SqliteStore(f"{folder}/fleet.db")}
        if not postgres.WHY_NOT:
            address = stack.enter_context(postgres.Server(durable=True)).emptied()
            stores["PostgreSQL"] = lambda: PostgresStore(address)
        for title, opened in stores.items():
            print(f"{title}, {given.hosts:,} hosts")
            store = opened()
            seat = store.sit(store.seat(), "bench")
            assert seat is not None
            alone(store, seat.number, names, given.events)
            asyncio.run(asked(store, seat.number, names, given.events, given.at_once))


if __name__ == "__main__":
    main()
