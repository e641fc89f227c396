"""JSON Schemas of the documents that commands of this house print with --json."""

from typing import Any

import msgspec

from requisition.review.answer import Answer
from requisition.review.difference import Difference
from requisition.review.summary import Shown
from requisition.schemas.jsonschema import text

TYPES: dict[str, Any] = {"diff": Difference, "query": Answer, "show": Shown}


def schema(name: str) -> bytes:
    """The text of one schema."""
    return text(name, msgspec.json.schema(TYPES[name]))
