"""Packages by apt, from a repository made here, into roots of their own: through the whole runtime."""

import shutil
import tempfile
from pathlib import Path

import pytest

from support.aptroot import MISSING, AptRoot, Repository

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING}")


@pytest.fixture(scope="module")
def repository():
    """apt reads it as another user, so it is in a folder that everyone may enter."""
    folder = Path(tempfile.mkdtemp(prefix="apt-"))
    folder.chmod(0o755)
    made = Repository(folder)
    yield made
    made.close()
    shutil.rmtree(folder)


@pytest.fixture
def machine(repository):
    folder = Path(tempfile.mkdtemp(prefix="apt-"))
    folder.chmod(0o755)
    yield AptRoot(folder, repository)
    shutil.rmtree(folder)


def test_packages_are_installed_once_and_a_rollback_leaves_nothing_of_them(machine):
    before = machine.whole()
    order = machine.install("app", "tool")
    first = machine.run("apply", order)
    assert first.status == "done", first.text
    assert first.result.summary == {"done": 2}
    assert machine.packages() == {"app": "2.0", "lib": "2.0", "tool": "1.1"}
    assert machine.auto() == ["lib"]
    again = machine.run("apply", order)
    assert again.result.summary == {"unchanged": 2}, again.text
    back = machine.run("rollback", first.result.receipt)
    assert back.status == "done", back.text
    assert machine.whole() == before
