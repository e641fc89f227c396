"""The public JSON Schema of watch.yaml, generated from its types; a test fails when the file beside them drifts.

`python -m requisition.services.watch.schema` writes it again. What it cannot say (which fields go together, which paths
are none) is told by `config.parse`.
"""

import os
from typing import Any

import msgspec

from requisition.schemas import jsonschema
from requisition.services.watch.config import DURATION, DURATIONS, Config

NAME = "watch"
FILE = os.path.join(os.path.dirname(__file__), "json", f"{NAME}.schema.json")


def schema() -> bytes:
    """The text of the schema (JSON Schema 2020-12): durations are words, the name of a watch is its key."""
    found: dict[str, Any] = msgspec.json.schema(Config)
    records = found["$defs"]
    for record in (records["Config"], records["Watch"]):
        for name in DURATIONS & record["properties"].keys():
            record["properties"][name] = {"type": "string", "pattern": DURATION}
    del records["Watch"]["properties"]["name"]
    records["Watch"]["required"].remove("name")
    return jsonschema.text(NAME, found)


if __name__ == "__main__":
    os.makedirs(os.path.dirname(FILE), exist_ok=True)
    with open(FILE, "wb") as file:
        file.write(schema())
