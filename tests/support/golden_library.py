"""Orders of `tests/stdlib/library/*.star`, one script for each file of `@std//`. Written anew by
`python -m support.golden_library` with `tests` as working directory: read its diff before you commit it."""

from pathlib import Path

from requisition.compiler import build
from requisition.schemas import orderfile
from support.packages import request

FOLDER = Path(__file__).parents[1] / "stdlib" / "library"


def write(name: str, path: Path) -> None:
    """Build one script for Debian and write its order."""
    orderfile.write(str(path), orderfile.seal(build(request(FOLDER / f"{name}.star")).order))


if __name__ == "__main__":
    for script in FOLDER.glob("*.star"):
        write(script.stem, script.with_suffix(".yaml"))
