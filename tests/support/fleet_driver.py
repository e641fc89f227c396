"""Kills a fleet's server again and again while hosts report to it, and looks at what it left on the disk.

    python -m support.fleet_driver sqlite:PATH|ADDRESS SEED KILLS [stopped]

Imported once; each server is a forked child, killed after some number of things it said: each acknowledgement, each offer
handed out. What it said must be in the store; the store must be what its log adds up to. The last server is let
live until every host stands on the last rollout. Prints how many events there were and how many were acknowledged.
With `stopped`, each server is not killed but stopped, goes on when another one has taken its seat, and must then end.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from functools import cache
from random import Random
from typing import IO

from msgspec.structs import replace

from requisition.services.fleet import events
from requisition.services.fleet.applier import Applier
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.reactor import NotTaken, Reactor
from requisition.services.fleet.rollout import Tip
from requisition.services.fleet.state import FleetState, HostState, Phase, Settings
from requisition.services.fleet.store import Clerk, Paper, Store, rebuilt
from requisition.services.fleet.store_postgres import PostgresStore
from requisition.services.fleet.store_sqlite import SqliteStore
from requisition.services.fleet.turn import Answer
from support.fleets import OLD, made

HOSTS = tuple(f"h{number:02}" for number in range(12))
ENDLESS = 1 << 30
FENCED = 7


def opened(address: str) -> Store:
    return SqliteStore(address[7:]) if address.startswith("sqlite:") else PostgresStore(address)


@cache
def read(data: bytes) -> Layout:
    """The rollout of a serial, which is what its document is here."""
    return made([HOSTS[:2], HOSTS[2:]], serial=int(data))


class Served:
    """A server over the store, and its hosts, which know of themselves what it knows of them."""

    def __init__(self, address: str, seed: int, output: int, last: int) -> None:
        self.random, self.output, self.last = Random(seed), output, last
        store = opened(address)
        seat = store.sit(store.seat(), f"server {seed}")
        assert seat is not None
        self.store, self.clerk = store, Clerk(store)
        applier = Applier(seat.number, lambda *_: None, Counter())
        self.reactor = Reactor(self.clerk, applier, read, lambda *_: None, wait=lambda _: asyncio.sleep(0.01))

    def say(self, *words: object) -> None:
        os.write(self.output, (" ".join(map(str, words)) + "\n").encode())

    async def serve(self) -> None:
        server = asyncio.create_task(self.reactor.run())
        await self.reactor.ask(lambda turn: None)
        if not self.reactor.fleet.hosts:
            for name in HOSTS:
                await self.reactor.take(events.Noted(events.Enrolled(name, "s", "")))
            await self.reactor.take(events.Noted(events.Configured(Settings(2_000, 2_000))))
        hosts = [asyncio.create_task(self.live(name)) for name in HOSTS]
        await asyncio.gather(*hosts)
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)
        self.clerk.close()

    async def live(self, name: str) -> None:
        """Ask, report what follows, sometimes twice; once all is done on a rollout, the first host brings the next."""
        answer = Answer(0, 0, 0, None)
        while not (done := self.done()) or not self.is_last():
            if done and name == HOSTS[0]:
                await self.publish()
            host = self.reactor.fleet.hosts[name]
            reports = [
                events.Report(host=name, stream="s", seq=host.seq + number, at=answer.at, event=event)
                for number, event in enumerate(following(host, answer), 1)
            ]
            if self.random.random() < 0.2:
                reports = [*reports, *reports]
            word = events.Heartbeat(host=name, stream="s", seq=host.seq + len(reports), heard=answer.at)
            answer = await self.reactor.check_in(word, reports, takes_work=not reports)
            if answer.acknowledged:
                self.say(name, answer.acknowledged)
            if answer.offer is not None:
                self.say("handed", name, answer.offer.number)
            await asyncio.sleep(0.001)

    async def publish(self) -> None:
        found = self.reactor.fleet.channels.get("web")
        document = b"%d" % (found.serial + 1 if found is not None else 1)
        layout = read(document)
        now = await self.reactor.ask(lambda turn: turn.now)
        tip = Tip(fleet="home", channel="web", serial=layout.rollout.serial, rollout=layout.id, signed_at=now)
        await self.reactor.publish(layout, document, tip, b"tip of " + document)

    def done(self) -> bool:
        fleet = self.reactor.fleet
        tip = fleet.channels["web"].tip if "web" in fleet.channels else ""
        return all(host.phase is Phase.CONVERGED and host.rollout == tip for host in fleet.hosts.values()) or not tip

    def is_last(self) -> bool:
        found = self.reactor.fleet.channels.get("web")
        return found is not None and found.serial >= self.last


def following(host: HostState, answer: Answer) -> list[events.HostEvent]:
    """What a host says next."""
    if host.phase is Phase.ACTIVATING:
        return [events.Activated(host.rollout, host.order)]
    if host.phase is Phase.SOAKING:
        return [events.Converged(host.rollout, host.order)]
    offer = answer.offer
    if offer is None or offer.rollout == host.rollout:
        return []
    return [
        events.Began(offer.rollout, offer.order, host.order or OLD, offer.number),
        events.Activated(offer.rollout, offer.order),
    ]


def looked_at(address: str, said: list[list[str]]) -> int:
    """Compare what a server said before it was killed with what it left. Gives how many events there were so far."""
    store = opened(address)
    try:
        layouts = {name: read(data) for name, data in store.papers(Paper.ROLLOUT).items()}
        fleet = store.load().fleet(layouts, 0)
        again = rebuilt(store, layouts)
        for field in FleetState.__struct_fields__:
            assert getattr(again, field) == getattr(fleet, field), field
        for words in said:
            if words[0] == "handed":
                assert fleet.hosts[words[1]].dispatches >= int(words[2]), words
            else:
                assert fleet.hosts[words[0]].seq >= int(words[1]), words
        for name, host in fleet.hosts.items():
            records = store.log(0, 1_000_000, about="host", name=name)
            seqs = [one.event.seq for one in records if isinstance(one.event, events.Report)]
            assert seqs == list(range(host.seq - len(seqs) + 1, host.seq + 1)), f"{name}: a report lost, or there twice"
            offer = host.dispatch if host.dispatch is not None and not host.dispatch.withdrawn else None
            assert store.outbox(name) == (offer and replace(offer, handed_at=0)), name
        return fleet.number
    finally:
        store.close()


def begun(address: str, seed: int, last: int) -> tuple[int, IO[str]]:
    """A server, and what it says. It ends with FENCED when it lost its seat."""
    source, sink = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(source)
        try:
            asyncio.run(Served(address, seed, sink, last).serve())
        except NotTaken:
            os._exit(FENCED)
        os._exit(0)
    os.close(sink)
    return pid, os.fdopen(source, encoding="ascii")


def one_late(address: str, seed: int, random: Random) -> list[list[str]]:
    """Stop a server, let another take over, let the first go on: it ends. Then the other is killed."""
    first, says = begun(address, seed, ENDLESS)
    said = [line for line, _ in zip(says, range(random.randrange(1, 40)), strict=False)]
    before = len(said)
    os.kill(first, signal.SIGSTOP)
    other, says_too = begun(address, seed + 1, ENDLESS)
    said += [line for line, _ in zip(says_too, range(random.randrange(1, 40)), strict=False)]
    took_over = len(said)
    os.kill(first, signal.SIGCONT if took_over > before else signal.SIGKILL)
    assert took_over > before, "the other one did not take over"
    with says:
        said += says
    _, status = os.waitpid(first, 0)
    assert os.waitstatus_to_exitcode(status) == FENCED, f"it lost its seat, and ended with {status}"
    os.kill(other, signal.SIGKILL)
    with says_too:
        said += says_too
    os.waitpid(other, 0)
    return [line.split() for line in said if line.endswith("\n")]


def one_life(address: str, seed: int, after: int, last: int) -> list[list[str]]:
    """Let a server live until it said so many things (0: to its end). Gives what it said."""
    pid, lines = begun(address, seed, last)
    with lines:
        said = []
        for line in lines:
            said.append(line)
            if len(said) == after:
                os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) if after else status == 0, f"it ended by itself: {status}"
    return [line.split() for line in said if line.endswith("\n")]


def main(address: str, seed: int, kills: int, *how: str) -> None:
    random, number, acknowledged = Random(seed), 0, 0
    for kill in range(kills):
        if how:
            said = one_late(address, seed + 2 * kill, random)
        else:
            said = one_life(address, seed + kill, random.randrange(1, 60), ENDLESS)
        found = looked_at(address, said)
        assert found >= number, "the log became shorter"
        number, acknowledged = found, acknowledged + len(said)
    store = opened(address)
    found = {one.name: one for one in store.load().channels}.get("web")
    store.close()
    said = one_life(address, seed + kills, 0, (found.serial if found else 0) + 1)
    number = looked_at(address, said)
    print(number, acknowledged + len(said))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
