"""`examples/plugin`, installed as its users would install it, on real alternatives of a scratch root."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

PLAN = "from requisition.cli.main import main; raise SystemExit(main())"
PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"
pytestmark = pytest.mark.skipif(
    shutil.which("update-alternatives") is None, reason="update-alternatives comes with Debian's dpkg"
)
SCRIPT = """
def install(package, phase):
    plan.alternatives.set("editor", "/usr/bin/vi")
    plan.alternatives.set("pager", "/usr/bin/less")
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """An environment of its own that has this product and the plug-in, built and installed by pip."""
    place = tmp_path_factory.mktemp("installation")
    source = shutil.copytree(PLUGIN, tmp_path_factory.mktemp("source") / "plugin")
    venv.create(place, with_pip=False, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(place)}))
    product = sysconfig.get_path("purelib")
    (packages / "product.pth").write_text(f"import site; site.addsitedir({product!r})\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--no-build-isolation", "--no-index", "--target", packages, source],
        check=True,
    )  # fmt: skip
    return place


class Machine:
    """A root with two groups of alternatives, and the `plan` of an installation that has the plug-in."""

    def __init__(self, folder, installation):
        self.folder, self.root, self.python = folder, folder / "root", installation / "bin" / "python"
        for path in ("usr/bin", "etc/alternatives", "var/lib/dpkg/alternatives", "var/log"):
            (self.root / path).mkdir(parents=True)
        for group, program, priority in (
            ("editor", "nano", 50), ("editor", "vi", 10), ("pager", "more", 50), ("pager", "less", 10),
        ):  # fmt: skip
            (self.root / "usr/bin" / program).touch()
            self.alternatives("--install", f"/usr/bin/{group}", group, f"/usr/bin/{program}", str(priority))

    def alternatives(self, *words):
        command = ["update-alternatives", "--root", self.root, "--quiet", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def selections(self):
        return {line.split()[0]: tuple(line.split()[1:]) for line in self.alternatives("--get-selections").splitlines()}

    def run(self, *command):
        env = {**os.environ, "HOME": str(self.folder), "REQUISITION_STATE": str(self.folder / "state")}
        return subprocess.run([self.python, *command], env=env, capture_output=True, text=True, check=False)

    def plan(self, *words):
        return self.run("-c", PLAN, *words)

    def apply(self, script=SCRIPT, *options):
        (self.folder / "demo.star").write_text(script)
        built = self.plan(
            "build", str(self.folder / "demo.star"), "-o", str(self.folder / "demo.plan"), "--root", str(self.root)
        )
        assert built.returncode == 0, built.stderr
        return self.plan("apply", str(self.folder / "demo.plan"), "--allow-unsigned", *options)


@pytest.fixture
def machine(tmp_path, installation):
    return Machine(tmp_path, installation)


def test_its_action_is_listed_and_explained(machine):
    assert "alternatives.set" in machine.plan("actions").stdout
    assert "the group of alternatives" in machine.plan("actions", "alternatives.set").stdout


def test_its_calls_are_type_checked(machine):
    script = machine.folder / "wrong.star"
    script.write_text('def install(package, phase):\n    plan.alternatives.set("editor", 5)\n')
    found = machine.plan("check", str(script))
    assert found.returncode == 4
    assert "wrong.star:2:" in found.stderr


def test_it_changes_once_shows_drift_and_gives_back_what_was(machine):
    before = machine.selections()
    assert machine.apply().returncode == 0
    chosen = {"editor": ("manual", "/usr/bin/vi"), "pager": ("manual", "/usr/bin/less")}
    assert machine.selections() == chosen
    assert machine.apply(SCRIPT, "--dry-run", "--detailed-exitcode").returncode == 0
    machine.alternatives("--set", "pager", "/usr/bin/more")
    drift = machine.plan("status", "--root", str(machine.root), "--json")
    told = [event for event in map(json.loads, drift.stdout.splitlines()) if event.get("kind") == "drift"]
    assert [event["text"] for event in told] == ["alternative:pager: was /usr/bin/less, is /usr/bin/more"]
    machine.alternatives("--set", "pager", "/usr/bin/less")
    taken_back = machine.plan("rollback", "--yes")
    assert taken_back.returncode == 0, taken_back.stderr
    assert machine.selections() == before


def test_a_failure_gives_back_what_was(machine):
    before = machine.selections()
    failed = machine.apply(SCRIPT + '    plan.shell.exec(["false"])\n')
    assert failed.returncode == 1
    assert machine.selections() == before


def test_what_it_cannot_do_is_said_before_anything_is_touched(machine):
    before = machine.selections()
    wrong = machine.apply(SCRIPT + '    plan.alternatives.set("shell", "/bin/sh")\n')
    assert wrong.returncode != 0
    assert "demo.star:5" in wrong.stderr
    assert "no group of alternatives 'shell'" in wrong.stderr
    assert machine.selections() == before


def test_its_catalogue_is_what_its_code_says(machine):
    wanted = (PLUGIN / "requisition_alternatives" / "catalogue.json").read_bytes()
    assert machine.run("-m", "requisition.stdlib.catalogue", "requisition_alternatives").returncode == 0
    found = machine.run("-c", "import requisition_alternatives; print(requisition_alternatives.__path__[0])").stdout
    assert Path(found.strip(), "catalogue.json").read_bytes() == wanted
