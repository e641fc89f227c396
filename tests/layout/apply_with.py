"""Apply one order with a runtime that is installed elsewhere: `python -m layout.apply_with PROGRAM`.

The order is made and the frames are spoken here; the other installation only runs.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from support.orders import OrderBuilder
from support.process import Answer, encoded, parse, request


def apply_with(program: list[str], folder: Path, env: dict[str, str] | None = None) -> Answer:
    """Apply a small order to `<folder>/root` and return what the runtime said."""
    root = folder / "root"
    root.mkdir()
    builder = OrderBuilder(folder / "package", root)
    made = builder.node("file.mkdir", path="/etc")
    builder.node("file.write", path="/etc/greeting", content="hello\n", needs=(made,))
    builder.node("file.copy", path="/etc/copied", source=builder.input("file", b"copied\n"), needs=(made,))
    asked = request("apply", folder / "state", builder.write())
    done = subprocess.run(program, input=encoded(asked), capture_output=True, env=env, cwd="/", check=False)
    return parse(done.stdout, done.returncode, done.stderr)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        answer = apply_with([str(Path(sys.argv[1]).absolute())], Path(folder))
        written = Path(folder, "root/etc/greeting")
        good = answer.status == "done" and written.read_text() == "hello\n"
    print(f"{sys.argv[1]}: {answer.status}" if good else answer.stderr + answer.text)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
