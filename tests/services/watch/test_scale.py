"""Five hundred repositories, twenty of them silent, five whose pipeline hangs: nobody else is kept from anything.

How long things take is measured by `bench/watch.py`.
"""

import pytest

from support.stories import story
from support.watch_scale import memory, scale

pytestmark = pytest.mark.long


def test_commits_are_applied_and_the_socket_answers_while_remotes_are_silent_and_pipelines_hang(tmp_path):
    found = story(scale, 1200)(tmp_path, repos=500, silent=20, hanging=5, pushes=8, interval=30.0)
    assert found.hanging == 5, "to the end"
    assert len(found.applied) == 8
    assert found.failed >= 20
    assert len(found.answers) > 500


def test_memory_is_flat_over_a_thousand_cycles(tmp_path):
    found = story(memory, 1200)(tmp_path, repos=5, cycles=1000)
    assert max(found[5:]) <= 1.05 * max(found[:5])
