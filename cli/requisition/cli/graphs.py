"""The nodes of an order as a drawing. Names come from orders that nobody may have reviewed yet: each is escaped as
its language wants, and what does not print is shown as its number."""

import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping

from requisition.cli.drawing import local
from requisition.review.values import visible
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Order

_MERMAID = str.maketrans({char: f"#{ord(char)};" for char in '"#&<>`\\'})
_DOT = str.maketrans({'"': '\\"', "\\": "\\\\", "&": "&amp;"})


def dot(order: Order) -> str:
    """In Graphviz's language, phases as clusters. Raises BadInput when an edge leads nowhere."""
    lines = ["digraph order {", "  rankdir=LR; node [shape=box, fontname=monospace];"]
    for index, (phase, nodes) in enumerate(_phases(order).items()):
        lines.append(f'  subgraph cluster_{index} {{ label="{_dot(phase)}";')
        lines += [f'    n{number} [label="{_dot(name)}"];' for number, name in nodes]
        lines.append("  }")
    lines += [f"  n{before} -> n{after};" for before, after in _edges(order)]
    return "\n".join([*lines, "}"])


def mermaid(order: Order) -> str:
    """As Markdown renderers draw it. Raises BadInput when an edge leads nowhere."""
    lines = ["flowchart LR"]
    for index, (phase, nodes) in enumerate(_phases(order).items()):
        lines.append(f'  subgraph p{index}["{_mermaid(phase)}"]')
        lines += [f'    n{number}["{_mermaid(name)}"]' for number, name in nodes]
        lines.append("  end")
    lines += [f"  n{before} --> n{after}" for before, after in _edges(order)]
    return "\n".join(lines)


def svg(order: Order) -> str:
    """As a picture, by Graphviz. Raises BadInput, also where Graphviz is missing."""
    if shutil.which("dot") is None:
        raise BadInput.of("svg needs Graphviz", next="install the package graphviz, or use --format mermaid")
    done = subprocess.run(["dot", "-Tsvg"], input=dot(order).encode(), capture_output=True, check=False)
    if done.returncode:
        why = done.stderr.decode("utf-8", "replace").strip()
        raise BadInput.of("Graphviz did not draw the order", why=why, next="use --format mermaid")
    return done.stdout.decode()


FORMS: dict[str, Callable[[Order], str]] = {"mermaid": mermaid, "dot": dot, "svg": svg}


def _phases(order: Order) -> dict[str, list[tuple[int, str]]]:
    """Number and short name of the nodes of each phase."""
    found: dict[str, list[tuple[int, str]]] = {phase.id: [] for phase in order.phases}
    for number, node in enumerate(order.nodes):
        found.setdefault(node.phase, []).append((number, local(node.id, node.phase)))
    return found


def _edges(order: Order) -> list[tuple[int, int]]:
    numbers = {node.id: number for number, node in enumerate(order.nodes)}
    for node in order.nodes:
        for need in node.needs:
            if need not in numbers:
                raise BadInput.of(f"{node.id} needs {need!r}, which is not in the order", next="build it again")
    return [(numbers[need], number) for number, node in enumerate(order.nodes) for need in node.needs]


def _dot(text: str) -> str:
    return visible(text).translate(_DOT)


def _mermaid(text: str) -> str:
    return visible(text).translate(_MERMAID)


def packages_as(form: str, names: Mapping[str, str], needs: Mapping[str, Iterable[str]]) -> str:
    """Packages of a tree by path, and which needs which, in the language of `form`: dot or mermaid."""
    numbers = {path: number for number, path in enumerate(names)}
    edges = [(numbers[path], numbers[need]) for path in names for need in needs.get(path, ()) if need in numbers]
    if form == "dot":
        lines = ["digraph tree {", "  rankdir=LR; node [shape=box, fontname=monospace];"]
        lines += [f'  n{numbers[path]} [label="{_dot(name)}"];' for path, name in names.items()]
        return "\n".join([*lines, *(f"  n{above} -> n{below};" for above, below in edges), "}"])
    lines = ["flowchart LR", *(f'  n{numbers[path]}["{_mermaid(name)}"]' for path, name in names.items())]
    return "\n".join([*lines, *(f"  n{above} --> n{below}" for above, below in edges)])
