"""Questions to the index: which runs, which paths, and what is counted where."""

from functools import partial

import pytest

from requisition.review.history import index, questions
from requisition.review.history.answers import blamed
from requisition.review.history.origin import below, meant, of_path
from requisition.review.history.questions import ANY_HOST, Filter
from requisition.schemas.receipt import NodeRun
from support import pasts


@pytest.fixture
def state(tmp_path):
    """web (home, 1 then 2) made /a, then /d/b; a tree of left and right, whose right was taken back; far away, web."""
    state = tmp_path / "state"

    def save(minute, paths, statuses, *, content=1, host="", tool="requisition 0.1.0", **fields):
        ordered = pasts.order(paths, **fields)
        nodes = tuple(
            NodeRun(number, status, left=(pasts.left(path, content),) if status in ("done", "unchanged") else ())
            for number, (path, status) in enumerate(zip(paths, statuses, strict=True))
        )
        receipt = pasts.receipt(minute, ordered, nodes, tool=tool)
        pasts.save(state, receipt, host=host)
        return receipt

    save(0, ["/a"], ["done"], package="web", version="1", scope="home", root="/home/u")
    save(1, ["/a"], ["unchanged"], package="web", version="1", scope="home", root="/home/u")
    save(2, ["/a", "/d/b"], ["done", "done"], content=2, package="web", version="2", scope="home", root="/home/u")
    tree = save(
        3, {"/d/l": "left", "/d/r": "right", "/d/x": "right"}, ["done", "done", "failed"], root="/", tool="old 9"
    )
    pasts.save(state, pasts.taken_back(tree, 4, frozenset({"right"})))
    save(5, ["/a"], ["done"], package="web", host="ops@far:22", root="/home/u")
    return state


def ask(state, what, *arguments):
    return index.ask(str(state), lambda connection: what(connection, *arguments))


def minutes(runs):
    return [(one.started - pasts.BEGIN) // 60 for one in runs]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (Filter(), [0, 1, 2, 3]),
        (Filter(host="ops@far:22"), [5]),
        (Filter(host=ANY_HOST), [0, 1, 2, 3, 5]),
        (Filter(package="web"), [0, 1, 2]),
        (Filter(package="right"), [3]),
        (Filter(package="demo"), [3]),
        (Filter(scope="system"), [3]),
        (Filter(root="/home/u"), [0, 1, 2]),
        (Filter(tool="old"), [3]),
        (Filter(tool="requisition 0.1"), [0, 1, 2]),
        (Filter(tool="equisition"), []),
        (Filter(since=pasts.BEGIN + 120), [2, 3]),
        (Filter(until=pasts.BEGIN + 60), [0, 1]),
        (Filter(since=pasts.BEGIN + 60, until=pasts.BEGIN + 120, package="web"), [1, 2]),
    ],
)
def test_runs_are_chosen_by_time_tool_scope_package_root_and_host(state, chosen, expected):
    assert minutes(ask(state, questions.runs, chosen)) == expected


def test_a_run_of_a_tree_says_what_became_of_each_package(state):
    (whole,) = ask(state, questions.runs, Filter(root="/"))
    assert whole.counts == {"done": 1, "rolled_back": 1, "failed": 1}
    assert whole.packages == ("left", "right")
    assert (whole.state, whole.taken_back) == ("executed", pasts.BEGIN + 240)
    (part,) = ask(state, questions.runs, Filter(package="right"))
    assert part.counts == {"rolled_back": 1, "failed": 1}


def test_a_path_has_a_history_in_which_who_only_found_it_so_is_counted(state):
    first, second = ask(state, questions.events, Filter(), "/a")
    assert (first.status, first.stands, first.confirmed, first.last.run) == ("done", False, 1, pasts.run_id(1))
    assert (second.status, second.stands, second.confirmed, second.last) == ("done", True, 0, None)
    assert (first.left, second.left) == (pasts.left("/a", 1), pasts.left("/a", 2))
    assert (second.node, second.location, second.package) == ("web/install/file.write:/a", "web.star:2", "web")
    assert second.ran.admitted[0].signer == "author"


def test_what_was_taken_back_or_failed_is_part_of_the_history_and_does_not_stand(state):
    found = ask(state, questions.events_below, Filter(root="/"), "/d")
    assert [(one.path, one.status, one.stands) for one in found] == [
        ("/d/l", "done", True),
        ("/d/r", "rolled_back", False),
        ("/d/x", "failed", False),
    ]
    assert found[1].left == pasts.left("/d/r"), "as it was before"
    assert [one.path for one in ask(state, questions.standing, Filter())] == ["/a", "/d/b", "/d/l"]


def test_a_package_has_a_history_by_path(state):
    found = ask(state, questions.events_of_package, Filter(package="web"))
    assert [(one.path, one.confirmed) for one in found] == [("/a", 1), ("/a", 0), ("/d/b", 0)]
    assert [one.path for one in ask(state, questions.events_of_package, Filter(package="left"))] == ["/d/l"]


def test_a_folder_holds_what_lies_below_it_and_not_what_begins_like_it(tmp_path):
    paths = ["/d", "/d/a", "/d-", "/d/a/b", "/d0", "/e"]
    nodes = tuple(NodeRun(number, "done", left=(pasts.left(path),)) for number, path in enumerate(paths))
    pasts.save(tmp_path / "state", pasts.receipt(0, pasts.order(paths), nodes))
    assert [one.path for one in ask(tmp_path / "state", questions.standing_below, Filter(), "/d")] == [
        "/d",
        "/d/a",
        "/d/a/b",
    ]


def test_a_path_of_this_machine_is_one_below_each_root_that_it_lies_in():
    roots = ["/", "/home/u", "/home/us"]
    assert meant("/home/u/.bashrc", "/", roots) == [("/", "/home/u/.bashrc"), ("/home/u", "/.bashrc")]
    assert meant("x/../.bashrc", "/home/u", roots) == [("/", "/home/u/.bashrc"), ("/home/u", "/.bashrc")]
    assert meant(".", "/home/u", roots) == [("/", "/home/u"), ("/home/u", "")]
    assert meant("/", "/tmp", roots) == [("/", "")]


def test_a_path_is_read_as_one_of_this_machine_first_and_then_as_orders_have_it(state):
    def of(text, cwd="/nowhere"):
        return [(one.ran.root, one.path) for one in ask(state, of_path, text, cwd, Filter())]

    assert of("/home/u/d/b") == of("b", "/home/u/d") == of("/d/b") == [("/home/u", "/d/b")]
    assert of("/d/l") == [("/", "/d/l")]
    assert of("/nothing") == []


def test_blame_names_the_folders_that_it_looked_through(state):
    folders, found = ask(state, below, "/home/u", "/", Filter(root="/home/u"))
    assert folders == ["/home/u"]
    assert [one.path for one in found] == ["/a", "/d/b"]
    folders, found = ask(state, below, "/d", "/", Filter())
    assert folders == ["/d"], "below / there is a real one, so orders' own paths are not asked"
    assert [one.path for one in found] == ["/d/l"]


def test_a_folder_in_which_target_roots_lie_holds_what_is_below_them(state):
    assert meant("/home", "/", ["/", "/home/u", "/homely"], inside=True) == [("/", "/home"), ("/home/u", "")]
    folders, found = ask(state, below, "/home", "/", Filter())
    assert folders == ["/home", "/home/u"]
    assert [one.path for one in found] == ["/a", "/d/b"]
    everything = ask(state, partial(of_path, below=True), "/", "/", Filter())
    assert {one.path for one in everything} == {"/a", "/d/b", "/d/l", "/d/r", "/d/x"}


def test_blame_looks_at_this_machine(tmp_path):
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d/here").write_text("")
    (root / "d/mine").write_text("")
    paths = ["/d/here", "/d/gone", "apt:nginx"]
    nodes = tuple(NodeRun(number, "done", left=(pasts.left(path),)) for number, path in enumerate(paths))
    for host in ("", "far"):
        pasts.save(tmp_path / "state", pasts.receipt(0, pasts.order(paths, root=str(root)), nodes), host=host)
    folders, found = ask(tmp_path / "state", below, str(root), "/", Filter())
    blame = blamed(found, folders)
    assert (blame.missing, blame.unmanaged) == ((f"{root}/d/gone",), (f"{root}/d/mine",))
    _, found = ask(tmp_path / "state", below, str(root), "/", Filter(host="far"))
    assert blamed(found, []).missing == ()
