"""A fleet on a table that anything happens to, from one seed; each event gives the change that has to be written."""

from random import Random

from msgspec.structs import replace

from requisition.services.fleet import effects, events
from requisition.services.fleet.applier import Change
from requisition.services.fleet.state import FleetState, HostState, Phase, Retiring, Settings
from requisition.services.fleet.store import Paper
from support.fleets import MINUTE, OLD, Table, made, order_of

HOSTS = ("a", "b", "c", "d")
ROLLOUTS = [
    made([["a"], ["b", "c", "d"]], serial=serial, soak=MINUTE if serial % 2 else 0, probes=["answers"] * (serial % 3 == 0),
         on_failure="rollback-and-halt" if serial % 2 else "halt")
    for serial in range(1, 7)
]  # fmt: skip


class Stirred(Table):
    """`changes`: what was not fetched yet. `documents`: the layouts of all rollouts, by the bytes they are kept as."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.changes: list[Change] = []
        self.serial = 0
        super().__init__(*HOSTS)

    def take(self, event: events.Event) -> tuple[effects.Effect, ...]:
        found = super().take(event)
        self.changes.append(Change(self.fleet.number, self.now, found))
        return found

    def fetched(self) -> list[Change]:
        changes, self.changes = self.changes, []
        return changes

    def step(self) -> None:
        """Something happens."""
        names = [
            "publish",
            "tick",
            "tick",
            "tick",
            "wait",
            "hand_out",
            "take_offer",
            "take_offer",
            "odd",
            "verb",
            "rare",
        ]
        getattr(self, f"_{self.random.choice(names)}")()

    def _publish(self) -> None:
        if self.serial < len(ROLLOUTS):
            rollout = ROLLOUTS[self.serial]
            self.serial += 1
            self.publish(rollout)
            self.changes[-1] = self.changes[-1]._replace(papers=((Paper.ROLLOUT, rollout.id, paper(rollout.id)),))

    def _tick(self) -> None:
        self.tick(1)

    def _wait(self) -> None:
        self.away = set(self.random.sample(HOSTS, self.random.randrange(3)))
        self.wait(self.random.choice([5_000, MINUTE, 10 * MINUTE, 300 * MINUTE]))

    def _host(self) -> HostState | None:
        return self.fleet.hosts.get(self.random.choice(HOSTS))

    def _hand_out(self) -> None:
        for name, offer in sorted(self.offers().items()):
            self.note(events.Handed(name, offer.number))

    def _take_offer(self) -> None:
        host = self._host()
        offer = self.offers().get(host.name) if host else None
        if host is None or offer is None or host.phase in (Phase.ACTIVATING, Phase.ROLLING_BACK):
            return
        if offer.recall:
            self.report(host.name, events.RollbackBegan(offer.rollout, host.prior, "recalled", "", offer.number))
            self.report(host.name, events.RolledBack(offer.rollout, host.prior))
        else:
            self.random.choice([self.converges, self.activates, self.fails])(host.name)

    def _odd(self) -> None:
        host = self._host()
        if host is None:
            return
        rollout, order = self.random.choice(ROLLOUTS).id, order_of(self.random.randrange(1, 7))
        event = self.random.choice([
            events.Activated(rollout, order), events.RestartNeeded(rollout, "kernel"),
            events.ActivationFailed(rollout, 1, "no\0 'quotes'; — “”\n", OLD), events.Probed(rollout, "answers", passed=False),
            events.SoakFailed(rollout, "sick"), events.Converged(rollout, order), events.RolledBack(rollout, OLD),
            events.Refused(rollout, host.dispatches, self.now, "no"),
            events.Restated(Phase.CONVERGED, rollout, order, OLD, order, "", "", self.now, 3),
        ])  # fmt: skip
        self.report(host.name, event, seq=max(1, host.seq + 1 + self.random.choice([-1, 0, 0, 0, 1, 5])))

    def _verb(self) -> None:
        rollout, name = self.random.choice(ROLLOUTS[: self.serial + 1]).id, self.random.choice(HOSTS)
        verb = self.random.choice([
            events.Halt(rollout, "x"), events.Pause(rollout), events.Resume(rollout, retry=True), events.Cancel(rollout, "x"),
            events.RollBack(rollout, "x"), events.Promote(rollout, 1, "x"), events.Retry(name),
            events.Quarantine("web", order_of(2), "x"), events.LiftQuarantine("web", order_of(2)),
        ])  # fmt: skip
        self.verb(verb, nonce=f"nonce \0 {len(self.log):016d}")

    def _rare(self) -> None:
        name = self.random.choice(HOSTS)
        kind = self.random.randrange(4)
        if kind == 0 and name in self.fleet.hosts:
            self.verb(events.Retire(name))
        elif kind == 1:
            self.note(events.Enrolled(name, f"{name}-{len(self.log)}", "key"))
        else:
            retiring = (Retiring("release", self.now + MINUTE),) if kind == 2 else ()
            self.note(events.Configured(Settings(10 * MINUTE, self.random.choice([60, 600]) * MINUTE, retiring)))


def paper(rollout: str) -> bytes:
    """The document of a rollout here: its id, as bytes."""
    return rollout.encode()


def opened(data: bytes):
    """Its layout."""
    return next(one for one in ROLLOUTS if one.id == data.decode())


def lasting(fleet: FleetState) -> FleetState:
    """What of a state outlives its server."""
    return replace(fleet, presence={}, up_since=0)
