"""The catalogue: what every action is called, takes and gives, as data.

The compiler, `plan actions` and the documentation read it; no provider is imported for that. It is
generated from the providers (`make catalogue`), and a test fails when it drifts. A plug-in distribution
adds its own by an entry point of the group `requisition.catalogues` (name: anything, value: a package that
has a `catalogue.json` in it; the package itself is not imported).
"""

import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from functools import cache
from importlib.abc import ResourceLoader
from importlib.metadata import entry_points
from importlib.resources import files
from types import MappingProxyType

import msgspec

from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.flow import FLOW_ACTIONS
from requisition.stdlib.spec import ActionSpec

GROUP = "requisition.catalogues"
Catalogue = Mapping[str, ActionSpec]


@cache
def load() -> Catalogue:
    """Every action this installation knows, sorted by name."""
    own = files("requisition.stdlib").joinpath("catalogue.json").read_bytes()
    specs = {spec.name: spec for spec in _decode(own, "requisition.stdlib")}
    for entry in entry_points(group=GROUP):
        for spec in _decode(_read_plugin(entry.value), entry.value):
            if specs.setdefault(spec.name, spec) is not spec:
                raise BadInput.of(
                    f"the plug-in {entry.name!r} declares {spec.name!r}, which exists already",
                    next="remove one of the two",
                )
    return MappingProxyType({name: specs[name] for name in sorted(specs)})


def suggest(name: str) -> str:
    """The action whose name is nearest; empty when none is near."""
    near = difflib.get_close_matches(name, load(), 1)
    return near[0] if near else ""


def _read_plugin(package: str) -> bytes:
    """`catalogue.json` of an installed package, found without running the package."""
    try:
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None or not isinstance(found.loader, ResourceLoader):
            raise FileNotFoundError(f"no package {package}")
        return found.loader.get_data(os.path.join(os.path.dirname(found.origin), "catalogue.json"))
    except (ImportError, OSError, ValueError) as error:
        raise BadInput.of(
            f"the plug-in {package!r} has no catalogue", why=str(error), next="install it again, or remove it"
        ) from error


def _decode(data: bytes, module: str) -> list[ActionSpec]:
    try:
        return msgspec.json.decode(data, type=list[ActionSpec])
    except msgspec.MsgspecError as error:
        raise BadInput.of(f"the catalogue of {module} is damaged", why=str(error)) from error


def describe_builtins() -> bytes:
    """The catalogue file's content, from the providers themselves."""
    builtin: Mapping[str, str] = importlib.import_module("requisition.stdlib.providers").BUILTIN
    return _encode([*FLOW_ACTIONS, *map(_spec_of, builtin.values())])


def describe_plugin(package: str) -> bytes:
    """The same for the actions that an installed plug-in's package declares as entry points."""
    declared = [entry.value for entry in entry_points(group="requisition.actions")]
    places = [place for place in declared if place.partition(":")[0].partition(".")[0] == package]
    if not places:
        raise SystemExit(f"{package} is not installed, or declares no entry point of the group requisition.actions")
    return _encode([_spec_of(place) for place in places])


def _spec_of(place: str) -> ActionSpec:
    module, _, name = place.partition(":")
    spec: ActionSpec = getattr(importlib.import_module(module), name).spec
    return spec


def _encode(specs: list[ActionSpec]) -> bytes:
    ordered = sorted(specs, key=lambda spec: spec.name)
    return msgspec.json.format(msgspec.json.encode(ordered), indent=2) + b"\n"


def _main(words: list[str]) -> None:
    """`--write`: our own catalogue; the name of a plug-in's package: its."""
    if len(words) != 1:
        raise SystemExit("usage: python -m requisition.stdlib.catalogue (--write | PACKAGE)")
    own = words[0] == "--write"
    content = describe_builtins() if own else describe_plugin(words[0])
    with open(str(files("requisition.stdlib" if own else words[0]).joinpath("catalogue.json")), "wb") as file:
        file.write(content)


if __name__ == "__main__":
    _main(sys.argv[1:])
