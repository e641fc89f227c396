"""What may be a target, what may be the id of a job, and which transport a destination gets."""

import pytest

from requisition.schemas.diagnostic import BadInput
from requisition.services.delivery.choose import transport_for
from requisition.services.delivery.config import Destination
from requisition.services.delivery.local import Local
from requisition.services.delivery.rclone import Rclone
from requisition.services.delivery.rsync import Rsync
from requisition.services.delivery.transport import checked_target, incoming


@pytest.mark.parametrize("target", ["a", "a/b c/d", "-rf", "…/x", "a.delivered", "x/.incoming"])
def test_a_target_is_a_path_below_the_destination(target: str) -> None:
    assert checked_target(target) == target


@pytest.mark.parametrize(
    "target",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", "a/.", "a\0b", ".incoming/x", "a.delivery", "a.delivery/b"],
)
def test_no_target_leads_elsewhere_or_to_what_is_ours(target: str) -> None:
    with pytest.raises(BadInput, match="is no target"):
        checked_target(target)


@pytest.mark.parametrize("job", ["", "..", "a/b", "-a", "a b", "a\n", "x" * 65, "a;b"])
def test_the_id_of_a_job_is_one_plain_word(job: str) -> None:
    with pytest.raises(BadInput, match="is no id of a job"):
        incoming(job)


@pytest.mark.parametrize(
    ("destination", "kind"),
    [
        (Destination("a", "local", path="/a"), Local),
        (Destination("a", "rsync", path="/a", host="h"), Rsync),
        (Destination("a", "rclone", remote="r:a"), Rclone),
    ],
)
def test_a_destination_gets_its_transport_and_no_secret_of_ours(destination: Destination, kind: type) -> None:
    found = transport_for(destination, {"PATH": "/bin", "HOME": "/h", "TOKEN": "secret", "LANG": "de_CH.UTF-8"})
    assert isinstance(found, kind)
    assert found._environ == {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C"}
