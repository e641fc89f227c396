"""A distribution of somebody else declares its actions as data."""

import sys

import pytest

from requisition.schemas.diagnostic import BadInput
from requisition.stdlib import catalogue

ENTRY = '[{"name": "%s", "doc": "Mark.", "slots": []}]'


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution whose package cannot be imported, with this catalogue."""

    def make(content: str | None) -> None:
        package, info = tmp_path / "mark_actions", tmp_path / "mark_actions-1.dist-info"
        package.mkdir()
        info.mkdir()
        (package / "__init__.py").write_text("raise RuntimeError('the catalogue is read without this')")
        if content is not None:
            (package / "catalogue.json").write_text(content)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mark-actions\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[requisition.catalogues]\nmark = mark_actions\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        catalogue.load.cache_clear()

    yield make
    monkeypatch.undo()
    catalogue.load.cache_clear()


def test_a_plugin_adds_its_actions_and_is_not_imported(install):
    install(ENTRY % "mark.set")
    found = catalogue.load()
    assert found["mark.set"].doc == "Mark."
    assert list(found) == sorted(found)
    assert "mark_actions" not in sys.modules


@pytest.mark.parametrize(
    ("content", "words"),
    [(ENTRY % "file.copy", "exists already"), ("{", "damaged"), ('[{"name": 5}]', "damaged"), (None, "no catalogue")],
)
def test_a_broken_or_greedy_plugin_is_named(install, content, words):
    install(content)
    with pytest.raises(BadInput, match=words) as found:
        catalogue.load()
    assert "mark" in str(found.value)


def test_the_catalogue_cannot_be_changed_by_who_reads_it():
    with pytest.raises(TypeError):
        catalogue.load()["file.copy"] = None
