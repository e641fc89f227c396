"""The states of a job, and which may follow which. The queue makes no other transition.

queued ──▶ running ──▶ awaiting_verify ──▶ verified ──▶ cleanup_eligible ──▶ cleaned
  ▲ │         │               │               ▲ │              │
  │ └▶ blocked, cancelled, failed ◀───────────┼─┴──────────────┘
  └────────────┘  (retry)                     └── (an interlock holds no more)
"""

from enum import StrEnum

from requisition.schemas.diagnostic import Conflicted


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    AWAITING_VERIFY = "awaiting_verify"
    VERIFIED = "verified"
    CLEANUP_ELIGIBLE = "cleanup_eligible"
    CLEANED = "cleaned"
    BLOCKED = "blocked"
    FAILED = "failed"
    CANCELLED = "cancelled"


MEANING: dict[State, str] = {
    State.QUEUED: "waits for a worker, or for its next attempt",
    State.RUNNING: "is checked by the gate, hashed and pushed into `.incoming/` at the far end",
    State.AWAITING_VERIFY: "all of it was pushed; what lies there is compared, then renamed to its place",
    State.VERIFIED: "lies in its place, every byte compared; compared again from time to time when clean-up is on",
    State.CLEANUP_ELIGIBLE: "compared often enough and old enough: the source may go once every interlock holds",
    State.CLEANED: "the source's files that were delivered are deleted; manifest and history are kept",
    State.BLOCKED: "the gate found something hard that is neither resolved nor overridden",
    State.FAILED: "given up; the source is untouched; `retry` begins again",
    State.CANCELLED: "someone did not want it any more; `retry` begins again",
}

ALLOWED: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.BLOCKED, State.CANCELLED}),
    State.RUNNING: frozenset(
        {State.QUEUED, State.AWAITING_VERIFY, State.BLOCKED, State.FAILED, State.CANCELLED},
    ),
    State.AWAITING_VERIFY: frozenset(
        {State.QUEUED, State.VERIFIED, State.BLOCKED, State.FAILED, State.CANCELLED},
    ),
    State.VERIFIED: frozenset({State.CLEANUP_ELIGIBLE, State.FAILED}),
    State.CLEANUP_ELIGIBLE: frozenset({State.VERIFIED, State.CLEANED, State.FAILED}),
    State.CLEANED: frozenset(),
    State.BLOCKED: frozenset({State.QUEUED, State.CANCELLED}),
    State.FAILED: frozenset({State.QUEUED, State.CANCELLED}),
    State.CANCELLED: frozenset({State.QUEUED}),
}

ENDED = frozenset({State.CLEANED, State.FAILED, State.CANCELLED})
"""Nothing more happens by itself, and another job may have the same target."""

UNDELIVERED = frozenset({State.QUEUED, State.RUNNING, State.AWAITING_VERIFY, State.BLOCKED, State.FAILED})
"""The source is still needed, even if only by a person who tries again."""


def check(old: State, new: State) -> None:
    """Raises Conflicted when `new` may not follow `old`. A job may stay where it is: that is noted, not changed."""
    if new is not old and new not in ALLOWED[old]:
        raise Conflicted.of(f"a job that is {old} does not become {new}", why=f"it may become {_names(ALLOWED[old])}")


def _names(states: frozenset[State]) -> str:
    return ", ".join(sorted(states)) or "nothing else"
