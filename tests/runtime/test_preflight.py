"""What would happen, said before anything does: each node's prospect, and all that would stop the run."""

import os
from types import SimpleNamespace

import pytest

from requisition.runtime import preflight as module
from support.orders import OrderBuilder
from support.process import request
from support.session import ask
from support.trees import build, snapshot

TREE = {"old": (b"old\n", 0o644), "dir": {"in": b"1"}, "l": ("link", "old")}


class Place:
    def __init__(self, folder):
        self.folder, self.root = folder, folder / "root"
        build(self.root, TREE)
        self.new()

    def new(self):
        self.order = OrderBuilder(self.folder / "package", self.root)
        self.node = self.order.node

    def ask(self, verb="dry-run", **fields):
        fields.setdefault("on_conflict", "overwrite")
        return ask(request(verb, self.folder / "state", self.order.write(), **fields))

    def look(self, **fields):
        """{last part of the node's id: (status, reason)} of what is not unchanged; nothing may be touched."""
        before = snapshot(self.root)
        answer = self.ask(**fields)
        assert answer.status in ("done", "changes"), answer.text
        assert snapshot(self.root) == before
        previews = [event for event in answer.events if event.kind == "preview"]
        return {event.node.rpartition(":")[2]: (event.status, event.text) for event in previews}

    def stopped(self, **fields):
        """The findings that stop it; a real apply says the same and touches nothing."""
        before = snapshot(self.root)
        answer, applied = self.ask(**fields), self.ask("apply", **fields)
        assert answer.status == applied.status
        assert answer.result.diagnostics == applied.result.diagnostics
        assert snapshot(self.root) == before
        return answer


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def ref(node, output="content"):
    return {"$ref": node, "output": output}


# prospects ---------------------------------------------------------------------------------------


def test_what_is_as_wanted_is_left_out_and_counted(place):
    place.node("file.write", content="old\n", path="/old", mode=0o644)
    place.node("file.write", content="new\n", path="/new")
    place.node("shell.exec", argv=["true"], name="run")
    answer = place.ask()
    assert answer.result.summary == {"change": 2, "unchanged": 1, "unknown": 0}
    assert answer.status == "changes"
    assert set(place.look()) == {"/new", "run"}


def test_what_a_pure_node_gives_is_known_before_the_run(place):
    text = place.node("content.literal", text="old\n", name="t")
    place.node("file.write", content=ref(text), path="/old", mode=0o644, needs=[text])
    place.node("file.write", content=ref(text), path="/new", needs=[text])
    assert place.look()["/new"][0] == "change"
    assert "/old" not in place.look()


def test_what_a_command_will_print_is_unknown(place):
    run = place.node("shell.exec", argv=["echo", "x"], name="run")
    place.node("file.write", content=ref(run, "stdout"), path="/new", needs=[run])
    assert place.look()["/new"] == ("unknown", "it uses the output of a node that has not run yet")


def test_no_guard_command_is_run(place, tmp_path):
    place.node("shell.exec", argv=["true"], unless=["touch", str(tmp_path / "mark")], name="run")
    assert place.look()["run"] == ("unknown", "a command decides it, which runs only when the order is applied")
    assert not (tmp_path / "mark").exists()


def test_a_flow_node_is_decided_later(place):
    place.order.phase("body", kind="body")
    place.node("flow.gather", items=[1], body="demo/body", limit=0, name="g")
    place.node("file.write", content="x", path="/in/body", phase="body")
    assert place.look() == {"g": ("unknown", "decided while the order runs")}


def test_a_command_after_a_change_depends_on_it(place):
    wrote = place.node("file.write", content="x", path="/new")
    place.node("shell.exec", argv=["true"], creates="/old", needs=[wrote], name="run")
    assert place.look()["run"] == ("unknown", f"it depends on what {wrote} does")


def test_a_command_after_what_is_as_wanted_is_looked_at(place):
    wrote = place.node("file.write", content="old\n", path="/old", mode=0o644)
    place.node("shell.exec", argv=["true"], creates="/old", needs=[wrote], name="run")
    assert place.look() == {}


def test_a_command_of_the_same_phase_is_looked_at_by_itself_and_a_later_one_is_not(place):
    place.node("shell.exec", argv=["true"], name="first")
    place.node("shell.exec", argv=["true"], creates="/old", name="beside")
    place.node("shell.exec", argv=["true"], creates="/old", phase="verify", name="later")
    found = place.look()
    assert "beside" not in found
    assert found["later"] == ("unknown", "it depends on what demo/install/shell.exec:first does")


@pytest.mark.parametrize("above", ["/new", "/new/deep"])
def test_a_command_that_looks_at_what_is_to_change_waits_for_it(place, above):
    made = place.node("file.mkdir", path="/new")
    place.node("file.mkdir", path="/new/deep", needs=[made])
    place.node("shell.exec", argv=["true"], creates=f"{above}/x", phase="verify", name="run")
    place.node("shell.exec", argv=["true"], creates="/old", phase="verify", name="other")
    found = place.look()
    assert found["run"][0] == "unknown"
    assert found["run"][1].startswith("it depends on what demo/install/file.mkdir:/new")


def test_a_command_that_looks_at_a_directory_in_which_something_changes_waits_too(place):
    wrote = place.node("file.write", content="x", path="/dir/deep", name="w")
    place.node("shell.exec", argv=["true"], cwd="/dir", creates="/old", phase="verify", name="run")
    assert place.look()["run"] == ("unknown", f"it depends on what {wrote} does")


def test_what_cannot_be_seen_yet_because_an_earlier_node_makes_it_is_unknown(place):
    wrote = place.node("file.write", content="x", path="/new")
    place.node("file.chmod", path="/new", mode=0o600, needs=[wrote], name="mode")
    assert place.look()["mode"] == ("unknown", f"it depends on what {wrote} does")


def test_what_cannot_be_done_is_a_finding_with_its_place(place):
    place.node("file.chmod", path="/none", mode=0o600)
    place.node("file.chmod", path="/none2", mode=0o600)
    answer = place.stopped()
    assert [finding.where for finding in answer.result.diagnostics] == ["package.star:1", "package.star:2"]
    assert "/none" in answer.result.diagnostics[0].what


def test_only_the_chosen_nodes_are_looked_at(place):
    one = place.node("file.write", content="x", path="/one")
    place.node("file.chmod", path="/none", mode=0o600)
    assert set(place.look(only=(one,))) == {"/one"}


def test_a_body_and_a_compensation_are_not_part_of_it(place):
    place.order.phase("undo", kind="compensation")
    place.node("file.chmod", path="/none", mode=0o600, phase="undo")
    place.node("file.write", content="x", path="/one")
    assert set(place.look()) == {"/one"}


# findings ----------------------------------------------------------------------------------------


def test_an_input_that_is_not_what_was_reviewed_stops_it(place):
    place.node("file.copy", source=place.order.input("data", b"data"), path="/new")
    order = place.order.write()
    (place.folder / "package" / "data").write_bytes(b"DATA")
    answer = ask(request("dry-run", place.folder / "state", order))
    assert answer.status == "bad_input"
    assert "data" in answer.text


@pytest.mark.parametrize("parent", ["/none", "/dir/none", "/none/deeper"])
def test_a_directory_that_nobody_makes_is_missed_before_the_run(place, parent):
    place.node("file.write", content="x", path=f"{parent}/x", name="x")
    place.node("file.write", content="x", path="/top", name="top")
    answer = place.stopped()
    assert len(answer.result.diagnostics) == 1
    assert f"the directory {parent} does not exist, and no node makes it" in answer.text
    assert f'plan.file.mkdir("{parent}")' in answer.text
    assert "package.star:1" in answer.text


@pytest.mark.parametrize("maker", ["file.mkdir", "parents", "archive.extract", "file.rename", "shell.exec"])
def test_a_directory_that_a_node_makes_is_not_missed(place, maker):
    if maker == "file.mkdir":
        needs = [place.node("file.mkdir", path="/new")]
    elif maker == "parents":
        needs = [place.node("file.mkdir", path="/new/deep", parents=True)]
    elif maker == "archive.extract":
        from support.archives import tar

        needs = [place.node("archive.extract", source=place.order.input("a.tar", tar(("d/x", b"X"))), path="/new")]
    elif maker == "file.rename":
        needs = [place.node("file.rename", source="/dir", path="/new")]
    else:
        needs = [place.node("shell.exec", argv=["mkdir", "new"])]
    place.node("file.write", content="x", path="/new/x", needs=needs)
    assert place.look()["/new/x"][0] in ("change", "unknown")
    assert place.ask("apply").status == "done"


class Disk:
    """A file system that says how much is free."""

    def __init__(self, monkeypatch, blocks, block=4096):
        said = SimpleNamespace(f_frsize=block, f_bavail=blocks)
        monkeypatch.setattr(module.os, "fstatvfs", lambda fd: said)


@pytest.mark.parametrize(("free", "good"), [(2, False), (3, True)])
def test_the_blocks_of_all_new_content_must_be_free(place, monkeypatch, free, good):
    place.node("file.write", content="x", path="/one")
    place.node("file.write", content="x" * 4097, path="/two")
    place.node("file.write", content="", path="/empty")
    place.node("file.link", target="one", path="/link")
    Disk(monkeypatch, free)
    if good:
        assert set(place.look()) == {"/one", "/two", "/empty", "/link"}
        return
    answer = place.stopped()
    assert "the order writes 12 KiB, 8 KiB are free" in answer.text
    assert str(place.root) in answer.text


def test_a_file_system_that_names_no_block_size_has_blocks_of_4_kib(place, monkeypatch):
    place.node("file.write", content="x" * 4096, path="/one")
    Disk(monkeypatch, 0, 0)
    assert "writes 4 KiB, 0 KiB are free" in place.stopped().text
    Disk(monkeypatch, 1, 0)
    assert set(place.look()) == {"/one"}


def test_what_must_run_as_root_is_told_to_anybody_else(place, monkeypatch):
    place.node("shell.exec", argv=["true"], elevate=True, name="run")
    place.node("file.write", content="x", path="/x")
    someone = SimpleNamespace(**{**vars(os), "geteuid": lambda: 1000})
    monkeypatch.setattr(module, "os", someone)
    answer = place.ask()
    assert [finding.what for finding in answer.result.diagnostics] == ["demo/install/shell.exec:run must run as root"]
    assert answer.result.diagnostics[0].where == "package.star:1"
    someone.geteuid = lambda: 0
    assert set(place.look()) == {"run", "/x"}


# conflicts ---------------------------------------------------------------------------------------


def test_by_default_whatever_is_in_the_way_stops_it_and_all_of_it_is_named(place):
    place.node("file.write", content="x", path="/old")
    place.node("file.link", target="x", path="/l")
    place.node("file.write", content="x", path="/dir")
    answer = place.stopped(on_conflict="stop")
    assert answer.status == "conflict"
    assert [finding.what for finding in answer.result.diagnostics] == [
        "/old: a regular file is in the way",
        "/l: a foreign link is in the way",
        "/dir: a directory is in the way",
    ]
    assert {finding.code for finding in answer.result.diagnostics} == {"conflict"}


def test_a_node_may_have_a_policy_of_its_own(place):
    place.node("file.write", content="x", path="/old", on_conflict="overwrite")
    assert place.look(on_conflict="stop")["/old"][0] == "change"
    place.new()
    place.node("file.write", content="x", path="/old", on_conflict="stop")
    assert place.stopped(on_conflict="overwrite").status == "conflict"


def test_content_that_is_not_known_yet_does_not_hide_a_conflict(place):
    run = place.node("shell.exec", argv=["echo", "x"], name="run")
    for path in ("/old", "/l", "/dir", "/new"):
        place.node("file.write", content=ref(run, "stdout"), path=path, needs=[run])
    answer = place.stopped(on_conflict="stop")
    assert [finding.what for finding in answer.result.diagnostics] == [
        "/old: a regular file is in the way",
        "/l: a foreign link is in the way",
    ]


@pytest.mark.parametrize("known", [True, False])
def test_what_our_own_run_left_is_not_in_the_way_until_somebody_changes_it(place, known):
    def order(text):
        place.new()
        if known:
            place.node("file.write", content=text, path="/new")
        else:
            run = place.node("shell.exec", argv=["echo", text], name="run")
            place.node("file.write", content=ref(run, "stdout"), path="/new", needs=[run])

    order("first")
    assert place.ask("apply", on_conflict="stop").status == "done"
    order("second")
    assert place.ask(on_conflict="stop").status == "changes"
    (place.root / "new").write_text("somebody's")
    assert place.ask(on_conflict="stop").status == "conflict"


def test_a_mode_alone_is_in_nobodys_way(place):
    place.node("file.chmod", path="/old", mode=0o600)
    place.node("file.mkdir", path="/dir", mode=0o700)
    assert set(place.look(on_conflict="stop")) == {"/old", "/dir"}


# the host of a preflight -------------------------------------------------------------------------


def test_below_an_absent_directory_nothing_is_asked_of_the_kernel_twice(place, monkeypatch):
    made = place.node("file.mkdir", path="/a/b/c", parents=True)
    for number in range(50):
        place.node("file.write", content="x", path=f"/a/b/c/{number}", needs=[made])
    real, opened = os.open, []

    def counting(path, *args, **kwargs):
        opened.append(path)
        return real(path, *args, **kwargs)

    order = place.order.write()
    monkeypatch.setattr(os, "open", counting)
    answer = ask(request("dry-run", place.folder / "state", order))
    assert answer.result.summary["change"] == 51
    assert len([path for path in opened if path in ("a", "b", "c", "a/b/c")]) < 10


def test_nothing_is_kept_of_what_is_only_looked_at(place):
    place.node("file.write", content="x", path="/old")
    place.node("file.remove", path="/dir", recursive=True)
    place.look()
    assert not [path for path in (place.folder / "state" / "store").rglob("*") if path.is_file()]
