"""An agent with real orders, the real runtime and a scratch root, and a server that says what a test tells it to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from requisition.schemas import canonical
from requisition.schemas.document import Order
from requisition.schemas.envelope import ORDER_TYPE
from requisition.schemas.signing import PemSigner
from requisition.services.clock import Clock
from requisition.services.fleet import events, rollout, sealed
from requisition.services.fleet.agent.config import Settings
from requisition.services.fleet.agent.link import Answer, Ask, Failing, Offer, Pieces, Unreachable
from requisition.services.fleet.agent.main import Agent, World, opened
from requisition.services.fleet.authority import opened_report
from requisition.services.fleet.events import COMMAND_TYPE, Command, Report, Verb
from requisition.services.fleet.layout import Layout, layout
from requisition.services.fleet.rollout import ROLLOUT_TYPE, TIP_TYPE, Probe, Tip
from requisition.services.fleet.sealed import Sealed, seal
from support.fleets import START, made
from support.orders import OrderBuilder

HOST = "web1"
PIECE = 1000


def signer(name: str) -> PemSigner:
    """The same key for the same name."""
    return PemSigner(Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b".")), name)


RELEASE, AUTHOR, ADA, AGENT, EVE = (signer(name) for name in ("release", "author", "ada", "agent", "eve"))
AGENT_KEY = AGENT.public


class Hands:
    """A clock that a test turns, in milliseconds; `boot` is which start of the machine this is."""

    def __init__(self) -> None:
        self.wall, self.ticks, self.boot = START, 5_000_000, "boot-1"

    def pass_(self, span: int) -> None:
        self.wall += span
        self.ticks += span

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.wall / 1000, lambda: self.ticks / 1000)


class Depot:
    """A server, in the agent's own process. It keeps reports as a good one does; what it offers and hands out is what a
    test put there. `answer` may change what it says, `down` says that nobody answers."""

    def __init__(self, hands: Hands) -> None:
        self.hands = hands
        self.documents: dict[str, bytes] = {}
        self.contents: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.heard: list[Report] = []
        self.words: list[events.Heartbeat] = []
        self.offer: Offer | None = None
        self.answer: Callable[[Answer], Answer | bytes] = lambda answer: answer
        self.down = False
        self.deaf = False
        self.number = 0

    async def ask(self, body: bytes) -> Pieces:
        if self.down:
            raise Unreachable.of("nobody answers")
        found = msgspec.json.decode(body, type=Ask)
        self.words.append(found.word)
        for data in () if self.deaf else found.reports:
            report = opened_report(sealed.read(data, "report"), HOST, AGENT_KEY)
            assert report.seq <= len(self.heard) + 1, "a number was left out"
            if report.seq == len(self.heard) + 1:
                self.heard.append(report)
            assert self.heard[report.seq - 1] == report, "a number was given twice"
        answer = Answer(at=self.hands.wall, stream=found.word.stream, acknowledged=len(self.heard), offer=self.offer)
        said = self.answer(answer)
        yield said if isinstance(said, bytes) else msgspec.json.encode(said)

    async def document(self, digest: str) -> Pieces:
        async for piece in self._handed(digest, self.documents):
            yield piece

    async def content(self, digest: str) -> Pieces:
        async for piece in self._handed(digest, self.contents):
            yield piece

    async def _handed(self, digest: str, source: dict[str, bytes]) -> Pieces:
        self.asked.append(digest)
        if self.down or digest not in source:
            raise Unreachable.of("it is not there now", where=digest)
        data = source[digest]
        for start in range(0, len(data), PIECE):
            yield data[start : start + PIECE]

    @property
    def kinds(self) -> list[str]:
        """What the host reported, by name."""
        return [type(report.event).__name__ for report in self.heard]

    @property
    def last(self) -> Any:
        return self.heard[-1].event


class Site:
    """A machine below a folder, its files, and who signs for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root"
        self.root.mkdir()
        self.hands = Hands()
        self.depot = Depot(self.hands)
        self.serial = 0
        self.said: list[str] = []
        self.trust = folder / "fleet-trust.yaml"
        self.trust.write_text(
            f'version: "1"\nfleet: home\nrelease:\n  current: {RELEASE.public.openssh()}\n'
            f"operators:\n  ada: {ADA.public.openssh()}\n"
        )
        orders = folder / "trust.yaml"
        orders.write_text(f"keys:\n  author:\n    key: {AUTHOR.public.openssh()}\n")
        for file in (self.trust, orders):
            file.chmod(0o600)
        self.settings = Settings(
            host=HOST,
            key="",
            trust=str(self.trust),
            orders=str(orders),
            state=str(folder / "agent"),
            runtime_state=str(folder / "runtime"),
            root=str(self.root),
            poll=60.0,
            largest=1 << 20,
            secrets={},
            restart_mark=str(folder / "restart"),
        )

    @asynccontextmanager
    async def agent(self, **changes: Any) -> AsyncIterator[Agent]:
        """The agent, started; ended on leaving."""
        world = World(self.hands.clock, self.hands.boot, lambda: 0.5, lambda: "stream-1")
        settings = msgspec.structs.replace(self.settings, **changes)
        async with opened(settings, self.depot, AGENT, world, self.said.append) as agent:
            yield agent

    # -- what is signed

    def order(
        self,
        number: int,
        *,
        fails: bool = False,
        runs: Sequence[str] = (),
        by: PemSigner = AUTHOR,
        size: int = 3000,
        data: str = "",
        **fields: Any,
    ) -> str:
        """Put an order into the depot that writes `number` to /version, copies a file and then runs a program; its
        name."""
        builder = OrderBuilder(self.folder / f"package-{number}", self.root, serial=number)
        write = builder.node("file.write", path="/version", content=f"{number}\n", on_conflict="overwrite")
        content = data.encode() or f"{number}\n".encode() * (size // 2)
        copied = builder.node(
            "file.copy", source=builder.input("data", content), path="/data", on_conflict="overwrite", needs=[write]
        )
        if then := ["false"] if fails else runs:
            builder.node("shell.exec", argv=list(then), checks_only=True, needs=[copied])
        return self.put_order(builder.order(**fields), builder.folder, by)

    def put_order(self, order: Order, folder: Path, by: PemSigner = AUTHOR) -> str:
        payload = canonical.encode(order)
        name = rollout.digest(payload)
        self.depot.documents[name] = sealed.write(seal(ORDER_TYPE, payload, by))
        for item in order.inputs:
            self.depot.contents[f"sha256:{item.sha256}"] = (folder / item.path).read_bytes()
        return name

    def rollout(self, order: str, *, host: str = HOST, probes: tuple[Probe, ...] = (), **fields: Any) -> Layout:
        self.serial += 1
        plain = made([[host]], order=order, serial=fields.pop("serial", self.serial), soak=fields.pop("soak", 0),
                     on_failure=fields.pop("on_failure", "rollback-and-halt")).rollout  # fmt: skip
        return layout(replace(plain, probes=probes, **fields))

    def publish(self, found: Layout, *, by: PemSigner = RELEASE, **tip: Any) -> Offer:
        """Sign a rollout and its tip, and offer it; `by` signs both."""
        self.depot.documents[found.id] = sealed.write(seal(ROLLOUT_TYPE, rollout.payload(found.rollout), by))
        return self.put_offer(found, self.tip(found, by, **tip))

    def tip(self, found: Layout, by: PemSigner = RELEASE, **fields: Any) -> Sealed:
        what = {"fleet": "home", "channel": "web", "serial": found.rollout.serial, "rollout": found.id,
                "signed_at": self.hands.wall}  # fmt: skip
        return seal(TIP_TYPE, rollout.payload(Tip(**(what | fields))), by)

    def put_offer(self, found: Layout, tip: Sealed, **fields: Any) -> Offer:
        self.depot.number += 1
        order = found.rollout.targets[0].order
        offer = Offer(self.depot.number, found.id, order, tip=sealed.write(tip))
        self.depot.offer = msgspec.structs.replace(offer, **fields)
        return self.depot.offer

    def recall(self, found: Layout, verb: bytes = b"", proofs: tuple[Failing, ...] = ()) -> None:
        self.depot.number += 1
        order = found.rollout.targets[0].order
        self.depot.offer = Offer(self.depot.number, found.id, order, recall=True, verb=verb, proofs=proofs)

    def verb(self, verb: Verb, by: PemSigner = ADA) -> bytes:
        command = Command(fleet="home", nonce="n" * 16, signed_at=self.hands.wall, verb=verb)
        return sealed.write(seal(COMMAND_TYPE, rollout.payload(command), by))

    # -- what is there

    def version(self) -> str:
        """What the last order wrote, "" for nothing."""
        file = self.root / "version"
        return file.read_text().strip() if file.exists() else ""

    async def until(self, agent: Agent, holds: Callable[[], bool]) -> None:
        """Let the agent speak with the server whenever it has news, and end what it begins, until something holds."""
        try:
            async with asyncio.timeout(20):
                while True:
                    agent.shell.news.clear()
                    await agent.courier.round()
                    await agent.shell.settled()
                    if holds():
                        return
                    await agent.shell.news.wait()
        except TimeoutError:
            raise AssertionError(f"it never was so\n{agent.shell.state}\n{self.depot.heard}\n{self.said}") from None

    async def seen(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that comes about by itself."""
        try:
            async with asyncio.timeout(20):
                while not holds():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"it never was so\n{self.depot.heard}\n{self.said}") from None
