"""What follows a failure: the whole table of delays, once for a mismatch, never for what cannot pass by itself."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.services.delivery.failures import DELAYS, Breaker, Decision, admits, admitted, failed, policy
from requisition.services.delivery.transport import Kind

KINDS = st.sampled_from(get_args(Kind))
RANDOM = st.floats(0, 1, exclude_max=True)
FOR_GOOD = ("auth", "conflict", "host_key", "local_permission", "local_vanished", "missing_program", "usage")


def middle() -> float:
    return 0.5


def test_every_delay_of_the_table_is_used_then_it_is_given_up() -> None:
    found = [policy("network", attempt, middle) for attempt in range(1, 7)]
    assert [one.after for one in found[:5]] == [30, 120, 480, 1800, 7200]
    assert [one.do for one in found] == ["retry"] * 5 + ["fail"]


@pytest.mark.parametrize("kind", FOR_GOOD)
def test_what_cannot_pass_by_itself_is_not_tried_again(kind: Kind) -> None:
    assert policy(kind, 1, middle).do == "fail"


def test_a_mismatch_is_tried_once_more_at_once() -> None:
    assert policy("hash_mismatch", 1, middle) == Decision("retry")
    assert policy("hash_mismatch", 2, middle) == Decision("fail")


@given(KINDS, st.integers(1, 20), RANDOM)
def test_a_delay_is_a_fifth_more_or_less_than_in_the_table(kind: Kind, attempt: int, random: float) -> None:
    found = policy(kind, attempt, lambda: random)
    if found.do == "retry" and kind != "hash_mismatch":
        wanted = DELAYS[attempt - 1]
        assert 0.8 * wanted <= found.after <= 1.2 * wanted


def test_jobs_that_fail_together_are_not_tried_together() -> None:
    assert policy("network", 1, lambda: 0.1).after != policy("network", 1, lambda: 0.9).after


@pytest.mark.parametrize("kind", ["local_permission", "local_changed", "disk_full_local", "conflict", "hash_mismatch"])
def test_what_is_wrong_with_one_job_is_not_held_against_its_destination(kind: Kind) -> None:
    breaker = Breaker()
    for _ in range(10):
        breaker = failed(breaker, kind, 0, middle)
    assert admits(breaker, 0)
    assert not policy(kind, 1, middle).pause


def test_a_destination_rests_after_three_failures_and_is_then_tried_with_one_job() -> None:
    breaker = Breaker()
    for _ in range(2):
        breaker = failed(breaker, "network", 100, middle)
        assert admits(breaker, 100)
    breaker = failed(breaker, "network", 100, middle)
    assert not admits(breaker, 129)
    assert admits(breaker, 130)
    probing = admitted(breaker)
    assert not admits(probing, 130), "a second job waits for what becomes of the first"
    again = failed(probing, "network", 131, middle)
    assert not admits(again, 131 + 119)
    assert admits(again, 131 + 120), "it rests longer each time"


def test_an_answer_of_the_destination_even_a_bad_one_ends_its_rest() -> None:
    breaker = Breaker()
    for _ in range(3):
        breaker = failed(breaker, "network", 0, middle)
    assert failed(admitted(breaker), "conflict", 40, middle) == Breaker()


@given(st.lists(st.tuples(KINDS, RANDOM), max_size=30))
def test_a_destination_is_always_tried_again_some_time(failures: list[tuple[Kind, float]]) -> None:
    breaker = Breaker()
    for kind, random in failures:
        breaker = failed(breaker, kind, 0, lambda random=random: random)  # type: ignore[misc]
    assert admits(breaker, 1.2 * DELAYS[-1])
