"""A clock that tests set, and queues that go by it. Run as a program it claims all there is, and says what it got."""

import sys
from pathlib import Path

from requisition.services.clock import Clock
from requisition.services.delivery.queue import Queue


class Hands:
    """Both clocks of a machine. `jump` is what a person or NTP does; `pass_` is time."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.run = 1000.0
        self.boot = "first boot"

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.run)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.run += seconds

    def jump(self, seconds: float) -> None:
        self.wall += seconds

    def reboot(self, seconds: float = 60.0) -> None:
        self.wall += seconds
        self.run = 5.0
        self.boot += "'"

    def queue(self, folder: Path) -> Queue:
        return Queue(str(folder / "queue.db"), self.clock, boot_id=self.boot)


if __name__ == "__main__":
    shared = Queue(sys.argv[1])
    while (job := shared.claim("another", {"nas": 1000})) is not None:
        print(job.id)
