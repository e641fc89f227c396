"""The catalogue: what every action is called, takes and gives, as data.

The compiler, `plan actions` and the documentation read it; no provider is imported for that. It is
generated from the providers (`make catalogue`), and a test fails when it drifts. A plug-in distribution
adds its own by an entry point of the group `requisition.catalogues` (name: anything, value: a module that
has a `catalogue.json` beside it).
"""

import difflib
import importlib
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files

import msgspec

from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.flow import FLOW_ACTIONS
from requisition.stdlib.spec import ActionSpec

GROUP = "requisition.catalogues"
Catalogue = Mapping[str, ActionSpec]


@cache
def load() -> Catalogue:
    """Every action this installation knows, sorted by name."""
    specs = _read("requisition.stdlib")
    for entry in entry_points(group=GROUP):
        for spec in _read(entry.value):
            if spec.name in {known.name for known in specs}:
                raise BadInput.of(
                    f"the plug-in {entry.name!r} declares {spec.name!r}, which exists already",
                    next="remove one of the two",
                )
            specs.append(spec)
    return {spec.name: spec for spec in sorted(specs, key=lambda spec: spec.name)}


def suggest(name: str) -> str:
    """The action whose name is nearest; empty when none is near."""
    near = difflib.get_close_matches(name, load(), 1)
    return near[0] if near else ""


def _read(module: str) -> list[ActionSpec]:
    data = files(module).joinpath("catalogue.json").read_bytes()
    try:
        return msgspec.json.decode(data, type=list[ActionSpec])
    except msgspec.MsgspecError as error:
        raise BadInput.of(f"the catalogue of {module} is damaged", why=str(error)) from error


def describe_builtins() -> bytes:
    """The catalogue file's content, from the providers themselves."""
    builtin: Mapping[str, str] = importlib.import_module("requisition.stdlib.providers").BUILTIN
    specs = list(FLOW_ACTIONS)
    for place in builtin.values():
        module, _, name = place.partition(":")
        specs.append(getattr(importlib.import_module(module), name).spec)
    ordered = sorted(specs, key=lambda spec: spec.name)
    return msgspec.json.format(msgspec.json.encode(ordered), indent=2) + b"\n"


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    with open(str(files("requisition.stdlib").joinpath("catalogue.json")), "wb") as file:
        file.write(describe_builtins())
