"""What people look at before they trust it, `show`, `diff` and `graph`, over documents with values swapped."""

import json
import random
from pathlib import Path

import msgspec
import pytest

from fuzz.test_orders import strange, whole
from requisition.cli import graphs
from requisition.cli.commands import review
from requisition.cli.differing import lines
from requisition.cli.markdown import comment
from requisition.cli.output import Output
from requisition.review.answer import answer
from requisition.review.difference import difference
from requisition.review.sides import open_side
from requisition.review.values import shown_value
from requisition.schemas import canonical, orderfile
from requisition.schemas.diagnostic import BadInput
from support.process import request
from support.session import ask


def documents(folder: Path) -> dict[str, dict]:
    """An order of every action, and the receipt of its run, as plain values."""
    order = whole(folder / "work")
    answer = ask(request("apply", folder / "state", folder / "work/package/order.plan", on_conflict="overwrite"))
    return {"order": order, "receipt": json.loads(orderfile.read(answer.result.receipt).payload)}


@pytest.mark.parametrize("rounds", [400, pytest.param(10_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", ["order", "receipt"])
def test_a_document_of_strange_values_is_shown_or_told_in_words(kind, rounds, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    sound, path, output, shown = documents(tmp_path)[kind], str(tmp_path / "strange.plan"), Output(), 0
    text = json.dumps(sound)
    orderfile.write(path, orderfile.Sealed(kind, canonical.encode(sound)))
    before = open_side(path)
    for number in range(rounds):
        rng, document = random.Random(number), json.loads(text)
        for _ in range(rng.choice((1, 1, 2, 3))):
            strange(document, rng)
        try:
            orderfile.write(path, orderfile.Sealed(kind, canonical.encode(document)))
            order = orderfile.decode_order(orderfile.read(path))
            review.show_file(output, path, full=True)
            after = open_side(path)
            for one in (difference(before, after), difference(after, before)):
                assert msgspec.json.encode(one)
                assert comment(one)
                list(lines(one, output))
            answer("levels() union attr(*, '*a*') union risk(*)", after.document)
            graphs.mermaid(order)
            shown += 1
        except BadInput:
            continue
    assert shown > rounds / 50, "some must be sound enough to be shown"


def test_a_promise_that_names_no_node_is_shown_as_it_is():
    assert shown_value("content", {"$ref": 1, "output": "text"}) == "{$ref: 1, output: 'text'}"


def test_a_receipt_of_nodes_that_its_order_does_not_have_is_refused(tmp_path):
    receipt = documents(tmp_path)["receipt"]
    receipt["nodes"][-1]["node"] = len(receipt["order"]["nodes"])
    with pytest.raises(BadInput, match="the receipt tells of node"):
        orderfile.decode(orderfile.Sealed("receipt", canonical.encode(receipt)))
