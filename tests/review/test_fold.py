"""Which run made a path what it is."""

from requisition.review.history.fold import DONE, FAILED, ROLLED_BACK, UNCHANGED, UNDO_FAILED, Step, maker

A, B = 1, 2


def step(number, status=DONE, left=A, *, gone=False, stands=True, until=0):
    return Step(number, status, left, gone, number * 10, stands, until)


def made(*steps):
    found = maker(steps)
    return found.touch if found else None


def test_nothing_is_there_that_no_run_made():
    assert made() is None


def test_a_run_that_finds_a_path_as_it_was_left_does_not_become_its_maker():
    assert made(step(1), step(2, UNCHANGED), step(3, UNCHANGED)) == 1


def test_a_run_that_finds_another_state_as_wanted_becomes_the_maker():
    assert made(step(1), step(2, UNCHANGED, B)) == 2


def test_a_run_that_makes_the_same_again_becomes_the_maker():
    assert made(step(1), step(2)) == 2


def test_what_a_run_removed_is_not_there():
    assert made(step(1), step(2, gone=True, left=B)) is None


def test_what_did_not_succeed_or_does_not_stand_made_nothing():
    assert made(step(1), step(2, FAILED, None), step(3, left=B, stands=False), step(4, DONE, None)) == 1


def test_a_run_that_was_taken_back_gives_way_to_the_one_before():
    assert made(step(1), step(2, ROLLED_BACK, B, stands=False, until=25)) == 1
    assert made(step(1), step(2, ROLLED_BACK, B, until=25)) == 1, "in part, in a run that stands"


def test_who_found_what_was_taken_back_later_confirmed_nothing():
    assert made(step(1), step(2, ROLLED_BACK, B, stands=False, until=35), step(3, UNCHANGED, B)) == 1
    assert made(step(2, UNDO_FAILED, B, stands=False, until=35), step(3, UNCHANGED, B)) is None


def test_who_found_a_state_again_after_it_was_taken_back_is_its_maker():
    assert made(step(1), step(2, ROLLED_BACK, B, stands=False, until=25), step(3, UNCHANGED, B)) == 3


def test_a_state_that_another_run_made_in_between_is_confirmed_as_ever():
    lost = step(1, ROLLED_BACK, A, stands=False, until=95)
    assert made(lost, step(2, DONE, A), step(3, UNCHANGED, A)) == 2
