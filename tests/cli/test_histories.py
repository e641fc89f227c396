"""Histories as they are shown."""

from requisition.cli import histories
from requisition.cli.output import Output
from requisition.review.history import index, questions
from requisition.review.history.answers import origins
from requisition.review.history.questions import Filter
from requisition.runtime.halves import BY_THE_OTHER
from requisition.schemas.receipt import Left, NodeRun
from support import pasts

PLAIN = Output(color="never")


def asked(state, what, *arguments):
    return index.ask(str(state), lambda connection: what(connection, *arguments))


def test_a_tree_of_which_a_package_was_taken_back_says_so(tmp_path):
    ordered = pasts.order({"/l": "left", "/r": "right"})
    nodes = tuple(NodeRun(number, "done", left=(pasts.left(path),)) for number, path in enumerate(["/l", "/r"]))
    first = pasts.receipt(0, ordered, nodes)
    pasts.save(tmp_path / "state", first)
    pasts.save(tmp_path / "state", pasts.taken_back(first, 3, frozenset({"right"})))
    runs = asked(tmp_path / "state", questions.runs, Filter())
    assert histories.run_line(runs[0], PLAIN).split("  ")[1:-1] == [
        "in part taken back", "demo", "/root", "1 done, 1 rolled back",
    ]  # fmt: skip
    assert [line.split("  ")[0] for line in histories.run_tree(runs, PLAIN)] == ["left", "", "right", ""]
    taken = asked(tmp_path / "state", questions.events, Filter(), "/r")
    assert "↺  taken back: file 0644, 1 byte" in histories.event_line(taken[0], PLAIN, path=False)
    (origin,) = origins(taken, str(tmp_path / "state"))
    assert next(histories.origin(origin, PLAIN)) == "/r  in /root: no run that stands made it"


def test_what_root_did_names_the_run_and_receipt_of_its_half(tmp_path):
    ordered = pasts.order(["/etc/shadow"], elevated=("/etc/shadow",))
    pasts.save(
        tmp_path / "state", pasts.receipt(0, ordered, (NodeRun(0, "done"),), elevated=pasts.half(pasts.run_id(1)))
    )
    (ran,) = asked(tmp_path / "state", questions.runs, Filter())
    assert "  with a half as root  " in histories.run_line(ran, PLAIN)
    events = asked(tmp_path / "state", questions.events, Filter(), "/etc/shadow")
    (origin,) = origins(events, str(tmp_path / "state"))
    lines = list(histories.origin(origin, PLAIN))
    assert "  left as   as root left it" in lines
    assert f"  as root   run {pasts.run_id(1)}, receipt sha256:{'0' * 64}" in lines
    assert "  signed by author (ed25519)" in lines
    assert not any(line.startswith("  now") for line in lines)


def test_in_roots_own_history_such_a_half_is_told_as_one(tmp_path):
    ordered = pasts.order(["/etc/shadow", "/plain"], elevated=("/etc/shadow",))
    done = NodeRun(0, "done", left=(pasts.left("/etc/shadow"),))
    pasts.save(tmp_path / "state", pasts.receipt(0, ordered, (done, NodeRun(1, "skipped", reason=BY_THE_OTHER))))
    (ran,) = asked(tmp_path / "state", questions.runs, Filter())
    assert "  half of another run  " in histories.run_line(ran, PLAIN)


def test_each_kind_of_outcome_has_words():
    assert histories.described(Left("/a", "link", target="b")) == "link to b"
    assert histories.described(Left("/a", "absent")) == "absent"
    assert histories.described(Left("apt:x", "token", token="1.2")) == "1.2"
    assert histories.described(Left("/a", "dir", 0o750)) == "directory 0750"
    secret = Left("/a", "file", 0o600, size=3, sha256="ab" * 32, sealed=True)
    assert histories.described(secret) == "file 0600, 3 bytes, with a secret in it"


def test_a_tree_of_paths_names_each_folder_once_and_resources_by_themselves(tmp_path):
    paths = ["/d/a", "/d/b/c", "apt:nginx"]
    nodes = tuple(NodeRun(number, "done", left=(pasts.left(path),)) for number, path in enumerate(paths))
    pasts.save(tmp_path / "state", pasts.receipt(0, pasts.order(paths, root="/"), nodes))
    found = asked(tmp_path / "state", questions.events_of_package, Filter(package="demo"))
    lines = [line for line in histories.event_tree(found, PLAIN) if "✓" not in line]
    assert lines == ["/", "  apt:nginx", "  d/", "    a", "    b/", "      c"]
