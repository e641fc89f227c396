"""The queue against a model of it, whatever workers, people and clocks do, in any order."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from requisition.schemas.diagnostic import BadInput, Conflicted
from requisition.services.delivery import overrides, verbs
from requisition.services.delivery.job import Finding
from requisition.services.delivery.queue import LEASE, RECHECK, Lost
from requisition.services.delivery.states import ALLOWED, ENDED, State, check
from support.queues import Hands

PLACES = ("nas", "disk")
ROOM = {"nas": 2, "disk": 1}
states = st.sampled_from(State)
waits = st.sampled_from([None, 0.0, 30.0, 7200.0])


class Queues(RuleBasedStateMachine):
    """`model`: of each job, its state, since when it is due (None: not), and the lease that counts."""

    held = Bundle("held")
    jobs = Bundle("jobs")

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.hands = Hands()
        self.queue = self.hands.queue(self.folder)
        self.model: dict[str, dict] = {}
        self.paused: set[str] = set()

    def teardown(self):
        self.queue.close()
        shutil.rmtree(self.folder)

    def due(self, one):
        return one["due"] is not None and one["due"] <= self.hands.run

    def working(self, one):
        return one["lease"] and not self.due(one)

    # --- people

    @rule(target=jobs, name=st.sampled_from("abc"), to=st.sampled_from(PLACES))
    def enqueue(self, name, to):
        job, new = self.queue.enqueue(f"/data/{name}", to, name, "alice")
        if new:
            self.model[job.id] = {"state": State.QUEUED, "due": self.hands.run, "lease": "", "to": to, "paused": False}
            return job.id
        assert self.model[job.id]["state"] not in ENDED
        return multiple()

    @rule(job=jobs, verb=st.sampled_from(["cancel", "pause", "resume", "retry", "look_again", "consider"]))
    def ask(self, job, verb):
        one = self.model[job]
        try:
            row = getattr(verbs, verb)(self.queue, job, "bob", "because")
        except Conflicted:
            assert self.queue.job(job).state is one["state"]
            return
        if self.working(one):
            assert row.lease == one["lease"]
            assert verb in ("cancel", "pause")
            assert row.stop == verb
            return
        after = {"cancel": State.CANCELLED, "retry": State.QUEUED}
        if one["state"] is State.AWAITING_VERIFY:
            after["retry"] = State.AWAITING_VERIFY
        one["state"] = after.get(verb, one["state"])
        one["due"] = None if verb in ("cancel", "pause") else self.hands.run
        one["lease"] = ""
        one["paused"] = verb == "pause"

    @rule(place=st.sampled_from(PLACES), on=st.booleans())
    def pause_destination(self, place, on):
        if on:
            verbs.pause_destination(self.queue, place, "bob", "because")
            self.paused.add(place)
        else:
            verbs.resume_destination(self.queue, place)
            self.paused.discard(place)

    @rule(job=jobs, revoked=st.booleans())
    def override(self, job, revoked):
        one = self.model[job]
        try:
            made = overrides.override(self.queue, job, "names", "bob", "because")
        except (BadInput, Conflicted):
            return
        if one["state"] is State.BLOCKED and not self.working(one):
            one.update(state=State.QUEUED, due=None if one["paused"] else self.hands.run, lease="")
        if revoked:
            overrides.revoke(self.queue, made.number, "carol", "because")
            early = (State.QUEUED, State.RUNNING, State.AWAITING_VERIFY)
            if one["state"] in early and not self.working(one):
                one.update(state=State.BLOCKED, due=None if one["paused"] else self.hands.run + RECHECK, lease="")

    # --- workers

    @rule(target=held, owner=st.sampled_from(["w1", "w2"]), places=st.sets(st.sampled_from(PLACES), min_size=1))
    def claim(self, owner, places):
        room = {place: ROOM[place] for place in places}
        job = self.queue.claim(owner, room)
        free = [
            place
            for place in places - self.paused
            if sum(1 for one in self.model.values() if one["to"] == place and self.working(one)) < ROOM[place]
        ]
        could = {name: one for name, one in self.model.items() if one["to"] in free and self.due(one)}
        if job is None:
            assert not could
            return multiple()
        one = could[job.id]
        assert one["due"] == min(other["due"] for other in could.values() if other["to"] == one["to"])
        if one["state"] is State.QUEUED:
            one["state"] = State.RUNNING
        one.update(due=self.hands.run + LEASE, lease=job.lease)
        return job

    def lives(self, job):
        one = self.model[job.id]
        return self.holds(job) and one["state"] is job.state

    def holds(self, job):
        one = self.model[job.id]
        return one["lease"] == job.lease and self.working(one)

    @rule(job=held)
    def renew(self, job):
        try:
            self.queue.renew(job)
            assert self.holds(job)
            self.model[job.id]["due"] = self.hands.run + LEASE
        except Lost:
            assert not self.holds(job)

    @rule(job=held)
    def find(self, job):
        try:
            self.queue.found(job, [Finding("names", True, "x", "bad")])
            assert self.holds(job)
        except Lost:
            assert not self.holds(job)

    @rule(target=held, job=consumes(held), new=states)
    def move(self, job, new):
        try:
            moved = self.queue.move(job, new, "because")
        except Lost:
            assert not self.lives(job)
            return multiple()
        except Conflicted:
            assert new not in ALLOWED[job.state]
            return job
        self.became(job, new, LEASE, moved.lease)
        return multiple() if new in ENDED else moved

    @rule(job=consumes(held), new=states, wait=waits, passed=st.booleans())
    def leave(self, job, new, wait, passed):
        try:
            if passed:
                self.queue.passed(job, new, "because", wait, "read")
            else:
                self.queue.leave(job, new, "because", wait)
        except Lost:
            assert not self.lives(job)
            return
        except Conflicted:
            assert new not in ALLOWED[job.state]
            return
        self.became(job, new, wait, "")

    def became(self, job, new, wait, lease):
        nothing = wait is None or new in ENDED
        self.model[job.id].update(state=new, due=None if nothing else self.hands.run + wait, lease=lease)

    @rule(owner=st.sampled_from(["w1", "w2"]))
    def bury(self, owner):
        with self.queue.reading() as rows:
            gone = [row[0] for row in rows.execute("SELECT id FROM jobs WHERE owner = ? AND lease <> ''", (owner,))]
        assert self.queue.bury(owner) == len(gone)
        for job in gone:
            self.model[job]["due"] = self.hands.run

    # --- time

    @rule(seconds=st.sampled_from([1.0, 29.0, 30.0, 7200.0]))
    def time_passes(self, seconds):
        self.hands.pass_(seconds)

    @rule(seconds=st.sampled_from([-1e9, -3600.0, 3600.0, 1e9]))
    def clock_is_set(self, seconds):
        self.hands.jump(seconds)

    @precondition(lambda self: self.model)
    @rule()
    def everything_is_started_anew(self):
        self.queue.close()
        before = {name: (one["due"] or 0) - self.hands.run for name, one in self.model.items()}
        self.hands.reboot(0)
        self.queue = self.hands.queue(self.folder)
        for name, one in self.model.items():
            row = self.queue.job(name)
            assert (row.due is None) is (one["due"] is None)
            assert row.lease == ""
            if row.due is not None:  # never later than it would have been
                assert 0 <= row.due - self.hands.run <= max(0.0, 7200.0 if one["lease"] == "" else 0.0)
                assert one["lease"] or row.due - self.hands.run <= max(7200.0, before[name])
            one.update(due=row.due, lease="")

    # --- always

    @invariant()
    def the_rows_are_as_the_model(self):
        for name, one in self.model.items():
            row = self.queue.job(name)
            assert (row.state, row.due, row.lease) == (one["state"], one["due"], one["lease"])
            last = ""
            for event in self.queue.history(name):
                assert event.old == last
                if last:
                    check(State(event.old), State(event.new))
                last = event.new
            assert last == row.state

    @invariant()
    def no_destination_has_more_at_once_than_it_may(self):
        for place in PLACES:
            assert sum(1 for one in self.model.values() if one["to"] == place and self.working(one)) <= ROOM[place]


Queues.TestCase.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
test_the_queue_is_what_its_model_is = Queues.TestCase
