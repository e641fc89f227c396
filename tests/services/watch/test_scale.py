"""Five hundred repositories, twenty of them silent, five whose pipeline hangs: nobody else notices."""

import pytest

from support.stories import story
from support.watch_scale import memory, scale

pytestmark = pytest.mark.long


def test_a_commit_is_applied_within_two_intervals_and_the_socket_answers_throughout(tmp_path):
    interval = 30.0
    found = story(scale, 1200)(tmp_path, repos=500, silent=20, hanging=5, pushes=8, interval=interval)
    assert found.hanging == 5
    assert max(found.applied) <= 2 * interval
    assert found.failed >= 20
    assert len(found.answers) > 500
    assert found.answered(0.99) <= 0.05


def test_memory_is_flat_over_a_thousand_cycles(tmp_path):
    found = story(memory, 1200)(tmp_path, repos=5, cycles=1000)
    assert max(found[5:]) <= 1.05 * max(found[:5])
