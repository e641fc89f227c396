"""Writes what show, diff and query print of two orders: `python -m support.golden_review` with `tests` as working
directory. Some names in these orders were chosen to break whoever prints them."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec.structs import replace

from requisition.cli.commands.review import drawn
from requisition.cli.differing import lines
from requisition.cli.graphs import dot
from requisition.cli.markdown import comment
from requisition.cli.output import Output, clean
from requisition.review.answer import answer, as_document, part
from requisition.review.difference import difference
from requisition.review.sides import Side, open_side
from requisition.review.signatures import standing
from requisition.review.summary import summary
from requisition.schemas import orderfile
from requisition.schemas.document import Node, Order, Phase, Platform, Retry
from support.orders import OrderBuilder
from support.sealed import public, sign

FOLDER = Path(__file__).parents[1] / "review/golden"
NOW = datetime(2026, 11, 20, tzinfo=UTC)
BAD = "/a`b``c\n- [x](javascript:1) @everyone </details> \x1b[2J\u202e|"


def before(folder: Path) -> Order:
    """Files, a command and a service in three phases."""
    order = OrderBuilder(folder, Path("/srv"), package="web")
    made = order.node("file.mkdir", path="/etc/web")
    order.node("file.copy", source=order.input("a.conf", b"one\n```\ntwo\n"), path="/etc/web/a.conf", needs=[made])
    text = "first\nsecond ``` third\n"
    order.node("file.write", path="/etc/web/b.conf", content=text, mode=0o640, needs=[made])
    order.node("file.write", path="/etc/web/key", content={"$secret": "key"}, mode=0o600)
    order.node("file.write", path="/etc/web/old", content="old\n")
    order.node("shell.exec", argv=["sh", "-c", "make | tee log"], name="make", phase="provision")
    order.node("service.restart", slots={"name": "web"}, name="web", phase="provision")
    order.phase("verify")
    return replace(order.order(), platform=Platform("linux", "debian", "amd64"), tool="requisition 0.1.0")


def after(folder: Path) -> Order:
    """The same, changed in every way that is told."""
    old = before(folder)
    (folder / "a.conf").unlink()
    order = OrderBuilder(folder, Path("/srv"), package="web")
    order.input("a.conf", b"one\n```\n2\n")
    new = replace(old, serial=4, inputs=order.order().inputs)
    new = replace(new, context=replace(old.context, settings={"port": 81}, features=("tls",)))
    nodes = {node.id.rpartition(":")[2]: node for node in old.nodes}
    write, restart, make = nodes["/etc/web/b.conf"], nodes["web"], nodes["make"]
    slots = {"content": "first\nsecond ``` 3\n", "path": "/etc/web/b.conf", "mode": 0o666}
    moved = replace(restart, id="web/verify/service.restart:web", phase="web/verify", needs=(make.id,))
    kept = (
        nodes["/etc/web"],
        nodes["/etc/web/a.conf"],
        replace(write, slots=slots, retry=Retry(3), needs=()),
        replace(nodes["/etc/web/key"], slots=nodes["/etc/web/key"].slots | {"content": {"$secret": "other"}}),
        replace(make, elevate=True),
        moved,
        Node(
            f"web/verify/file.remove:{BAD}", "file.remove", "web/verify", {"path": BAD, "recursive": True}, (moved.id,)
        ),
    )
    phases = (old.phases[1], old.phases[0], replace(old.phases[2], retry=Retry(2)), Phase("web/late", "late"))
    return replace(new, nodes=kept, phases=phases)


def sides(folder: Path) -> tuple[Side, Side]:
    """The two as files, each beside its inputs; the second is signed."""
    found = []
    for name, made in (("before", before), ("after", after)):
        sealed = orderfile.seal(made(folder / name))
        if name == "after":
            sealed = replace(sealed, signatures=(sign(sealed, "alice"),))
        orderfile.write(str(folder / name / "order.plan"), sealed)
        found.append(open_side(str(folder / name / "order.plan")))
        found[-1].name = f"{name}.plan"
    return found[0], found[1]


def outputs() -> dict[str, str]:
    """Every golden file, by name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        a, b = sides(folder)
        trust = folder / "trust.yaml"
        trust.write_text(f"keys: {{alice: {{key: {public('alice').openssh()}}}}}\nrequire: {{author: 1}}\n")
        assert b.sealed is not None
        found = difference(a, b, (None, standing(b.sealed, str(trust), NOW)))
        shown = summary(b.sealed, str(trust), NOW)
        query = "levels() except risk(command)"
        selected, view = answer(query, b.document)
        return {
            "show.txt": clean("\n".join(drawn(Output(), shown, full=True, alone=False))) + "\n",
            "show.json": formatted(shown),
            "diff.txt": clean("\n".join(lines(found, Output()))) + "\n",
            "diff.json": formatted(found),
            "diff.md": comment(found),
            "query.json": formatted(as_document(query, b.document, selected, view)),
            "query.dot": dot(part(b.document, selected, view)) + "\n",
        }


def formatted(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in outputs().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
