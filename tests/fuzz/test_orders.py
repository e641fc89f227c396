"""Orders of every action with values swapped for other values: told in words by a dry run, never a bug."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from requisition.schemas import canonical, orderfile
from support.process import request
from support.session import ask
from support.small_order import small_order
from support.trees import snapshot

STRANGE = (
    None, True, 0, -1, 2**53 - 1, "", "/", "x", "/a/b", "\0", "é" * 300, [], {}, [[]], ["x"], [1], {"a": 1},
    {"$ref": "x", "output": "y"}, {"$ref": 1}, {"$item": "x", "field": ""}, {"$secret": "t"}, {"$secret": []},
    ["len", ["name", "value"]], ["==", ["lit", 1], ["lit", "1"]], ["and"], ["not", []], ["in", ["lit", 1], ["lit", 1]],
)  # fmt: skip
FLOW = (
    ("flow.gather", {"items": [1, "x"], "body": "demo/body", "limit": 0}),
    (
        "flow.choose",
        {"input": 1, "cases": [{"when": ["==", ["name", "value"], ["lit", 1]], "body": ""}], "default": ""},
    ),
    ("flow.wait_until", {"body": "demo/poll", "until": ["lit", True], "timeout": 1, "interval": 1}),
    ("flow.degraded", {"message": "x"}),
    ("shell.exec", {"argv": ["/bin/true"], "checks_only": True, "env": {"A": "b"}, "ok_codes": [0]}),
    ("file.read", {"path": "/0/keep"}),
    ("content.literal", {"text": "x"}),
)


def whole(folder: Path) -> dict:
    """The document of an order with every action, as plain values."""
    sealed = orderfile.read(str(small_order(folder)))
    document = json.loads(sealed.payload)
    document["phases"] += [{"id": f"demo/{name}", "name": name, "kind": "body"} for name in ("body", "poll")]
    for number, (action, slots) in enumerate(FLOW):
        document["nodes"].append({"id": f"n{number}", "action": action, "phase": "demo/install", "slots": slots})
    return document


def places(value: object) -> list[tuple]:
    """(container, key) of everything in a document."""
    found = []
    pending = [value]
    while pending:
        container = pending.pop()
        keys = container.keys() if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                pending.append(container[key])
    return found


def strange(document: dict, rng: random.Random) -> None:
    """Swap, copy, rename or drop one value somewhere."""
    container, key = rng.choice(places(document))
    kind = rng.randrange(5)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    elif kind == 2 and isinstance(container, dict):
        container[f"{key}x"] = container.pop(key)
    elif kind == 3:
        other, which = rng.choice(places(document))
        container[key] = json.loads(json.dumps(other[which]))
    else:
        container[key] = copy.deepcopy(rng.choice(STRANGE))


def strange_orders(sound: dict, root: Path, path: Path, rounds: int, start: int) -> Iterator[tuple[int, bytes]]:
    """(number, payload) of mutants of a document, each written as an order to `path`."""
    text = json.dumps(sound)
    for number in range(start, start + rounds):
        rng = random.Random(number)
        document = json.loads(text)
        for _ in range(rng.choice((1, 1, 2, 3))):
            strange(document, rng)
        if not isinstance(document.get("context"), dict):
            continue
        document["context"]["target_root"] = str(root)
        try:
            payload = canonical.encode(msgspec.convert(document, dict))
        except canonical.NotCanonical:
            continue
        orderfile.write(str(path), orderfile.Sealed("order", payload))
        yield number, payload


def look(folder: Path, rounds: int, start: int) -> None:
    """Dry runs of orders of every action."""
    sound = whole(folder / "work")
    root, path = folder / "work" / "root", folder / "work" / "package" / "order.plan"
    before, reached = snapshot(root), 0
    for number, payload in strange_orders(sound, root, path, rounds, start):
        answer = ask(request("dry-run", folder / "state", path, on_conflict="overwrite", diff=True))
        assert "internal error" not in answer.text, (number, payload)
        reached += answer.status == "changes"
    assert snapshot(root) == before
    assert reached > rounds / 50, "some must be sound enough to be looked at"


def run(folder: Path, rounds: int, start: int) -> None:
    """Runs of orders that steer and change nothing. Each is stopped when it goes on for too long."""
    sound = whole(folder / "work")
    del sound["nodes"][: -len(FLOW)], sound["phases"][1:3]
    root, path = folder / "work" / "root", folder / "work" / "package" / "order.plan"
    before, reached = snapshot(root), 0
    for number, payload in strange_orders(sound, root, path, rounds, start):
        patience = iter(range(20))
        answer = ask(request("apply", folder / "state", path), cancelled=lambda: next(patience, None) is None)  # noqa: B023
        assert "internal error" not in answer.text, (number, payload)
        reached += answer.status == "done"
    assert snapshot(root) == before
    assert reached > rounds / 50, "some must be sound enough to be run"


@pytest.mark.parametrize(("fuzz", "rounds"), [(look, 400), (run, 100)])
def test_an_order_of_strange_values_is_told_in_words(tmp_path, fuzz, rounds):
    fuzz(tmp_path, rounds, 0)


@pytest.mark.long
@pytest.mark.parametrize(("fuzz", "rounds"), [(look, 12_000), (run, 2_000)])
def test_very_many_orders_of_strange_values_too(tmp_path, fuzz, rounds):
    fuzz(tmp_path, rounds, 1_000_000)
