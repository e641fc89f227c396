"""The public schemas say what the types say, and accept what we write."""

import json
from importlib.resources import files

import jsonschema
import pytest

from requisition.schemas.jsonschema import TYPES, schema
from support.sealed import signed


@pytest.mark.parametrize("name", TYPES)
def test_the_schemas_did_not_drift(name: str) -> None:
    assert files("requisition.schemas").joinpath(f"json/{name}.schema.json").read_bytes() == schema(name)


def test_an_order_of_ours_is_valid() -> None:
    jsonschema.validate(json.loads(signed().payload), json.loads(schema("order")))
