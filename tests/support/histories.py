"""An index of receipts, asked for all that it has to say."""

from pathlib import Path

from requisition.review.history import index, questions
from requisition.review.history.questions import ANY_HOST, Filter

EVERYTHING = Filter(host=ANY_HOST)
PATHS = ("/a", "/b", "/d/c", "apt:nginx")


def told(connection):
    """All that an index has to say."""
    return (
        questions.runs(connection, EVERYTHING),
        questions.standing(connection, EVERYTHING),
        [questions.events_below(connection, EVERYTHING, path) for path in ("", *PATHS)],
        questions.problems(connection),
    )


def ask(state: Path, question=told):
    return index.ask(str(state), question)


def rebuilt(state: Path):
    (state / "index.db").unlink(missing_ok=True)
    return ask(state)
