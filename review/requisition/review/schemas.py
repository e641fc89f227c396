"""JSON Schemas of the documents that commands of this house print with --json."""

from typing import Any

import msgspec

from requisition.review.answer import Answer
from requisition.review.difference import Difference
from requisition.review.history.answers import Blame, History, Why
from requisition.review.summary import Shown
from requisition.schemas.jsonschema import text

TYPES: dict[str, Any] = {
    "blame": Blame, "diff": Difference, "history": History, "query": Answer, "show": Shown, "why": Why,
}  # fmt: skip


def schema(name: str) -> bytes:
    """The text of one schema."""
    return text(name, msgspec.json.schema(TYPES[name]))
