"""Time, chance and the network: what happens next, in which order, and what gets lost on its way."""

import heapq
from collections.abc import Callable
from random import Random

from msgspec import Struct


class Weather(Struct, frozen=True):
    """How bad the network is: the share of messages that are lost and doubled, and how long they take (milliseconds,
    one in twenty up to `slowest`)."""

    loss: float = 0.0
    double: float = 0.0
    delay: int = 200
    slowest: int = 200


class World:
    """What will happen, by time and then by the order in which it was decided."""

    def __init__(self, seed: int, weather: Weather, start: int) -> None:
        self.chance = Random(seed)  # noqa: S311  (a simulation must repeat itself)
        self.now = start
        self.weather = weather
        self.cut_off: dict[str, int] = {}
        self._number = 0
        self._ahead: list[tuple[int, int, Callable[[], None]]] = []

    def after(self, delay: int, deed: Callable[[], None]) -> None:
        """Do it `delay` milliseconds from now."""
        self._number += 1
        heapq.heappush(self._ahead, (self.now + max(delay, 0), self._number, deed))

    def send(self, host: str, deliver: Callable[[], None]) -> None:
        """Carry a message between a host and the server: perhaps late, perhaps twice, perhaps never."""
        copies = 2 if self.chance.random() < self.weather.double else 1
        for _ in range(copies):
            if self.chance.random() < self.weather.loss or self.is_cut_off(host):
                continue
            slow = self.chance.random() < 0.05
            self.after(self.chance.randint(1, self.weather.slowest if slow else self.weather.delay), deliver)

    def cut(self, host: str, until: int) -> None:
        """Nothing reaches the host, or comes from it, until then."""
        self.cut_off[host] = max(self.cut_off.get(host, 0), until)

    def is_cut_off(self, host: str) -> bool:
        """Whether it is so now."""
        return self.cut_off.get(host, 0) > self.now

    def run(self, until: int) -> None:
        """Let time pass."""
        while self._ahead and self._ahead[0][0] <= until:
            self.now, _, deed = heapq.heappop(self._ahead)
            deed()
        self.now = until
