"""plan.lock: written the same way always, read strictly."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.schemas.diagnostic import BadInput
from requisition.tree import pins
from requisition.tree.paths import path_fault
from requisition.tree.pins import Pin, Pins

COMMITS = st.text("0123456789abcdef", min_size=40, max_size=40)
NAMES = st.text(min_size=1, max_size=30).filter(lambda text: not path_fault(text))
URLS = st.sampled_from(["/srv/a.git", "https://git.example/a b".replace(" ", "-"), "git@git.example:x/y.git"])
REFS = st.one_of(st.sampled_from(["", "main", "v1.2", "true", "1", "null", "0x1", "1e3", "on"]), st.text(max_size=20))


@given(st.dictionaries(NAMES, st.builds(Pin, URLS, COMMITS, REFS), max_size=8))
def test_what_is_written_is_read_back_whatever_the_names(packages):
    found = Pins(packages)
    assert pins.parse(pins.text_of(found), "plan.lock") == found


def test_the_file_is_sorted_and_a_moved_pin_is_one_line_of_a_diff():
    one = Pins({"b": Pin("/r/b", "b" * 40, "v1"), "a": Pin("/r/a", "a" * 40)})
    text = pins.text_of(one).decode()
    assert text.splitlines() == [
        'version: "1"',
        "packages:",
        "  a:",
        '    url: "/r/a"',
        f"    commit: {'a' * 40}",
        "  b:",
        '    url: "/r/b"',
        "    ref: v1",
        f"    commit: {'b' * 40}",
    ]
    moved = Pins({**one.packages, "b": Pin("/r/b", "c" * 40, "v1")})
    assert len(set(pins.text_of(moved).decode().splitlines()) - set(text.splitlines())) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("packages: {}", "do not say their version"),
        ("version: 1\npackages: {}", "version"),
        ('version: "2"\npackages: {}', "version"),
        ('version: "1"\npackages: {a: {url: /r}}', "commit"),
        ('version: "1"\npackages:\n  a: {url: /r, commit: main}', "plan.lock:3:3: a: 'main' is no commit"),
        ('version: "1"\npackages:\n  a: {url: "ext::sh", commit: ' + "a" * 40 + "}", "plan.lock:3:3: a: the address"),
        (
            'version: "1"\npackages:\n  ../a: {url: /r, commit: ' + "a" * 40 + "}",
            "plan.lock:3:3: ../a: '..' is no bare name",
        ),
        ('version: "1"\npackages:\n  a: {url: /r, comit: ' + "a" * 40 + "}", "did you mean 'commit'"),
        ('version: "1"\npackages:\n  a: {url: /r, commit: &x ' + "a" * 40 + "}", "anchors"),
        ("<<<<<<< HEAD\n", "plan.lock:1"),
        ("", "do not say their version"),
    ],
)
def test_pins_that_are_not_as_they_must_be_are_refused_with_their_place(text, words):
    with pytest.raises(BadInput) as caught:
        pins.parse(text.encode(), "plan.lock")
    assert words in str(caught.value)


def test_no_file_is_no_pins_and_the_same_pins_are_not_written_again(tmp_path):
    path = str(tmp_path / "plan.lock")
    assert pins.read(path) == Pins()
    found = Pins({"a": Pin("/r", "a" * 40)})
    pins.write(path, found)
    before = os.stat(path)
    pins.write(path, found)
    assert os.stat(path) == before
    assert pins.read(path) == found
    assert os.listdir(tmp_path) == ["plan.lock"]
