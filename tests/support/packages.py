"""Packages written for a test."""

from pathlib import Path

from requisition.compiler import BuildRequest, BuildResult, build, parse_target
from requisition.schemas.document import Node


def write(folder: Path, files: dict[str, str]) -> Path:
    """A package folder; a manifest is added when there is none."""
    for name, text in {"package.yaml": "name: demo\n", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def request(source: Path, target: str = "linux/debian/amd64", **fields) -> BuildRequest:
    return BuildRequest(source=str(source), target=parse_target(target), **fields)


def built(folder: Path, files: dict[str, str], **fields) -> BuildResult:
    return build(request(write(folder, files), **fields))


def installed(folder: Path, body: str, **fields) -> dict[str, Node]:
    """Nodes by id of a package whose install phase has this body."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    result = built(
        folder, {"package.star": f"def install(package, phase):\n{lines}\n", **fields.pop("files", {})}, **fields
    )
    return {node.id: node for node in result.order.nodes}
