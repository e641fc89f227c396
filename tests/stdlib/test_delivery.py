"""`delivery.enqueue` against the real service."""

import pytest

from requisition.stdlib.action import ActionError, Change, NotCompensable, Satisfied
from requisition.stdlib.providers.delivery import Enqueue
from support.hosts import Bench
from support.shipping import Shipper


@pytest.fixture
def shipper(tmp_path):
    made = Shipper(tmp_path)
    yield made
    made.close()


@pytest.fixture
def bench(shipper):
    """A host whose root is the folder above the shipper's."""
    (shipper.folder / "bench").mkdir()
    made = Bench(shipper.folder / "bench")
    shipper.root = made.root / "runs"
    shipper.root.mkdir()
    shipper.configure()
    return made


def slots(shipper, **more):
    return {"path": "/runs/one", "to": "disk", "socket": str(shipper.socket)} | more


def test_a_folder_is_handed_to_the_service_once(shipper, bench):
    shipper.made("one", {"a": "a"})
    shipper.start()
    bench.do(Enqueue(), **slots(shipper))
    shipper.until(lambda: (shipper.disk / "one/a").exists())
    found = bench.observe(Enqueue(), **slots(shipper))
    assert isinstance(found, Satisfied)
    assert [job["id"] for job in shipper.json("list")] == [found.outputs["job"]]


def test_it_is_taken_back_as_long_as_its_delivery_has_not_begun(shipper, bench):
    shipper.made("one", {"a": "a"})
    shipper.plan("pause", "--to", "disk")
    shipper.start()
    change = bench.do(Enqueue(), **slots(shipper))
    bench.undo(Enqueue(), change)
    assert [job["state"] for job in shipper.json("list")] == ["cancelled"]
    bench.undo(Enqueue(), change)  # and a second time is as good as once


def test_what_was_delivered_already_cannot_be_taken_back(shipper, bench):
    shipper.made("one", {"a": "a"})
    shipper.start()
    change = bench.do(Enqueue(), **slots(shipper))
    shipper.until(lambda: (shipper.disk / "one.delivery/receipt.json").exists())
    with pytest.raises(NotCompensable, match="has begun"):
        bench.undo(Enqueue(), change)


def test_a_folder_that_is_yet_to_be_made_can_be_planned_for(shipper, bench):
    shipper.start()
    assert isinstance(bench.observe(Enqueue(), **slots(shipper)), Change)


def test_without_a_service_it_says_how_to_start_one(shipper, bench):
    with pytest.raises(ActionError, match="does not answer"):
        bench.observe(Enqueue(), **slots(shipper))


def test_what_the_service_refuses_is_told_in_its_words(shipper, bench):
    shipper.made("one", {"a": "a"})
    shipper.start()
    with pytest.raises(ActionError, match="there is no destination 'moon'"):
        bench.observe(Enqueue(), **slots(shipper, to="moon"))
