"""The undo store, used by several nodes side by side."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from requisition.runtime.store import StoreDamaged, UndoStore


def test_nodes_side_by_side_share_one_key_and_one_directory(tmp_path):
    for round_ in range(50):
        store = UndoStore(str(tmp_path / str(round_)))
        contents = [b"%d" % (n % 4) for n in range(16)]
        with ThreadPoolExecutor(8) as pool:
            names = list(pool.map(lambda text, store=store: store.put([text], sealed=True), contents))
        assert [store.get(name, sealed=True) for name in names] == contents
        again = UndoStore(str(tmp_path / str(round_)))
        assert [again.keyed_digest(text) for text in contents] == names
        assert [path.name for path in (tmp_path / str(round_)).glob("tmp-*")] == []


@pytest.mark.parametrize("sealed", [False, True])
def test_an_altered_object_is_never_given_back(tmp_path, sealed):
    store = UndoStore(str(tmp_path))
    name = store.put([b"before"], sealed=sealed)
    place = tmp_path / name[:2] / name[2:]
    place.write_bytes(place.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreDamaged, match="altered"):
        store.get(name, sealed=sealed)
    place.unlink()
    with pytest.raises(StoreDamaged, match="missing"):
        store.get(name, sealed=sealed)
