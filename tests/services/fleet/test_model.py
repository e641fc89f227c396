"""docs/fleet-model.md tells of every state, event, action, gate and effect, and of nothing else."""

import re
import typing
from pathlib import Path

import pytest

from requisition.services.fleet import actions, agent_state, effects, events, gates, reducer, rollout_reducer
from requisition.services.fleet.state import CHANGING, FAILURES, Phase, Stage

PAGE = Path(__file__).parents[3] / "docs" / "fleet-model.md"
ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)


def table(heading: str, number: int = 0) -> list[list[str]]:
    """Rows of a table of a section, without its head; the first cell without its quotes."""
    text = PAGE.read_text("utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    blocks = [block for block in text.split("\n\n") if block.lstrip().startswith("|")]
    rows = [[cell.strip() for cell in row.split("|")] for row in ROW.findall(blocks[number])]
    return [[row[0].strip("`"), *row[1:]] for row in rows[2:]]


def tag(kind: type) -> str:
    return str(kind.__struct_config__.tag)  # type: ignore[attr-defined]


def tags(union: object) -> list[str]:
    return [tag(kind) for kind in typing.get_args(union)]


def test_every_state_of_a_host_is_there_with_what_it_counts_for() -> None:
    assert [(row[0], row[1] == "yes", row[2] == "yes") for row in table("States of a host")] == [
        (phase.value, phase in CHANGING, phase in FAILURES) for phase in Phase
    ]


def test_every_report_is_there_with_the_states_it_may_follow() -> None:
    written = {row[0]: row[1:3] for row in table("Reports of a host")}
    assert sorted(written) == sorted(tags(events.HostEvent))
    for kind, (phases, leads_to) in reducer.FOLLOWS.items():
        missing = sorted(set(Phase) - phases)
        words = ", ".join(sorted(phases))
        if not missing:
            words = "any"
        elif len(missing) < 3:
            words = f"any but {', '.join(missing)}"
        assert written[tag(kind)] == [words, leads_to or "–"], kind


def test_every_state_of_a_rollout_is_there() -> None:
    assert [row[0] for row in table("States of a rollout")] == [stage.value for stage in Stage]


def test_every_transition_of_a_rollout_is_there() -> None:
    written = {row[0]: row[1:3] for row in table("States of a rollout", 1)}
    assert written == {
        tag(kind): [", ".join(sorted(stages)), leads_to.value]
        for kind, (stages, leads_to) in rollout_reducer.FOLLOWS.items()
    }


@pytest.mark.parametrize(
    ("heading", "union"),
    [("Verbs of operators", events.Verb), ("Notes of the server", events.Note), ("Actions of the planner", actions.PlanAction)],
)  # fmt: skip
def test_every_verb_note_and_action_is_there(heading: str, union: object) -> None:
    assert sorted(row[0] for row in table(heading)) == sorted(tags(union))


def test_every_gate_is_there_in_its_order() -> None:
    assert [row[0] for row in table("Gates")] == [name for name, _ in gates.ALL]


def test_every_effect_is_there_with_its_side() -> None:
    sides = (("remote", effects.Remote), ("local", effects.Local), ("both", effects.Shared))
    assert sorted((row[0], row[1]) for row in table("Effects")) == sorted(
        (name, side) for side, union in sides for name in tags(union)
    )


def test_everything_a_host_is_told_is_there() -> None:
    assert [row[0] for row in table("What a host is told")] == [
        kind.__name__ for kind in typing.get_args(agent_state.Said)
    ]
