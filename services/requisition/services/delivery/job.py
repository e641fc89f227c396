"""What the queue knows: a job, its history, its findings, and moments that survive a clock that jumps."""

from msgspec import Struct

from requisition.services.delivery.states import State


class Job(Struct, frozen=True, kw_only=True):
    """One row of the queue.

    `source`: absolute path here; `target`: relative path at the far end. `next_attempt`, `…_at`: seconds since 1970.
    `due`: the moment of `Clock.elapsed` from which a worker may take it (while leased: at which the lease ends); None:
    not before someone asks. `lease`: token of who works on it, "" nobody. `stop`: what its worker was asked to do
    with it: "cancel", "pause", "block"; "look": compare at once what was delivered. `manifest`: digest of what is
    delivered, "" before it was hashed.
    `attempts`: failures in a row; `mismatches`: how often other
    bytes arrived than were sent. `sent`: bytes of this attempt so far. `cleaning`: deleting the source has begun.
    """

    number: int
    id: str
    source: str
    destination: str
    target: str
    state: State
    enqueued_at: float
    changed_at: float
    attempts: int = 0
    mismatches: int = 0
    error: str = ""
    error_kind: str = ""
    due: float | None = None
    next_attempt: float = 0
    lease: str = ""
    owner: str = ""
    stop: str = ""
    paused: bool = False
    manifest: str = ""
    files: int = 0
    bytes: int = 0
    sent: int = 0
    published: bool = False
    passes: int = 0
    verified_at: float = 0
    cleaning: bool = False


class Event(Struct, frozen=True):
    """One line of a job's history: `old` and `new` are equal where something was noted and nothing changed; `old` is
    "" where the job came to be."""

    job: str
    at: float
    who: str
    old: str
    new: str
    why: str


class Finding(Struct, frozen=True):
    """What a validator holds against a delivery. `rule`: its class, by which it is overridden; `hard`: blocks;
    `path`: in the source, printable."""

    rule: str
    hard: bool
    path: str
    detail: str


class Override(Struct, frozen=True):
    """Someone took it upon them that findings of a rule do not block a job; `revoked_at` 0 while it holds."""

    number: int
    job: str
    rule: str
    reason: str
    who: str
    at: float
    revoked_at: float = 0
    revoked_by: str = ""
    revoked_why: str = ""


class Moment(Struct, frozen=True):
    """A moment by two clocks: `at` seconds since 1970, `elapsed` seconds of the boot `boot`."""

    at: float
    elapsed: float
    boot: str


class Pass(Struct, frozen=True):
    """One comparison of all that was delivered, and when it ended; `strategy` says how the far end was read."""

    when: Moment
    manifest: str
    strategy: str


def surely_passed(earlier: Moment, later: Moment) -> float:
    """Seconds that went by at least between two moments, whatever was done to the wall clock in one boot."""
    wall = later.at - earlier.at
    return min(wall, later.elapsed - earlier.elapsed) if earlier.boot == later.boot else wall
