"""`plan teardown` whole: what was installed goes, parents first, and nothing else does."""

import pytest

from requisition.compiler.manifest import Manifest
from requisition.schemas.diagnostic import BadInput
from requisition.tree.installed import Installed
from requisition.tree.member import Member
from requisition.tree.teardown import Step, plan_removal
from support.synced import Grove, writes
from support.trees import snapshot


@pytest.fixture
def grove(tmp_path):
    return Grove(tmp_path)


def test_all_of_a_tree_goes_and_the_target_is_as_it_was(grove):
    (grove.target / "before").write_text("mine\n")
    (grove.target / "etc").mkdir()
    before = snapshot(grove.target)
    script = writes("/etc/a.conf", "/before") + '    plan.file.mkdir("/etc")\n    plan.file.mkdir("/new")\n'
    a = grove.remote("a", script.replace('"/before")', '"/before", on_conflict = "overwrite")'))
    grove.names({"a": a.url}, writes("/top.txt"))
    grove.sync()
    assert snapshot(grove.target) != before
    grove.teardown()
    assert snapshot(grove.target) == before
    assert "no package of this tree is installed" in grove.teardown()


def test_parents_go_before_their_children(grove):
    log = grove.folder / "log"
    undo = '    plan.shell.exec(["true"], undo = ["sh", "-c", "echo %s >> ' + str(log) + '"])\n'
    c = grove.remote("c", writes(more=undo % "c"))
    b = grove.remote("b", writes(more=undo % "b"), children={"c": c.url})
    grove.names({"b": b.url}, writes(more=undo % "top"))
    grove.sync()
    grove.teardown()
    assert log.read_text().split() == ["top", "b", "c"]


def test_one_package_goes_with_those_below_it_and_the_others_stand(grove):
    c = grove.remote("c", writes("/c.txt"))
    b = grove.remote("b", writes("/b.txt"), children={"c": c.url})
    a = grove.remote("a", writes("/a.txt"))
    grove.names({"a": a.url, "b": b.url})
    grove.sync()
    grove.teardown("b")
    assert grove.there() == {"a.txt"}
    grove.plan("status", "--detailed-exitcode")
    assert "'nobody' is not installed" in grove.teardown("nobody", code=4)


def test_every_version_that_was_installed_is_taken_back(grove):
    a = grove.remote("a", writes("/a.txt"))
    grove.names({"a": a.url})
    (grove.target / "a.txt").write_text("mine\n")
    grove.sync("--on-conflict", "overwrite")
    grove.remote("a", 'def install(package, phase):\n    plan.file.write("two", "/a.txt")\n')
    grove.sync("--update", "a")
    assert (grove.target / "a.txt").read_text() == "two"
    grove.teardown()
    assert (grove.target / "a.txt").read_text() == "mine\n"


def test_a_file_that_somebody_changed_is_kept_and_named(grove):
    a = grove.remote("a", writes("/a.txt", "/b.txt"))
    grove.names({"a": a.url})
    grove.sync()
    (grove.target / "a.txt").write_text("edited\n")
    said = grove.teardown(code=1)
    assert "/a.txt was changed since; it is left as it is" in said
    assert grove.there() == {"a.txt"}


def test_a_package_with_a_teardown_of_its_own_goes_by_that(grove):
    a = grove.remote(
        "a",
        actions=[{"mkdir": {"path": "/made"}}],
        teardown=[{"rmdir": {"path": "/made"}}, {"mkdir": {"path": "/farewell"}}],
    )
    b = grove.remote("b", writes("/b.txt"))
    grove.names({"a": a.url, "b": b.url})
    grove.sync()
    assert grove.there() == {"made", "b.txt"}
    grove.teardown()
    assert grove.there() == {"farewell"}


def test_a_dry_run_tells_and_changes_nothing(grove):
    a = grove.remote("a", writes("/a.txt"))
    grove.names({"a": a.url})
    grove.sync()
    before, runs = grove.everything(), grove.runs()
    said = grove.plan("teardown", "--dry-run")
    assert "- the root" in said
    assert "- a" in said
    assert grove.everything() == before
    assert grove.runs() == runs


def test_a_package_that_left_the_tree_is_named_and_can_still_be_torn_down(grove):
    a, b = grove.remote("a", writes("/a.txt")), grove.remote("b", writes("/b.txt"))
    grove.names({"a": a.url, "b": b.url})
    grove.sync()
    grove.names({"a": a.url})
    assert "b is installed, and no longer in the tree: plan teardown b" in grove.sync()
    grove.teardown("b")
    assert grove.there() == {"a.txt"}


def member(path, parent="", **fields):
    return Member(path, f"/tree/{path}", Manifest(name=path.replace("/", "-") or "top", **fields), parent)


def removal(*members, name=""):
    known = {one.path: one for one in members}
    return plan_removal(dict.fromkeys(known, Installed()), known, name)


def test_what_another_package_depends_on_stays_and_that_is_told():
    found = removal(member(""), member("a"), member("b", depends_on=["a"]), name="a")
    assert found.steps == ()
    assert "a stays: b depends on it" in found.kept[0].what


def test_own_teardowns_stand_between_the_others_in_the_order_of_parents():
    found = removal(member("a", "m"), member("m", "", teardown=[]), member(""))
    assert found.steps == (Step(False, ("",)), Step(True, ("m",)), Step(False, ("a",)))


def test_a_name_that_is_not_installed_is_refused_with_those_that_are():
    with pytest.raises(BadInput, match="'x' is not installed"):
        removal(member(""), member("a"), name="x")
