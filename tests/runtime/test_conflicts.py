"""What is in the way, and what the policy says about it: the whole table."""

import pytest

from requisition.runtime.conflicts import Conflict, conflicts_of, remedy
from requisition.schemas.receipt import Left
from requisition.stdlib.host import FileChange, Prior

KINDS = ("absent", "file", "dir", "link", "other")
IN_THE_WAY = {
    # (what is there, what is wanted): (when it is a stranger's, when it is ours)
    ("file", "file"): (True, False),
    ("file", "dir"): (True, False),
    ("file", "link"): (True, False),
    ("link", "file"): (True, False),
    ("link", "dir"): (True, False),
    ("link", "link"): (True, False),
    ("other", "file"): (True, False),
    ("other", "dir"): (True, False),
    ("other", "link"): (True, False),
    ("dir", "file"): (True, True),
    ("dir", "link"): (True, True),
}
WORDS = {"file": "regular file", "dir": "directory", "link": "foreign link", "other": "other"}


@pytest.mark.parametrize("wanted", ["absent", "file", "dir", "link"])
@pytest.mark.parametrize("prior", KINDS)
def test_only_what_someone_else_put_there_is_in_the_way_and_a_directory_always(prior, wanted):
    change = FileChange("/p", Prior(prior), Left("/p", wanted))
    strangers, ours = IN_THE_WAY.get((prior, wanted), (False, False))
    conflict = (Conflict("/p", WORDS.get(prior, ""), wanted),)
    assert conflicts_of([change], lambda path: False) == (conflict if strangers else ())
    assert conflicts_of([change], lambda path: True) == (conflict if ours else ())


def test_every_change_is_asked_about_by_its_own_path():
    changes = [FileChange(f"/{name}", Prior("file"), Left(f"/{name}", "file")) for name in "abc"]
    found = conflicts_of(changes, lambda path: path == "/b")
    assert [conflict.path for conflict in found] == ["/a", "/c"]


@pytest.mark.parametrize(
    ("found", "wanted", "policy", "answer"),
    [
        ("regular file", "file", "stop", "stop"),
        ("directory", "file", "stop", "stop"),
        ("regular file", "file", "skip", "skip"),
        ("directory", "dir", "skip", "skip"),
        ("regular file", "file", "backup", "move aside"),
        ("directory", "file", "backup", "move aside"),
        ("regular file", "file", "overwrite", "proceed"),
        ("foreign link", "link", "overwrite", "proceed"),
        ("directory", "file", "overwrite", "clear"),
        ("regular file", "dir", "overwrite", "clear"),
    ],
)
def test_the_policy_decides(found, wanted, policy, answer):
    assert remedy(Conflict("/p", found, wanted), policy) == answer
