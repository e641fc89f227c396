import os
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = """
import os, sys
os.umask(int(sys.argv[3], 8))
from requisition.compiler import BuildRequest, build, parse_target
from requisition.schemas.canonical import encode
import hashlib
request = BuildRequest(source=sys.argv[1], target=parse_target(sys.argv[2]), target_root="/x")
print(hashlib.sha256(encode(build(request).order)).hexdigest())
"""


def test_the_same_package_gives_the_same_bytes_anywhere(tmp_path):
    for name in ("dotfiles", "nginx"):
        digests = set()
        for number, (seed, locale, zone, umask) in enumerate(
            [
                ("0", "C", "UTC", "022"),
                ("1", "C.UTF-8", "Asia/Tokyo", "077"),
                ("42", "POSIX", "America/New_York", "000"),
            ]
        ):
            copy = tmp_path / f"{name}{number}" / ("deeper" * number)
            shutil.copytree(EXAMPLES / name, copy)
            os.utime(copy / "package.yaml", (number, number))
            done = subprocess.run(
                [sys.executable, "-c", SCRIPT, str(copy), "linux/debian/amd64", umask],
                env={"PYTHONHASHSEED": seed, "LC_ALL": locale, "TZ": zone, "PATH": os.environ["PATH"]},
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=True,
            )
            digests.add(done.stdout.strip())
        assert len(digests) == 1
