"""The public JSON Schemas of the fleet, generated from the types; a test fails when the files beside them drift.

`python -m requisition.services.fleet.schema` writes them again. What they cannot say (which fields go together, which
hosts there are) is told by `config.parse` and `rollout.faults`.
"""

import os
from typing import Any

import msgspec

from requisition.schemas import jsonschema
from requisition.services.fleet.agent.config import AgentFile
from requisition.services.fleet.agent.link import Answer, Ask
from requisition.services.fleet.events import Command, Report
from requisition.services.fleet.fleetfile import Fleet
from requisition.services.fleet.rollout import Rollout, Tip
from requisition.services.fleet.trustslots import Nonces, Revocations, TrustEntry

FOLDER = os.path.join(os.path.dirname(__file__), "json")
TYPES: dict[str, Any] = {
    "agent": AgentFile,
    "agent-answer": Answer,
    "agent-ask": Ask,
    "command": Command,
    "fleet": Fleet,
    "fleet-trust": TrustEntry,
    "nonces": Nonces,
    "report": Report,
    "revocations": Revocations,
    "rollout": Rollout,
    "tip": Tip,
}


def schema(name: str) -> bytes:
    """The text of one schema (JSON Schema 2020-12)."""
    return jsonschema.text(name, msgspec.json.schema(TYPES[name]))


def write() -> None:
    """Write every schema into the package."""
    os.makedirs(FOLDER, exist_ok=True)
    for name in TYPES:
        with open(os.path.join(FOLDER, f"{name}.schema.json"), "wb") as file:
            file.write(schema(name))


if __name__ == "__main__":
    write()
