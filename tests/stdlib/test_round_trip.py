"""Laws: whatever the tree and whatever is put, do and undo is nothing, and do twice is do once."""

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from requisition.stdlib.action import ActionError, Change, Satisfied
from requisition.stdlib.providers.archive import Extract
from requisition.stdlib.providers.file import Link, Mkdir, Write
from requisition.stdlib.providers.file_changes import Chmod, Remove
from requisition.stdlib.providers.file_moves import Backup, Rename
from requisition.stdlib.providers.template import Render
from support.archives import directory, tar
from support.hosts import Bench
from support.trees import build, snapshot

NAMES = st.sampled_from(["a", "b", "c d", "é", "-x", ".h"])
MODES = st.integers(0, 0o7777)
CONTENTS = st.binary(max_size=300)
FILES = st.tuples(CONTENTS, MODES)
LINKS = st.tuples(st.just("link"), st.sampled_from(["a", "../b", "/etc", "nowhere"]))
TREES = st.recursive(
    st.dictionaries(NAMES, FILES | LINKS, max_size=4),
    lambda inner: st.dictionaries(NAMES, FILES | LINKS | inner, max_size=4),
    max_leaves=6,
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
WHOLE = PATHS | st.just("/a")
REQUESTS = st.one_of(
    st.tuples(st.just(Write()), st.fixed_dictionaries({"path": WHOLE, "content": CONTENTS, "mode": MODES})),
    st.tuples(st.just(Mkdir()), st.fixed_dictionaries({"path": WHOLE, "mode": MODES, "keep": st.booleans()})),
    st.tuples(st.just(Link()), st.fixed_dictionaries({"path": WHOLE, "target": st.text("ab/.", min_size=1)})),
    st.tuples(st.just(Chmod()), st.fixed_dictionaries({"path": WHOLE, "mode": MODES})),
    st.tuples(st.just(Remove()), st.fixed_dictionaries({"path": WHOLE, "recursive": st.just(True)})),
    st.tuples(st.just(Remove()), st.fixed_dictionaries({"path": WHOLE, "aside": st.sampled_from([".bak", "d"])})),
    st.tuples(st.just(Rename()), st.fixed_dictionaries({"source": WHOLE, "path": PATHS})),
    st.tuples(st.just(Backup()), st.fixed_dictionaries({"path": WHOLE})),
    st.tuples(st.just(Render()), st.fixed_dictionaries({"path": WHOLE, "source": st.just("t"), "mode": MODES})),
    st.tuples(st.just(Extract()), st.fixed_dictionaries({"path": WHOLE, "source": st.just("z")})),
)
INPUTS = {"t": b"{{ 1 + 1 }}", "z": tar(("a/b", b"1"), directory("c d"), ("é", b"2"))}
LAW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@LAW
@given(TREES, REQUESTS)
def test_do_then_undo_is_nothing_and_do_twice_is_once(tree, request):
    action, slots = request
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), INPUTS)
        build(bench.root, tree)
        before = snapshot(bench.root)
        try:
            found = bench.observe(action, **slots)
        except ActionError:
            assert snapshot(bench.root) == before
            return
        assert snapshot(bench.root) == before
        if isinstance(found, Satisfied):
            return
        _do_and_undo(bench, action, slots, found)
        assert snapshot(bench.root) == before


def _do_and_undo(bench, action, slots, change: Change) -> None:
    """A failure in the middle is allowed, as where a directory stands in the place of a file; what was done
    until then is undone all the same."""
    try:
        action.do(bench.host, action.slots(**slots), change)
        assert isinstance(bench.observe(action, **slots), Satisfied)
    except (ActionError, OSError) as failure:
        event(type(failure).__name__)
    else:
        event("done")
    bench.undo(action, change)
    bench.host.root.forget()
    assert not [name for _, _, files in os.walk(bench.root) for name in files if name.startswith(".rq-")]
