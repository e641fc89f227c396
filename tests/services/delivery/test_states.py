import itertools
from pathlib import Path

import pytest

from requisition.schemas.diagnostic import Conflicted
from requisition.services.delivery.states import ALLOWED, ENDED, MEANING, UNDELIVERED, State, check


def reachable(begin):
    seen, waiting = {begin}, [begin]
    while waiting:
        new = ALLOWED[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def test_every_state_has_a_row_and_a_meaning_and_can_be_reached():
    assert set(ALLOWED) == set(MEANING) == set(State) == reachable(State.QUEUED)


def test_only_what_the_table_says_follows():
    for old, new in itertools.product(State, State):
        if new is old or new in ALLOWED[old]:
            check(old, new)
        else:
            with pytest.raises(Conflicted, match=f"{old} does not become {new}"):
                check(old, new)


def test_a_source_is_only_deleted_on_a_way_through_verified():
    without = {state: after - {State.VERIFIED} for state, after in ALLOWED.items()}
    seen, waiting = {State.QUEUED}, [State.QUEUED]
    while waiting:
        new = without[waiting.pop()] - seen
        seen |= new
        waiting += new
    assert State.CLEANED not in seen
    assert State.CLEANUP_ELIGIBLE not in seen


def test_what_is_not_delivered_is_never_cleaned_next():
    assert all(not ALLOWED[state] & {State.CLEANED, State.CLEANUP_ELIGIBLE} for state in UNDELIVERED)
    assert not ALLOWED[State.CLEANED]
    assert State.CLEANED in ENDED


def test_the_documentation_has_the_same_table():
    text = (Path(__file__).parents[3] / "docs/decisions/delivery-queue.md").read_text()
    for state in State:
        after = ", ".join(f"`{one}`" for one in sorted(ALLOWED[state])) or "nothing"
        assert f"| `{state}` | {MEANING[state]} | {after} |" in text


def test_the_guide_tells_the_meaning_of_every_state():
    text = (Path(__file__).parents[3] / "docs/delivery.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `") and line.split("`")[1] in list(State)]
    assert rows == [f"| `{state}` | {meaning} |" for state, meaning in MEANING.items()]
