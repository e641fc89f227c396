"""`--host`: the runtime at the far end of a real sshd."""

import subprocess

import pytest

from requisition.schemas import orderfile
from support import sshd
from support.orders import OrderBuilder

pytestmark = sshd.skip_without()


@pytest.fixture
def far(tmp_path):
    made = sshd.Far(tmp_path)
    made.plan("key", "new", "mine")
    made.plan("trust", "add", "mine", made.near / "config/requisition/keys/mine.pub")
    made.trust.write_bytes((made.near / "config/requisition/trust.yaml").read_bytes())
    made.trust.chmod(0o644)
    yield made
    made.close()


def order_of(far, **fields):
    """An order whose root is on the far side and whose input is on the near side."""
    (far.far / "root").mkdir(exist_ok=True)
    order = OrderBuilder(far.near / "package", far.far / "root", **fields)
    order.node("file.copy", source=order.input("data", b"data\n" * 1000), path="/data")
    order.node("file.write", content="x", path="/x")
    return order


def signed(far, order):
    path = order.write()
    far.plan("sign", path, "--key", "mine")
    return path


def test_an_order_is_applied_looked_at_and_taken_back_at_the_far_end_and_its_receipts_are_kept_here_too(far):
    path = signed(far, order_of(far))
    root = far.far / "root"
    assert "2 nodes would change" in far.plan("apply", path, "--host", far.url, "--dry-run")
    assert not list(root.iterdir())
    assert "2 done" in far.plan("apply", path, "--host", far.url)
    assert (root / "data").read_bytes() == b"data\n" * 1000
    (run,) = far.runs()
    kept = far.near / f"state/hosts/root@127.0.0.1:{far.port}/{run.name}.plan"
    assert kept.read_bytes() == (run / "receipt.plan").read_bytes()
    assert "Nothing to do" in far.plan("apply", path, "--host", far.url)
    assert "2 paths are as left" in far.plan("status", "--host", far.url)
    (root / "x").write_text("y")
    assert "/x" in far.plan("status", "--host", far.url, "--root", root, "--detailed-exitcode", code=2)
    (root / "x").write_text("x")
    assert run.name in far.plan("receipts", "--host", far.url)
    assert "file.copy:/data" in far.plan("receipts", "show", run.name, "--host", far.url)
    assert "Taken back" in far.plan("rollback", "--host", far.url, run.name, "--force")
    assert not (root / "data").exists()
    assert kept.with_name(f"{run.name}.rollback.plan").exists()
    assert not list((far.state / "incoming").iterdir())
    assert not (far.near / "state/runs").exists() or not list((far.near / "state/runs").iterdir())
