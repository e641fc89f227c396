"""The fleet's public schemas say what its types say, and accept what we write."""

import json
from importlib.resources import files

import jsonschema
import pytest

from requisition.schemas import strictyaml
from requisition.services.fleet import rollout
from requisition.services.fleet.schema import TYPES, schema
from support.fleets import FLEET_YAML as GOOD
from support.fleets import made


@pytest.mark.parametrize("name", TYPES)
def test_the_schemas_did_not_drift(name: str) -> None:
    assert files("requisition.services.fleet").joinpath(f"json/{name}.schema.json").read_bytes() == schema(name)


def test_a_fleet_and_a_rollout_of_ours_are_valid() -> None:
    jsonschema.validate(strictyaml.load(GOOD, "fleet.yaml")[0], json.loads(schema("fleet")))
    jsonschema.validate(json.loads(rollout.payload(made([["a"]]).rollout)), json.loads(schema("rollout")))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": "1", "fleet": "x"}, json.loads(schema("fleet")))
