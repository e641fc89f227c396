import pytest

from requisition.schemas.diagnostic import Conflicted
from requisition.services.delivery.requests import Enqueue, Requests
from support.rigs import rig


def test_a_folder_that_changed_since_it_was_delivered_is_not_taken_for_delivered(tmp_path):
    with rig(tmp_path) as at:
        requests = Requests(at.queue, at.delivery)
        asked = Enqueue(path=str(at.source()), to="far", who="alice")
        job = requests.enqueue(asked)
        assert requests.known(asked).job == job
        at.work()
        assert requests.enqueue(asked).id == requests.known(asked).job.id == job.id
        (at.data / "run/late.txt").write_bytes(b"late")
        assert requests.known(asked).job is None
        with pytest.raises(Conflicted, match="delivered this folder as it was then") as refused:
            requests.enqueue(asked)
        assert "'late.txt' is new" in str(refused.value)
        again = requests.enqueue(Enqueue(path=asked.path, to="far", target="run.2", who="alice"))
        at.work()
        assert at.state(again) == "verified"
        assert (at.far / "run.2/late.txt").exists()
        assert not (at.far / "run/late.txt").exists()
