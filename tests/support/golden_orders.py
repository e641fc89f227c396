"""The order of `tests/compiler/golden/whole`, a package that uses the whole language. Written anew by
`python -m support.golden_orders` with `tests` as working directory: read its diff before you commit it."""

from pathlib import Path

from requisition.compiler import build
from requisition.schemas import orderfile
from support.packages import request

FOLDER = Path(__file__).parents[1] / "compiler" / "golden"


def write(path: Path) -> None:
    """Build the package for Debian and write its order."""
    orderfile.write(str(path), orderfile.seal(build(request(FOLDER / "whole")).order))


if __name__ == "__main__":
    write(FOLDER / "whole.yaml")
