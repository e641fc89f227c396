"""Walks over real git and remotes on this machine."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.action import ActionError
from requisition.tree import pins
from requisition.tree.entries import absolute
from requisition.tree.pins import Pin
from requisition.tree.walk import Walked, WalkOptions, walk
from support.forest import BareRemote, manifest
from support.trees import snapshot


class World:
    """Remotes, a root that names them, and a cache."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.root = folder / "root"
        self.root.mkdir()
        self.said: list[str] = []

    def remote(self, name: str, files: dict[str, str] | None = None, **more) -> BareRemote:
        remote = BareRemote(self.folder / f"{name}.git")
        remote.commit({"package.yaml": manifest(name, **more), **(files or {})})
        return remote

    def names(self, children=None, **more) -> None:
        (self.root / "package.yaml").write_text(manifest("root", children, **more))

    def walk(self, **options) -> Walked:
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        return walk(
            str(self.root),
            WalkOptions(cache=str(self.folder / "cache"), scratch=str(scratch), **options),
            say=self.said.append,
        )

    def clean(self, **options) -> Walked:
        walked = self.walk(**options)
        assert [str(one) for one in walked.problems] == []
        return walked

    def git(self, path: str, *words: str) -> str:
        command = ["git", "-C", str(self.root / path), "-c", "user.name=A", "-c", "user.email=a@example.org", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def head(self, path: str) -> str:
        return self.git(path, "rev-parse", "HEAD")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def findings(walked: Walked) -> str:
    return "\n".join(str(one) for one in walked.problems)


def test_children_come_to_their_places_and_are_members_before_their_parents(world):
    leaf = world.remote("leaf", {"files/a": "leaf\n"})
    middle = world.remote("middle", children={"parts/leaf": leaf.url})
    world.names({"vendor/middle": middle.url})
    walked = world.clean()
    assert [one.path for one in walked.tree.members] == ["vendor/middle/parts/leaf", "vendor/middle", ""]
    assert walked.tree.needs["vendor/middle"] == ("vendor/middle/parts/leaf",)
    assert (world.root / "vendor/middle/parts/leaf/files/a").read_text() == "leaf\n"
    member = walked.tree.member("vendor/middle/parts/leaf")
    assert member.commit == world.head(member.path)
    assert member.where == f"{world.root}/vendor/middle/package.yaml:3:5"


def test_a_checkout_is_a_plain_clean_repository_that_its_owner_can_go_on_with(world):
    world.names({"a": (remote := world.remote("a", {"x": "1"})).url})
    world.clean()
    assert world.git("a", "status", "--porcelain") == ""
    assert world.git("a", "fsck", "--strict") == ""
    remote.commit({"x": "2"})
    world.git("a", "fetch", "--quiet", "--unshallow", "origin")
    assert world.git("a", "log", "--format=%s", "origin/main") == "more\nmore"


def test_a_second_walk_at_the_same_pins_asks_no_remote_and_writes_nothing(world):
    world.names({"a": world.remote("a").url})
    assert world.clean().fetched > 0
    before = snapshot(world.root)
    for remote in world.folder.glob("*.git"):
        remote.rename(remote.with_suffix(".gone"))
    assert world.clean().fetched == 0
    assert snapshot(world.root) == before


def test_a_pin_holds_while_its_branch_advances_and_moves_when_it_is_named(world):
    remote = world.remote("a", {"x": "1", "gone": "1"})
    other = world.remote("b")
    world.names({"a": remote.url, "b": other.url})
    old = world.clean().pins
    new = remote.commit({"x": "2"})
    other.commit({"x": "2"})
    assert world.clean().pins == old
    moved = world.clean(update=("a",))
    assert moved.pins.packages["a"].commit == new == world.head("a")
    assert moved.pins.packages["b"] == old.packages["b"]
    assert (world.root / "a/x").read_text() == "2"
    assert world.git("a", "status", "--porcelain") == ""


def test_everyones_pins_move_when_all_are_named(world):
    remotes = {name: world.remote(name) for name in "abc"}
    world.names({name: one.url for name, one in remotes.items()})
    world.clean()
    new = {name: one.commit({"x": name}) for name, one in remotes.items()}
    assert {path: pin.commit for path, pin in world.clean(update=("*",)).pins.packages.items()} == new


def test_a_pinned_commit_is_taken_though_no_branch_names_it_any_more(world):
    remote = world.remote("a")
    old = remote.commit({"x": "1"})
    world.names({"a": remote.url})
    pins.write(f"{world.root}/plan.lock", pins.Pins({"a": Pin(remote.url, old)}))
    remote.git("update-ref", "refs/heads/keep", old)
    remote.commit({"x": "2"})
    assert world.clean().tree.member("a").commit == old == world.head("a")


def test_a_name_is_a_branch_first_then_a_tag(world):
    remote = world.remote("a")
    first = remote.commit({"x": "1"})
    remote.git("tag", "v1", first)
    remote.git("-c", "user.name=A", "-c", "user.email=a@example.org", "tag", "-a", "-m", "x", "told", first)
    remote.commit({"x": "2"})
    on_branch = remote.commit({"x": "3"}, "side")
    world.names({path: {"url": remote.url, "ref": path} for path in ("v1", "told", "side")})
    walked = world.walk()
    commits = {path: pin.commit for path, pin in walked.pins.packages.items()}
    assert commits == {"v1": first, "told": first, "side": on_branch}


def test_a_range_takes_the_newest_tag_within_and_keeps_it_until_it_is_updated(world):
    remote = world.remote("a")
    for version in ("v1.2", "v1.10.0", "v2.0.0", "v1.11.0-rc.1", "nightly"):
        remote.commit({"x": version})
        remote.tag(version)
    world.names({"a": {"url": remote.url, "version": ">=1.2,<2"}})
    assert world.clean().pins.packages["a"].ref == "v1.10.0"
    remote.commit({"x": "more"})
    remote.tag("v1.12.0")
    assert world.clean().pins.packages["a"].ref == "v1.10.0"
    assert world.clean(update=("a",)).pins.packages["a"].ref == "v1.12.0"
    world.names({"a": {"url": remote.url, "version": ">=2"}})
    assert world.clean().pins.packages["a"].ref == "v2.0.0"
    world.names({"a": {"url": remote.url, "version": ">=3"}})
    assert "no tag within >=3" in findings(world.walk())


def test_another_ref_for_one_package_moves_that_one_alone_and_a_plain_walk_brings_it_back(world):
    remotes = {name: world.remote(name) for name in ("a", "b")}
    side = {name: one.commit({"package.yaml": manifest(name), "x": "side"}, "side") for name, one in remotes.items()}
    world.names({name: one.url for name, one in remotes.items()})
    usual = world.clean().pins
    assert world.clean(refs={"a": "side"}).pins.packages == {
        **usual.packages,
        "a": Pin(remotes["a"].url, side["a"], "side"),
    }
    assert world.clean().pins == usual


def test_a_name_that_nothing_has_is_told(world):
    world.names({"a": world.remote("a").url})
    found = findings(world.walk(update=("b",), refs={"c": "main"}))
    assert "no package is called 'b'" in found
    assert "no package is called 'c'" in found


def test_a_ref_for_a_package_whose_name_only_its_manifest_says_is_not_lost_silently(world):
    remote = BareRemote(world.folder / "x.git")
    remote.commit({"package.yaml": manifest("named")})
    side = remote.commit({"package.yaml": manifest("named")}, "side")
    world.names({"a": remote.url})
    assert "'named' was not there yet" in findings(world.walk(refs={"named": "side"}))
    assert world.clean(refs={"named": "side"}).tree.member("a").commit == side


def test_offline_walks_from_the_cache_and_says_what_it_lacks(world):
    remote = world.remote("a")
    remote.tag("v1.0")
    world.names({"a": remote.url, "b": {"url": remote.url, "version": ">=1"}})
    world.clean()
    for path in ("a", "b"):
        (world.root / path).rename(world.folder / f"away-{path}")
    (world.root / "plan.lock").unlink()
    remote.folder.rename(world.folder / "gone")
    assert len(world.clean(offline=True).tree.members) == 3
    world.names({"c": {"url": remote.url, "ref": "side"}, "d": "file:///nowhere.git"})
    walked = world.walk(offline=True)
    assert walked.fetched == 0
    assert f"c: {remote.url} at side is not in the cache" in findings(walked)
    assert "d: file:///nowhere.git at its HEAD is not in the cache" in findings(walked)


def test_a_walk_that_changes_nothing_reads_what_is_not_there_from_the_cache(world):
    leaf = world.remote("leaf")
    remote = world.remote("a", children={"leaf": leaf.url})
    world.names({"a": remote.url})
    before = snapshot(world.root)
    walked = world.clean(change=False)
    assert snapshot(world.root) == before
    assert [one.path for one in walked.tree.members] == ["a/leaf", "a", ""]
    assert walked.tree.member("a").folder.startswith(str(world.folder / "scratch"))
    assert walked.pins.packages["a"].commit


def test_a_walk_that_changes_nothing_shows_packages_with_those_below_them_as_they_will_be(world):
    leaf = world.remote("leaf", {"x": "leaf"})
    middle = world.remote("middle", {"x": "middle"}, children={"leaf": leaf.url})
    other = world.remote("other")
    world.names({"middle": middle.url, "other": other.url})
    (world.root / "own").mkdir()
    (world.root / "own/file").write_text("own")
    (world.root / "own/link").symlink_to("file")
    real = world.clean(change=True)
    assert {one.folder for one in world.clean(change=False).tree.members} == {one.folder for one in real.tree.members}
    (world.root / "middle/leaf").rename(world.folder / "away")
    (world.root / "middle/x").write_text("edited")
    before = snapshot(world.root)
    walked = world.clean(change=False)
    assert snapshot(world.root) == before
    root = Path(walked.tree.member("").folder)
    assert (root / "middle/leaf/x").read_text() == "leaf"
    assert (root / "middle/x").read_text() == "edited"
    assert (root / "own/link").read_text() == "own"
    assert (root / "other/package.yaml").exists()
    assert walked.tree.member("middle").folder == f"{root}/middle"
    assert walked.tree.member("other").folder == f"{world.root}/other"
    assert not (root / ".plan").exists()


def test_a_walk_that_changes_nothing_reads_the_commit_that_a_child_would_move_to(world):
    remote = world.remote("a")
    world.names({"a": remote.url})
    world.clean()
    new = remote.commit({"x": "2"})
    before = snapshot(world.root)
    walked = world.clean(change=False, update=("a",))
    assert snapshot(world.root) == before
    member = walked.tree.member("a")
    assert member.commit == new
    assert (Path(member.folder) / "x").read_text() == "2"


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda w: (w.root / "a/x").write_text("mine"), "it has changes: x"),
        (lambda w: w.git("a", "switch", "-q", "-c", "mine"), "it is on the branch mine"),
        (lambda w: w.git("a", "commit", "-q", "--allow-empty", "-m", "mine"), "somebody moved it to"),
        (lambda w: (w.root / "a/.git/MERGE_HEAD").write_text("0" * 40), "a merge is in progress"),
        (lambda w: (w.root / "a/.git/rebase-merge").mkdir(), "a rebase is in progress"),
    ],
)
def test_a_checkout_that_a_person_works_in_is_left_as_it_is_and_named(world, work, words):
    remote = world.remote("a", {"x": "1"})
    world.names({"a": remote.url})
    pinned = world.clean().pins
    work(world)
    before = snapshot(world.root / "a")
    new = remote.commit({"x": "2"})
    walked = world.walk(update=("a",))
    assert walked.pins == pinned
    found = findings(walked)
    assert f"a is left as it is: {words}" in found
    assert f"checkout --detach {new}" in found
    assert snapshot(world.root / "a") == before


def test_an_edit_at_the_pinned_commit_is_no_obstacle(world):
    world.names({"a": world.remote("a", {"x": "1"}).url})
    world.clean()
    (world.root / "a/x").write_text("mine")
    world.clean()
    assert (world.root / "a/x").read_text() == "mine"


def test_files_and_folders_of_others_in_a_childs_place_are_kept(world):
    world.names({"a": world.remote("a").url, "b": world.remote("b").url, "c": world.remote("c").url})
    (world.root / "a").mkdir()
    (world.root / "a/mine").write_text("x")
    (world.root / "b").write_text("x")
    (world.root / "c").mkdir()
    found = findings(world.walk())
    assert "a: " in found
    assert "a folder with files, and no repository" in found
    assert "b is not a folder" in found
    assert "c:" not in found
    assert (world.root / "a/mine").read_text() == "x"


def test_a_file_in_the_way_of_a_move_stops_it_and_the_next_walk_makes_it(world):
    remote = world.remote("a", {"x": "1"})
    world.names({"a": remote.url})
    old = world.clean().tree.member("a").commit
    new = remote.commit({"new": "theirs"})
    (world.root / "a/new").write_text("mine")
    assert "would be overwritten" in findings(world.walk(update=("a",)))
    assert (world.root / "a/new").read_text() == "mine"
    assert world.head("a") == old
    (world.root / "a/new").unlink()
    world.clean(update=("a",))
    assert world.head("a") == new


def test_an_optional_child_that_cannot_be_had_is_a_warning_and_no_member(world):
    world.names({"a": {"url": "file:///nowhere.git", "optional": True}, "b": world.remote("b").url})
    walked = world.walk()
    assert [one.severity for one in walked.problems] == ["warning"]
    assert [one.path for one in walked.tree.members] == ["b", ""]
    assert walked.tree.needs[""] == ("b",)


def test_all_mistakes_are_told_in_one_walk(world):
    bad = BareRemote(world.folder / "bad.git")
    bad.commit({"package.yaml": "name: [\n"})
    empty = BareRemote(world.folder / "empty.git")
    empty.commit({"readme": "no package"})
    good = world.remote("good")
    paths = BareRemote(world.folder / "paths.git")
    paths.commit({"package.yaml": manifest("paths", {"../out": good.url, ".git/hooks": good.url})})
    world.names(
        {
            "bad": bad.url,
            "empty": empty.url,
            "paths": paths.url,
            "gone": "file:///nowhere.git",
            "odd": {"url": good.url, "version": "~1.2"},
            "user": "https://someone@far.example/x.git",
            "long/" * 50 + "x" * 300: good.url,
            "missing": {"url": good.url, "ref": "no-such"},
            "above": "../" * 50 + "x.git",
        }
    )
    found = findings(world.walk())
    for words in (
        "bad: ",
        "this is not YAML",
        "empty: ",
        "no readable package.yaml",
        "paths: ",
        "'../out' cannot be",
        "'.git/hooks' cannot be",
        "gone: git fetch",
        "odd: '~1.2' is no version or bound",
        "user: the address holds a user name",
        "a part of it is too long",
        "missing: ",
        "has no branch or tag 'no-such'",
        "leads above the host",
    ):
        assert words in found, (words, found)


@pytest.mark.parametrize(
    ("url", "base", "found"),
    [
        ("../b.git", "https://host/x/a.git", "https://host/x/b.git"),
        ("../../b.git", "https://host/x/a.git/", "https://host/b.git"),
        ("./b.git", "https://host/a.git", "https://host/a.git/b.git"),
        ("../b.git", "git@host:x/a.git", "git@host:x/b.git"),
        ("../b.git", "git@host:a.git", "git@host:b.git"),
        ("../b.git", "/srv/a.git", "/srv/b.git"),
        ("../b.git", "file:///srv/a.git", "file:///srv/b.git"),
        ("https://host/b.git", "/srv/a.git", "https://host/b.git"),
    ],
)
def test_an_address_may_be_given_from_that_of_its_package(url, base, found):
    assert absolute(url, base) == found


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("../../b.git", "https://host/a.git"),
        ("../../../../b.git", "https://host/a.git"),
        ("../../b.git", "git@host:a.git"),
        ("../../b.git", "/a"),
    ],
)
def test_an_address_leads_to_no_other_host_than_its_packages(url, base):
    with pytest.raises(ActionError, match="leads above"):
        absolute(url, base)


def test_packages_beside_each_other_name_each_other_without_their_host(world):
    world.remote("leaf")
    middle = world.remote("middle", children={"leaf": "../leaf.git"})
    world.names({"m": middle.url, "l": "../leaf.git"})
    walked = world.clean()
    assert walked.tree.member("m/leaf").url == f"file://{world.folder}/leaf.git"
    assert walked.tree.member("l").url == f"{world.folder}/leaf.git"


def test_a_package_that_contains_itself_is_told_with_the_way_before_it_is_cloned_again(world):
    a, b = BareRemote(world.folder / "a.git"), BareRemote(world.folder / "b.git")
    a.commit({"package.yaml": manifest("a", {"b": b.url})})
    b.commit({"package.yaml": manifest("b", {"a": a.url.removesuffix(".git") + ".git/"})})
    world.names({"a": a.url})
    walked = world.walk()
    assert "is a child of itself (a → a/b → a/b/a)" in findings(walked)
    assert not (world.root / "a/b/a").exists()


def test_one_repository_at_two_paths_is_two_checkouts_and_one_fetch(world):
    remote = world.remote("a")
    world.names({"x/a": remote.url, "y/a": remote.url})
    world.clean()
    assert world.head("x/a") == world.head("y/a")
    assert len(list((world.folder / "cache").glob("*.git"))) == 1


def test_pins_of_packages_that_are_gone_go_too_but_not_while_something_is_wrong(world):
    a, b = world.remote("a"), world.remote("b")
    world.names({"a": a.url, "b": b.url})
    world.clean()
    world.names({"a": a.url, "c": "file:///nowhere.git"})
    assert set(world.walk().pins.packages) == {"a", "b"}
    world.names({"a": a.url})
    assert set(world.clean().pins.packages) == {"a"}
    assert (world.root / "b").is_dir()


def test_pins_of_an_optional_package_that_is_away_stay(world):
    remote = world.remote("a", children={"leaf": world.remote("leaf").url})
    world.names({"a": {"url": remote.url, "optional": True}})
    pinned = world.clean().pins
    (world.root / "a").rename(world.folder / "away")
    for one in (world.folder / "cache").glob("*.git"):
        one.rename(one.with_suffix(".gone"))
    remote.folder.rename(world.folder / "gone")
    assert world.walk().pins == pinned


def test_a_child_that_changed_its_address_is_fetched_from_there(world):
    old, new = world.remote("old", {"x": "old"}), BareRemote(world.folder / "new.git")
    commit = new.commit({"package.yaml": manifest("old"), "x": "new"})
    world.names({"a": old.url})
    world.clean()
    world.names({"a": new.url})
    world.clean()
    assert world.head("a") == commit
    assert world.git("a", "remote", "get-url", "origin") == new.url


def test_a_damaged_cache_is_fetched_anew(world):
    world.names({"a": world.remote("a").url})
    world.clean()
    (world.root / "a").rename(world.folder / "away")
    for pack in (world.folder / "cache").glob("*.git/objects/pack/*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(b"")
    world.clean()
    assert world.git("a", "fsck") == ""


def test_the_roots_own_mistakes_stop_before_anything_is_done(world):
    with pytest.raises(BadInput, match=r"no readable package\.yaml"):
        world.walk()
    world.names()
    (world.root / "plan.lock").write_text("version: '1'\npackages: {../x: {url: /x, commit: abc}}\n")
    with pytest.raises(BadInput, match="plan.lock:2:12: ../x: '..' is no bare name"):
        world.walk()


def test_git_sees_nothing_of_what_is_kept_in_the_root(world):
    world.names({"a": world.remote("a").url})
    subprocess.run(["git", "init", "-q", str(world.root)], check=True)
    world.clean()
    assert ".plan" not in world.git(".", "status", "--porcelain", "--untracked-files=all")


def test_a_url_names_its_cache_by_its_digest(world):
    remote = world.remote("a")
    world.names({"a": remote.url})
    world.clean()
    assert os.path.isdir(world.folder / "cache" / f"{hashlib.sha256(remote.url.encode()).hexdigest()}.git")
