"""What differs is found, whatever it is; the reference stays what it was."""

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from requisition.services.delivery.hashing import scan
from requisition.services.delivery.manifest import Entry, Manifest
from requisition.services.delivery.transport import Found
from requisition.services.delivery.verify import compare, verify_local
from support.deliveries import awkward, do

PATHS = st.sampled_from([b"a", b"b", b"c", b"d/e", b"d"])
CONTENTS = st.sampled_from(["0" * 64, "1" * 64, "", b"target", b"other", True])
TREES = st.dictionaries(PATHS, CONTENTS, max_size=5)
Tree = dict[bytes, object]


def manifest(tree: Tree) -> Manifest:
    made = []
    for path, content in sorted(tree.items()):
        if isinstance(content, str):
            made.append(Entry(path, "file", sha256=content or "2" * 64))
        else:
            made.append(Entry(path, "link", link=content) if isinstance(content, bytes) else Entry(path, "dir"))
    return Manifest(tuple(made))


def found(tree: Tree, *, folders: bool = True) -> Found:
    return Found(
        {path: content for path, content in tree.items() if isinstance(content, str)},
        {path: content for path, content in tree.items() if isinstance(content, bytes)},
        frozenset(path for path, content in tree.items() if content is True) if folders else None,
        "ssh",
    )


@given(TREES, TREES)
def test_it_is_all_there_exactly_when_both_are_the_same(wanted: Tree, there: Tree) -> None:
    result = compare(found(there), manifest(wanted))
    readable = {path: content for path, content in wanted.items() if content != ""}
    assert result.ok == (readable == wanted == there)
    assert set(result.missing) == wanted.keys() - there.keys()
    assert set(result.extra) == there.keys() - wanted.keys()
    assert set(result.mismatched) <= wanted.keys() & there.keys()


@given(TREES)
def test_where_there_are_no_folders_empty_ones_are_not_proved_and_that_is_said(wanted: Tree) -> None:
    wanted = {path: content for path, content in wanted.items() if content != ""}
    empty = {path for path, content in wanted.items() if content is True}
    if b"d/e" in wanted:
        empty.discard(b"d")
    result = compare(found(wanted, folders=False), manifest(wanted))
    assert result.ok
    assert set(result.unproved) == empty


def test_a_file_that_could_not_be_read_is_a_mismatch() -> None:
    wanted = Manifest((Entry(b"a", "file", sha256=hashlib.sha256(b"").hexdigest()),))
    assert compare(Found({b"a": ""}, {}, None, "stream"), wanted).mismatched == (b"a",)


def test_the_source_is_compared_byte_by_byte(tmp_path: Path) -> None:
    source = awkward(tmp_path / "source")
    reference = scan(str(source))
    text = reference.text()
    assert do(verify_local(str(source), reference)).ok
    (source / "plain").write_text("changed")
    (source / "new").write_text("new")
    result = do(verify_local(str(source), reference))
    assert (result.mismatched, result.extra, result.missing) == ((b"plain",), (b"new",), ())
    assert str(result) == "1 different: 'plain'; 1 too many: 'new'"
    assert reference.text() == text
