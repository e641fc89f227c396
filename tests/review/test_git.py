"""The drivers of git that docs/review.md tells of, in a real repository."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.script import environment

PAGE = Path(__file__).parents[2] / "docs/review.md"
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def run(tmp_path):
    """Runs a command in a repository that has an order twice: committed, and built with another mode since."""
    names = ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL", "GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME")
    env = environment(tmp_path) | dict.fromkeys(names, "t") | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_PAGER": "cat"}
    work = tmp_path / "work"
    work.mkdir()

    def run(command: str) -> str:
        done = subprocess.run(["sh", "-c", command], cwd=work, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (work / "web.star").write_text('def install(package, phase):\n    plan.file.mkdir("/a", mode = 0o700)\n')
    run("git init -q && plan build web.star -o web.yaml --root / -q && plan build web.star -o web.plan --root / -q")
    (work / ".gitattributes").write_text("web.* diff=requisition\n*.star !diff\n")
    run("git add . && git commit -q -m one")
    run("sed -i s/0o700/0o755/ web.star")
    run("plan build web.star -o web.yaml --root / -q && plan build web.star -o web.plan --root / -q")
    return run


def configured(key: str) -> str:
    """The `git config` line of the page."""
    (line,) = re.findall(
        rf"^\$ (git config (?:--global )?diff\.requisition\.{key} .*)$", PAGE.read_text(), re.MULTILINE
    )
    return line.replace("--global ", "")


@pytest.mark.parametrize("file", ["web.yaml", "web.plan"])
def test_textconv_shows_two_versions_of_an_order_as_plan_shows_them(run, file):
    run(configured("textconv"))
    shown = run(f"git diff {file}")
    assert re.search(r"^-    \+ file\.mkdir:/a  mode=0700  web\.star:2$", shown, re.MULTILINE)
    assert re.search(r"^\+    \+ file\.mkdir:/a  mode=0755  web\.star:2$", shown, re.MULTILINE)
    assert "trust" not in shown


@pytest.mark.parametrize("file", ["web.yaml", "web.plan"])
def test_the_external_driver_shows_what_they_mean_differently(run, file):
    run(configured("command"))
    assert run(f"git diff --ext-diff {file}").splitlines() == [
        "~ web/install/file.mkdir:/a  web.star:2",
        "    mode: 0700 becomes 0755",
        "1 node changed",
    ]
    run(f"git rm -q --cached {file}")
    assert "- web/install/file.mkdir:/a" in run(f"git diff --ext-diff --cached {file}")
