"""The public JSON Schema of package.yaml, generated from its types; a test fails when the file beside them drifts.

`python -m requisition.compiler.manifest_schema` writes it again. It says what has which type; what the schema cannot
say (paths, urls, what contradicts what) is told by `manifest.parse_manifest`.
"""

import os
from typing import Any

import msgspec

from requisition.compiler.manifest import EXTENSIONS, Manifest
from requisition.schemas import jsonschema

NAME = "package"
FILE = os.path.join(os.path.dirname(__file__), "json", f"{NAME}.schema.json")
_ONE_KEY = ("Action", "Predicate")


def schema() -> bytes:
    """The text of the schema (JSON Schema 2020-12)."""
    found: dict[str, Any] = msgspec.json.schema(Manifest)
    records = found["$defs"]
    properties = records["Manifest"]["properties"]
    del properties[EXTENSIONS]
    records["Manifest"]["patternProperties"] = {"^x-": {}}
    for name in _ONE_KEY:
        records[name] |= {"minProperties": 1, "maxProperties": 1}
    return jsonschema.text(NAME, found)


if __name__ == "__main__":
    os.makedirs(os.path.dirname(FILE), exist_ok=True)
    with open(FILE, "wb") as file:
        file.write(schema())
