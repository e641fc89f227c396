"""After real runs, in whatever order they were made and taken back, the index names the makers that the state view
names."""

import pytest

from requisition.review.history import index, questions
from requisition.review.history.answers import origins
from requisition.review.history.questions import Filter
from requisition.runtime.layout import root_directory
from requisition.runtime.state import RootState
from support.orders import OrderBuilder
from support.process import request
from support.session import ask


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path


def apply(machine, contents, package="demo"):
    order = OrderBuilder(machine / package, machine / "root", package=package)
    for path, content in contents.items():
        if content is None:
            order.node("file.remove", path=path)
        else:
            order.node("file.write", path=path, content=content)
    answer = ask(request("apply", machine / "state", order.write()))
    assert answer.status == "done", answer.text
    return answer.result.run_id


def taken_back(machine, run, **fields):
    return ask(request("rollback", machine / "state", run_id=run, **fields)).status


def both(machine):
    """What the index says, when the state view says the same."""
    root = str(machine / "root")
    view = RootState(root_directory(str(machine / "state"), root), root).entries
    found = index.ask(str(machine / "state"), lambda connection: questions.standing(connection, Filter()))
    said = {one.path: (one.ran.run, one.node, one.package, one.left) for one in found}
    assert said == {path: (one.run_id, one.node, one.package, one.left) for path, one in view.items()}
    return {path: run for path, (run, *_) in said.items()}


def test_runs_that_change_confirm_remove_and_are_taken_back(machine):
    first = apply(machine, {"/a": "1", "/b": "1"})
    apply(machine, {"/a": "1", "/b": "1"})
    assert both(machine) == {"/a": first, "/b": first}
    second = apply(machine, {"/a": "2", "/b": "1"})
    apply(machine, {"/a": "2"}, "other")
    assert both(machine) == {"/a": second, "/b": first}
    removed = apply(machine, {"/b": None})
    assert both(machine) == {"/a": second}
    assert taken_back(machine, removed) == "done"
    assert both(machine) == {"/a": second, "/b": first}
    assert taken_back(machine, second) == "done", "though another run found /a so: nobody else had made it"
    assert both(machine) == {"/a": first, "/b": first}
    assert taken_back(machine, first) == "done"
    assert both(machine) == {}


def test_packages_of_a_tree_of_which_one_is_taken_back_and_then_all(machine):
    order = OrderBuilder(machine / "tree", machine / "root")
    for member in ("left", "right"):
        order.member(member)
        order.node("file.write", path=f"/{member}", content=member)
    run = ask(request("apply", machine / "state", order.write())).result.run_id
    assert both(machine) == {"/left": run, "/right": run}
    assert taken_back(machine, run, members=("right",)) == "done"
    assert both(machine) == {"/left": run}
    (ran,) = index.ask(str(machine / "state"), lambda connection: questions.runs(connection, Filter(package="right")))
    assert (ran.counts, ran.taken_back > 0) == ({"rolled_back": 1}, True)
    assert taken_back(machine, run, members=("left",)) == "done"
    assert both(machine) == {}


def test_a_run_that_fails_made_nothing_and_is_in_the_history(machine):
    first = apply(machine, {"/a": "1"})
    order = OrderBuilder(machine / "bad", machine / "root")
    done = order.node("file.write", path="/a", content="2")
    order.node("shell.exec", argv=["false"], name="fail", needs=[done])
    assert ask(request("apply", machine / "state", order.write())).status == "failed"
    assert both(machine) == {"/a": first}
    events = index.ask(str(machine / "state"), lambda connection: questions.events(connection, Filter(), "/a"))
    assert [(one.status, one.stands) for one in events] == [("done", True), ("rolled_back", False)]
    (origin,) = origins(events, str(machine / "state"))
    assert origin.changes == ()
    (machine / "root/a").write_text("mine")
    (origin,) = origins(events, str(machine / "state"))
    assert origin.changes == ("the content is another one, of 4 bytes",)
    assert (origin.made, origin.before, origin.after) == (events[0], (), (events[1],))
