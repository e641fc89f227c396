"""Files that count here are those that nobody else may change."""

import os

import pytest

from requisition.schemas.diagnostic import BadInput, Refused
from requisition.schemas.guarded import read_guarded


def test_a_file_of_its_owner_is_read(tmp_path):
    file = tmp_path / "policy"
    file.write_bytes(b"x")
    file.chmod(0o644)
    assert read_guarded(str(file), "the policy", why="it counts") == b"x"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o622])
def test_one_that_others_may_write_is_refused_with_the_way_out(tmp_path, mode):
    file = tmp_path / "policy"
    file.write_bytes(b"x")
    file.chmod(mode)
    with pytest.raises(Refused, match="others may change the policy") as refused:
        read_guarded(str(file), "the policy", why="it counts")
    assert refused.value.diagnostics[0].next.endswith(f"chmod 644 {file}")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to somebody else")
def test_one_of_somebody_else_is_refused(tmp_path):
    file = tmp_path / "policy"
    file.write_bytes(b"x")
    file.chmod(0o644)
    os.chown(file, 1234, 1234)
    with pytest.raises(Refused, match="others may change the policy"):
        read_guarded(str(file), "the policy", why="it counts")


def test_one_that_is_not_there_is_told_with_what_to_do(tmp_path):
    with pytest.raises(BadInput, match="the policy cannot be read: No such file") as told:
        read_guarded(str(tmp_path / "none"), "the policy", why="it counts", missing="make one")
    assert told.value.diagnostics[0].next == "make one"
