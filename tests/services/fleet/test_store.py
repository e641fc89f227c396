"""What every store promises, whatever database is behind it."""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from requisition.schemas.diagnostic import BadInput, Conflicted, Failed
from requisition.services.fleet import events
from requisition.services.fleet.applier import Applier
from requisition.services.fleet.events import Record
from requisition.services.fleet.state import ChannelState, Dispatch, FleetState, HostState, Quarantined, Settings
from requisition.services.fleet.store import Fenced, Kind, Paper, Saved, Seat, Store, rebuilt
from requisition.services.fleet.store_postgres import PostgresStore
from requisition.services.fleet.store_sqlite import SqliteStore
from support import postgres
from support.fleet_stir import HOSTS, Stirred, lasting, opened
from support.fleets import DAY, START, order_of

Opener = Callable[[], Store]
HOST = HostState(name="a", stream="s")


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    if postgres.WHY_NOT:
        pytest.skip(postgres.WHY_NOT)
    with postgres.Server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def new(request, tmp_path) -> Iterator[Callable[[], Opener]]:
    """Gives openers of new, empty databases; each opening of one is a connection of its own."""
    stores: list[Store] = []
    count = iter(range(1_000_000))

    def database() -> Opener:
        if request.param == "sqlite":
            path = str(tmp_path / f"{next(count)}.db")
            one: Opener = lambda: SqliteStore(path)  # noqa: E731
        else:
            address = request.getfixturevalue("server").emptied()
            one = lambda: PostgresStore(address)  # noqa: E731

        def opener() -> Store:
            stores.append(one())
            return stores[-1]

        return opener

    yield database
    for store in stores:
        store.close()


@pytest.fixture
def opener(new) -> Opener:
    return new()


@pytest.fixture
def store(opener) -> Store:
    return opener()


def enrolled(number: int, host: str = "a", at: int = START) -> Record:
    return Record(number, at, events.Noted(events.Enrolled(host, f"s{number}", "")))


def seated(store: Store) -> Seat:
    seat = store.sit(store.seat(), "test")
    assert seat is not None
    return seat


# -- the law


def stir(store: Store, seed: int, steps: int) -> tuple[Stirred, Applier]:
    """A random life of a fleet, written in transactions of random size."""
    table = Stirred(seed)
    applier = Applier(seated(store).number, lambda _level, _text: None, Counter())
    for _ in range(steps):
        table.step()
        if table.random.random() < 0.3:
            changes = table.fetched()
            assert applier.commit(store, changes) == len(changes)
    changes = table.fetched()
    assert applier.commit(store, changes) == len(changes)
    return table, applier


def same(found: FleetState, wanted: FleetState) -> None:
    for field in FleetState.__struct_fields__:
        assert getattr(found, field) == getattr(wanted, field), field


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 32), steps=st.integers(1, 120))
def test_rows_log_and_memory_are_one_state_after_any_life(new, seed, steps):
    store = new()()
    table, applier = stir(store, seed, steps)
    layouts = {name: opened(data) for name, data in store.papers(Paper.ROLLOUT).items()}
    same(lasting(store.load().fleet(layouts, 0)), lasting(table.fleet))
    same(rebuilt(store, layouts), lasting(table.fleet))
    for name in HOSTS:
        host = table.fleet.hosts.get(name)
        offer = host.dispatch if host and host.dispatch and not host.dispatch.withdrawn else None
        assert store.outbox(name) == (offer and replace(offer, handed_at=0))
    assert applier.counts["transactions_failed"] == 0


def test_what_was_read_again_by_another_connection_is_the_same(opener):
    stir(opener(), 7, 60)
    one, other = opener(), opener()
    assert one.load() == other.load()
    assert one.load().number > 0


# -- transactions


def test_a_new_store_is_an_empty_fleet(store):
    assert store.load() == store.base() == Saved()
    assert (store.log(0), store.outbox("a"), store.paper(Paper.TIP, "web"), store.papers(Paper.ROLLOUT)) == (
        [],
        None,
        None,
        {},
    )
    assert store.seat() == Seat(0, "", 0)


def test_a_transaction_that_fails_leaves_nothing(store):
    seat = seated(store)
    with pytest.raises(Conflicted), store.transaction(seat.number) as transaction:  # noqa: PT012  (a block is the point)
        transaction.append(enrolled(1))
        transaction.put(Kind.HOST, "a", HOST)
        transaction.use_nonce("nonce", START, 0)
        transaction.file(Paper.TIP, "web", b"tip")
        transaction.append(enrolled(1))
    assert store.load() == Saved()
    assert store.log(0) == []
    assert store.paper(Paper.TIP, "web") is None


def test_a_number_of_the_log_is_used_once_and_none_is_left_out(store):
    seat = seated(store)
    with store.transaction(seat.number) as transaction:
        transaction.append(enrolled(1))
    for number in (0, 1, 3):
        with pytest.raises(Conflicted, match="cannot follow 1"), store.transaction(seat.number) as transaction:
            transaction.append(enrolled(number))
    assert [record.number for record in store.log(0)] == [1]


def test_every_write_but_of_the_log_can_be_done_twice(store):
    seat = seated(store)
    bad, offer = (
        Quarantined("web", order_of(1), START, "bad"),
        Dispatch(1, order_of(1), order_of(2), False, START, START),
    )
    for _ in range(2):
        with store.transaction(seat.number) as transaction:
            transaction.put(Kind.HOST, "a", HOST)
            transaction.put(Kind.CHANNEL, "web", ChannelState(name="web"))
            transaction.put(Kind.SETTINGS, "", Settings(1, 2))
            transaction.put(Kind.HINT, "release", 5)
            transaction.put(Kind.OUTBOX, "a", offer)
            transaction.keep(Kind.QUARANTINE, "web 1", bad)
            transaction.use_nonce("nonce\0", START, 0)
            transaction.file(Paper.TIP, "web", b"\0tip")
        assert store.load() == Saved(
            hosts=(HOST,), channels=(ChannelState(name="web"),), quarantined=(bad,), nonces={"nonce\0": START},
            hinted={"release": 5}, settings=Settings(1, 2),
        )  # fmt: skip
        assert (store.outbox("a"), store.paper(Paper.TIP, "web")) == (offer, b"\0tip")
    for _ in range(2):
        with store.transaction(seat.number) as transaction:
            for kind, name in ((Kind.HOST, "a"), (Kind.CHANNEL, "web"), (Kind.SETTINGS, ""), (Kind.HINT, "release")):
                transaction.drop(kind, name)
            transaction.drop(Kind.OUTBOX, "a")
            transaction.drop(Kind.QUARANTINE, "web 1")
            transaction.discard(Paper.TIP, "web")
            transaction.use_nonce("later", START + 9, START + 1)
        assert store.load() == Saved(nonces={"later": START + 9})
        assert (store.outbox("a"), store.paper(Paper.TIP, "web")) == (None, None)


def test_the_first_of_what_is_kept_stays(store):
    first, second = (Quarantined("web", order_of(1), START + n, f"reason {n}") for n in range(2))
    with store.transaction(seated(store).number) as transaction:
        transaction.keep(Kind.QUARANTINE, "web 1", first)
        transaction.keep(Kind.QUARANTINE, "web 1", second)
    assert store.load().quarantined == (first,)


def test_papers_are_kept_byte_for_byte_and_by_sort(store):
    every = bytes(range(256))
    store.put_paper(Paper.ORDER, "one", b"old")
    store.put_paper(Paper.ORDER, "one", every)
    store.put_paper(Paper.FLEET, "one", b"another")
    assert store.papers(Paper.ORDER) == {"one": every}
    assert store.paper(Paper.FLEET, "one") == b"another"


# -- the log


def test_the_log_is_read_by_host_and_by_rollout(store):
    rollout = order_of(1)
    said = [
        events.Noted(events.Enrolled("a", "s", "")),
        events.Report(host="b", stream="s", seq=1, at=START, event=events.Converged(rollout, rollout)),
        events.Command(fleet="home", nonce="n" * 16, signed_at=START, verb=events.Halt(rollout, "x")),
        events.Noted(events.Configured(Settings())),
    ]
    records = [Record(number, START, event) for number, event in enumerate(said, 1)]
    with store.transaction(seated(store).number) as transaction:
        for record in records:
            transaction.append(record)
    assert store.log(0) == records
    assert store.log(1, 2) == records[1:3]
    assert store.log(0, about="host", name="a") == records[:1]
    assert store.log(0, about="host", name="") == []
    assert store.log(0, about="rollout", name=rollout) == records[1:3]
    assert store.log(2, about="rollout", name=rollout) == records[2:3]


def test_a_cut_log_goes_on_from_the_state_it_was_cut_at(store):
    seat = seated(store)
    with store.transaction(seat.number) as transaction:
        transaction.append(enrolled(1, at=START))
        transaction.append(enrolled(2, at=START + DAY))
        transaction.put(Kind.HOST, "a", HOST)
        transaction.cut(START + DAY)
        transaction.append(enrolled(3, "b", at=START + DAY))
        transaction.put(Kind.HOST, "b", replace(HOST, name="b"))
    assert [record.number for record in store.log(0)] == [2, 3]
    assert store.base() == Saved(number=2, log_from=START + DAY, hosts=(HOST,))
    assert (store.load().number, store.load().log_from) == (3, START + DAY)


# -- the seat


def test_of_two_who_saw_the_same_seat_one_gets_it(opener):
    one, other = opener(), opener()
    seen = one.seat()
    assert one.sit(seen, "one") == Seat(1, "one", 0)
    assert other.sit(seen, "other") is None
    assert other.seat() == Seat(1, "one", 0)


def test_who_gave_a_sign_of_life_is_not_unseated_by_an_older_look(opener):
    one, other = opener(), opener()
    mine = seated(one)
    seen = other.seat()
    assert one.beat(mine) == Seat(1, "test", 1)
    assert other.sit(seen, "other") is None


def test_who_lost_the_seat_writes_nothing_and_frees_nothing(opener):
    one, other = opener(), opener()
    old, now = seated(one), seated(other)
    with pytest.raises(Fenced, match="another server plans"), one.transaction(old.number) as transaction:
        transaction.append(enrolled(1))
    assert one.beat(old) is None
    one.leave(old)
    assert other.seat() == now
    other.leave(now)
    assert one.seat() == Seat(2, "", 0)


def test_the_seat_is_not_taken_from_under_a_transaction(opener):
    """What was begun by the old holder is on the disk before the new one reads, or never will be."""
    one, other = opener(), opener()
    old = seated(one)
    seen = other.seat()
    with ThreadPoolExecutor(1) as thread:
        with one.transaction(old.number) as transaction:
            transaction.append(enrolled(1))
            taking = thread.submit(other.sit, seen, "other")
            with contextlib.suppress(TimeoutError):
                taking.result(0.2)
            assert not taking.done()
        assert taking.result(20) == Seat(2, "other", 0)
    assert other.load().number == 1
    with pytest.raises(Fenced), one.transaction(old.number):
        pass


# -- what is no store


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "f.db").write_bytes(b"no database at all\n" * 100)
    with pytest.raises(BadInput, match="cannot be read"):
        SqliteStore(str(tmp_path / "f.db"))


def test_a_newer_database_is_refused(tmp_path, server):
    SqliteStore(str(tmp_path / "f.db")).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "f.db")) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(BadInput, match="version 99"):
        SqliteStore(str(tmp_path / "f.db"))
    address = server.emptied()
    PostgresStore(address).close()
    with psycopg.connect(address) as connection:
        connection.execute("UPDATE requisition_fleet.version SET number = 99")
    with pytest.raises(BadInput, match="version 99"):
        PostgresStore(address)


@pytest.mark.parametrize(
    "address", ["host=/nowhere dbname=x password=hunter2", "postgresql://u:hunter2@/x?host=/nowhere"]
)
def test_a_password_in_the_address_is_told_to_nobody(address):
    with pytest.raises(Failed) as found:
        PostgresStore(address)
    assert "hunter2" not in str(found.value)
    assert "/nowhere" in str(found.value)
    with pytest.raises(BadInput) as bad:
        PostgresStore("hunter2 = = =")
    assert "hunter2" not in str(bad.value)


def test_two_servers_that_begin_at_once_make_one_schema(server):
    address = server.emptied()
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(lambda _: PostgresStore(address), range(4)))
    assert {store.seat() for store in stores} == {Seat(0, "", 0)}
    for store in stores:
        store.close()


@pytest.mark.skipif(bool(postgres.WHY_NOT), reason=postgres.WHY_NOT)
def test_a_database_that_went_away_and_came_back_is_used_again():
    with postgres.Server() as server:
        store = PostgresStore(server.emptied())
        seat = seated(store)
        with store.transaction(seat.number) as transaction:
            transaction.append(enrolled(1))
        server.stop()
        with pytest.raises(Failed), store.transaction(seat.number) as transaction:
            transaction.append(enrolled(2))
        with pytest.raises(Failed):
            store.load()
        server.start()
        with store.transaction(seat.number) as transaction:
            transaction.append(enrolled(2))
        assert store.load().number == 2
        store.close()
