"""Names between the kernel's bytes and rclone's text."""

from hypothesis import given
from hypothesis import strategies as st

from requisition.services.delivery.manifest import Entry, Manifest
from requisition.services.delivery.names import check, found, meant, shown
from requisition.services.delivery.transport import TransportFailure

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(NAMES)
def test_a_name_that_is_not_refused_comes_back_as_it_was(name: str) -> None:
    path = name.encode()
    try:
        check(Manifest((Entry(path, "file"),)))
    except TransportFailure:
        assert set(name) & set(map(chr, (*range(0x2400, 0x2422), 0x201B, 0xFF0E, 0xFF0F))) or name.endswith(
            ".rclonelink"
        )
    else:
        assert meant(shown(path)) == path


@given(st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_two_names_that_are_not_refused_stay_two(pair: list[str]) -> None:
    one, other = (name.encode() for name in pair)
    try:
        check(Manifest((Entry(one, "file"), Entry(other, "file"))))
    except TransportFailure:
        return
    assert shown(one) != shown(other)


def test_a_link_is_right_when_its_file_holds_its_target() -> None:
    manifest = Manifest((Entry(b"a", "link", link=b"target"), Entry(b"b", "link", link=b"target")))
    digest = "34a04005bcaf206eec990bd9637d9fdb6725e0a0c0d4aebf003f17f4c956eb5c"
    there = found(
        {b"a.rclonelink": digest, b"b.rclonelink": "0" * 64, b"c.rclonelink": digest}, None, "backend", manifest
    )
    assert there.links == {b"a": b"target", b"b": b""}
    assert there.files == {b"c.rclonelink": digest}, "one that the manifest does not know is a file too many"
