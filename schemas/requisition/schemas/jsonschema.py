"""The public JSON Schemas, generated from the types; a test fails when the files beside them drift.

`python -m requisition.schemas.jsonschema` writes them again.
"""

import os
from typing import Any

import msgspec

from requisition.schemas.deliveryfile import DeliveryFile
from requisition.schemas.document import Order
from requisition.schemas.receipt import Receipt
from requisition.schemas.treeevent import Known
from requisition.schemas.trustfile import TrustFile

FOLDER = os.path.join(os.path.dirname(__file__), "json")
TYPES: dict[str, Any] = {
    "delivery": DeliveryFile,
    "order": Order,
    "receipt": Receipt,
    "tree-event": Known,
    "trust": TrustFile,
}


def schema(name: str) -> bytes:
    """The text of one schema (JSON Schema 2020-12)."""
    return text(name, msgspec.json.schema(TYPES[name]))


def text(title: str, found: dict[str, Any]) -> bytes:
    """A schema as it is published."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return msgspec.json.format(msgspec.json.encode(head | found), indent=2) + b"\n"


def write() -> None:
    """Write every schema into the package."""
    os.makedirs(FOLDER, exist_ok=True)
    for name in TYPES:
        with open(os.path.join(FOLDER, f"{name}.schema.json"), "wb") as file:
            file.write(schema(name))


if __name__ == "__main__":
    write()
