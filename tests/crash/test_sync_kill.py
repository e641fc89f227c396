"""A sync killed after any of its events: the next one mends what was left, tells of it once, and ends in the same tree."""

import signal
import sys

import pytest

from support.synced import Grove, writes
from support.trees import snapshot

KILLER = (sys.executable, "-m", "support.sync_killer")


def forest(folder, packages):
    """Three levels: groups of five below the root."""
    folder.mkdir()
    grove = Grove(folder)
    groups = {}
    for first in range(0, packages - 1, 5):
        below = {}
        for number in range(first + 1, min(first + 5, packages - 1)):
            below[f"p{number}"] = grove.remote(f"p{number}", writes(f"/{number}.txt")).url
        groups[f"g{first}"] = grove.remote(f"g{first}", writes(f"/{first}.txt"), children=below).url
    grove.names(groups, writes("/top.txt"))
    return grove


def tried(tmp_path, packages, position):
    grove = forest(tmp_path / f"at{position}", packages)
    killed = grove.start(str(position), "sync", "--allow-unsigned", "--yes", program=KILLER)
    said, _ = killed.communicate()
    if killed.returncode == 0:
        return None
    assert killed.returncode == -signal.SIGKILL, said
    again = grove.sync()
    found = [line for line in again.splitlines() if line.startswith(("✓ it", "✓ the sync", "! "))]
    assert "Nothing to do" in (third := grove.sync()), third
    assert not [line for line in third.splitlines() if line in found]
    return snapshot(grove.target, times=False)


def all_positions(tmp_path, packages, step):
    whole = forest(tmp_path / "whole", packages)
    whole.sync()
    wanted = snapshot(whole.target, times=False)
    position = ended = 0
    while not ended:
        got = tried(tmp_path, packages, position)
        ended = got is None
        assert ended or got == wanted, f"killed after {position} events"
        position += step
    assert position > 2 * packages


def test_killed_at_events_of_a_small_sync_the_next_one_ends_in_the_same_tree(tmp_path):
    all_positions(tmp_path, 7, 4)


@pytest.mark.long
def test_killed_at_any_event_of_a_sync_of_thirty_packages_the_next_one_ends_in_the_same_tree(tmp_path):
    all_positions(tmp_path, 30, 1)
