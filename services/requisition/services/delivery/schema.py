"""The queue's tables. A change of form is a further script at the end, never a change of one that is there."""

from requisition.services.delivery.states import ENDED, State


def quoted(states: frozenset[State] | type[State]) -> str:
    """States as SQL lists them."""
    return ", ".join(sorted(f"'{state.value}'" for state in states))


MIGRATIONS = (
    f"""
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  source TEXT NOT NULL,
  destination TEXT NOT NULL,
  target TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ({quoted(State)})),
  enqueued_at REAL NOT NULL,
  changed_at REAL NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  mismatches INTEGER NOT NULL DEFAULT 0,
  error TEXT NOT NULL DEFAULT '',
  error_kind TEXT NOT NULL DEFAULT '',
  due REAL,
  next_attempt REAL NOT NULL DEFAULT 0,
  wait REAL NOT NULL DEFAULT 0,
  lease TEXT NOT NULL DEFAULT '',
  owner TEXT NOT NULL DEFAULT '',
  stop TEXT NOT NULL DEFAULT '',
  paused INTEGER NOT NULL DEFAULT 0,
  manifest TEXT NOT NULL DEFAULT '',
  files INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0,
  sent INTEGER NOT NULL DEFAULT 0,
  published INTEGER NOT NULL DEFAULT 0,
  passes INTEGER NOT NULL DEFAULT 0,
  verified_at REAL NOT NULL DEFAULT 0,
  cleaning INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX jobs_due ON jobs (destination, due) WHERE due IS NOT NULL;
CREATE INDEX jobs_leased ON jobs (destination, due) WHERE lease <> '';
CREATE UNIQUE INDEX jobs_target ON jobs (destination, target) WHERE state NOT IN ({quoted(ENDED)});
CREATE INDEX jobs_source ON jobs (source);
CREATE INDEX jobs_state ON jobs (state);
CREATE TABLE history (
  number INTEGER PRIMARY KEY,
  job TEXT NOT NULL REFERENCES jobs (id),
  at REAL NOT NULL,
  who TEXT NOT NULL,
  old TEXT NOT NULL,
  new TEXT NOT NULL,
  why TEXT NOT NULL
) STRICT;
CREATE INDEX history_job ON history (job);
CREATE TABLE findings (
  job TEXT NOT NULL REFERENCES jobs (id),
  rule TEXT NOT NULL,
  hard INTEGER NOT NULL,
  path TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT;
CREATE INDEX findings_job ON findings (job);
CREATE TABLE overrides (
  number INTEGER PRIMARY KEY,
  job TEXT NOT NULL REFERENCES jobs (id),
  rule TEXT NOT NULL,
  reason TEXT NOT NULL CHECK (trim(reason) <> ''),
  who TEXT NOT NULL,
  at REAL NOT NULL,
  revoked_at REAL NOT NULL DEFAULT 0,
  revoked_by TEXT NOT NULL DEFAULT '',
  revoked_why TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX overrides_job ON overrides (job);
CREATE TABLE passes (
  job TEXT NOT NULL REFERENCES jobs (id),
  at REAL NOT NULL,
  elapsed REAL NOT NULL,
  boot TEXT NOT NULL,
  manifest TEXT NOT NULL,
  strategy TEXT NOT NULL
) STRICT;
CREATE INDEX passes_job ON passes (job);
CREATE TABLE pauses (
  destination TEXT PRIMARY KEY,
  who TEXT NOT NULL,
  at REAL NOT NULL,
  why TEXT NOT NULL
) STRICT;
CREATE TABLE turns (
  destination TEXT PRIMARY KEY,
  served INTEGER NOT NULL
) STRICT;
CREATE TABLE boots (
  boot TEXT NOT NULL
) STRICT;
""",
)
