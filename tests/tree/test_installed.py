import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from requisition.schemas.diagnostic import BadInput
from requisition.tree import installed
from requisition.tree.installed import Installed

ONE = Installed("c" * 40, "sha256:1", "20260101T120000.000000Z-1f2e")


def test_without_a_file_nothing_is_installed(tmp_path):
    assert installed.read(str(tmp_path)) == {}
    assert list(tmp_path.iterdir()) == []


@given(packages=st.dictionaries(st.text(max_size=9), st.builds(Installed, st.text(), st.text(), st.text()), max_size=5))
@settings(deadline=None)
def test_what_is_written_is_read_back_sorted(tmp_path_factory, packages):
    root = str(tmp_path_factory.mktemp("tree"))
    installed.write(root, packages)
    found = installed.read(root)
    assert found == packages
    assert list(found) == sorted(packages)


def test_the_same_is_not_written_again(tmp_path):
    installed.write(str(tmp_path), {"b": ONE, "": ONE})
    path = tmp_path / ".plan" / "installed.json"
    before = path.stat()
    installed.write(str(tmp_path), {"": ONE, "b": ONE})
    assert path.stat().st_ino == before.st_ino
    installed.write(str(tmp_path), {"b": ONE})
    assert installed.read(str(tmp_path)) == {"b": ONE}
    assert {one.name for one in path.parent.iterdir()} == {".gitignore", "installed.json"}


@pytest.mark.parametrize("text", [b"", b"[]", b'{"a": {"comit": "x"}}', b'{"a": 1}', b"\xff", b"[" * 100_000])
def test_a_damaged_file_is_named_with_the_way_out(tmp_path, text):
    installed.write(str(tmp_path), {"b": ONE})
    path = tmp_path / ".plan" / "installed.json"
    path.write_bytes(text)
    with pytest.raises(BadInput) as caught:
        installed.read(str(tmp_path))
    assert caught.value.diagnostics[0].where == str(path)
    assert "move the file away" in caught.value.diagnostics[0].next


def test_a_link_in_its_place_is_not_read(tmp_path):
    installed.write(str(tmp_path), {})
    path = tmp_path / ".plan" / "installed.json"
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(BadInput):
        installed.read(str(tmp_path))
