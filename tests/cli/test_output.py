"""Text on its way to the terminal."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.cli.drawing import counted, duration, tally
from requisition.cli.output import Output, clean


@given(st.text())
def test_nothing_but_tabs_and_newlines_controls_a_terminal(text: str) -> None:
    assert not [one for one in clean(text) if (ord(one) < 32 and one not in "\t\n") or 127 <= ord(one) < 160]


@given(st.text())
def test_with_colour_only_our_own_sequences_stay(text: str) -> None:
    rest = clean(text, color=True)
    for code in (0, 1, 2, 31, 32, 33, 36):
        rest = rest.replace(f"\x1b[{code}m", "")
    assert "\x1b" not in rest


@pytest.mark.parametrize("text", ["plain", "ä ↺ •", "a\tb\n"])
def test_plain_text_is_left_as_it_is(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize("style", ["good", "bad", "warn", "dim", "head", "path"])
def test_every_style_survives_and_is_closed(style: str) -> None:
    styled = Output(color="always").style("x", style)
    assert clean(styled, color=True) == styled
    assert click.unstyle(styled) == "x"


def test_counts_and_durations_read_as_people_say_them() -> None:
    assert [counted(1, "node"), counted(0, "node"), counted(12345, "node")] == ["1 node", "0 nodes", "12,345 nodes"]
    assert tally({"done": 2, "failed": 0, "undo_failed": 1}) == "2 done, 1 could not be undone"
    assert [duration(0.04), duration(1.25), duration(185)] == ["40 ms", "1.2 s", "3 min 5 s"]
