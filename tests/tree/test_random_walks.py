"""Walks over random trees of real repositories, against what was planted."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from requisition.tree.order import post_order
from requisition.tree.pins import Pin
from requisition.tree.validate import validate
from requisition.tree.walk import Walked, WalkOptions, walk
from support.forest import BareRemote, manifest


@st.composite
def shapes(draw: st.DrawFn) -> list[int]:
    """The parent of each package but the root (0), all of them earlier ones."""
    return [draw(st.integers(0, at)) for at in range(draw(st.integers(1, 9)))]


class Planted:
    """Remotes in the shape of a tree; `commits` by the path at which a walk puts them."""

    def __init__(self, folder: Path, parents: list[int]):
        self.folder = folder
        self.root = folder / "root"
        self.root.mkdir()
        self.paths = [""]
        for at, parent in enumerate(parents, 1):
            self.paths.append(f"{self.paths[parent]}/p{at}".lstrip("/"))
        self.remotes = {path: BareRemote(folder / f"r{at}.git") for at, path in enumerate(self.paths) if at}
        self.commits: dict[str, str] = {}
        for at in reversed(range(len(self.paths))):
            children = {f"p{c}": self.remotes[self.paths[c]].url for c, p in enumerate(parents, 1) if p == at}
            text = manifest(f"n{at}" if at else "root", children)
            if at:
                self.commits[self.paths[at]] = self.remotes[self.paths[at]].commit({"package.yaml": text, "x": "1"})
            else:
                (self.root / "package.yaml").write_text(text)

    def walk(self, **options) -> Walked:
        walked = walk(str(self.root), WalkOptions(cache=str(self.folder / "cache"), **options), say=lambda _: None)
        assert [str(one) for one in (*walked.problems, *validate(walked.tree))] == []
        assert [one.path for one in post_order(walked.tree)] == [one.path for one in walked.tree.members]
        return walked


def commits(walked: Walked) -> dict[str, str]:
    return {one.path: one.commit for one in walked.tree.members if one.path}


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shapes(), st.integers(1, 4), st.data())
def test_a_walk_finds_what_was_planted_at_its_commits_and_moves_what_it_is_told_to(parents, jobs, data):
    with tempfile.TemporaryDirectory() as name:
        planted = Planted(Path(name), parents)
        first = planted.walk(jobs=jobs)
        assert commits(first) == planted.commits
        assert first.pins.packages == {
            path: Pin(planted.remotes[path].url, commit) for path, commit in planted.commits.items()
        }
        moved = data.draw(st.sets(st.sampled_from(sorted(planted.remotes))))
        new = {path: planted.remotes[path].commit({"x": "2"}) for path in planted.remotes}
        assert planted.walk(jobs=jobs).fetched == 0
        wanted = {path: new[path] if path in moved else commit for path, commit in planted.commits.items()}
        again = planted.walk(jobs=jobs, update=tuple(moved))
        assert commits(again) == wanted
        for path in planted.remotes:
            assert (planted.root / path / "x").read_text() == ("2" if path in moved else "1")
