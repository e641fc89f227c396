"""Each character of a value is found where it stands in the text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from requisition.schemas import strictyaml
from requisition.schemas.yamlchars import Characters

LAW = settings(deadline=None)


@LAW
@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x85\u2028\u2029\ufeff\ufffe\uffff"),
        min_size=1,
        max_size=30,
    ),
    st.data(),
)
def test_each_character_of_a_quoted_value_is_found_in_the_file(value, data):
    offset = data.draw(st.integers(0, len(value) - 1))
    for quote, written in (
        ("'", [one.replace("'", "''") for one in value]),
        ('"', [one.replace("\\", "\\\\").replace('"', '\\"') for one in value]),
        ('"', [f"\\U{ord(one):08x}" for one in value]),
    ):
        text = f"a: {quote}{''.join(written)}{quote}"
        loaded, positions = strictyaml.load(text, "f")
        assert loaded == {"a": value}
        assert Characters(text).place(positions["a",], offset) == (1, 5 + len("".join(written[:offset])))


@LAW
@given(st.lists(st.text("ab é", min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=4), st.data())
def test_each_character_of_a_block_is_found_in_the_file(lines, data):
    lines = [f"x{line.rstrip()}" for line in lines]
    text = "a:\n  - |\n" + "".join(f"      {line}\n" for line in lines)
    value = "\n".join(lines) + "\n"
    loaded, positions = strictyaml.load(text, "f")
    assert loaded == {"a": [value]}
    offset = data.draw(st.integers(0, len(value) - 2).filter(lambda at: value[at] != "\n"))
    line, column = Characters(text).place(positions["a", 0], offset)
    assert text.split("\n")[line - 1][column - 1] == value[offset]
    assert line - 3 == value.count("\n", 0, offset)


@pytest.mark.parametrize(
    ("text", "offset", "place"),
    [
        ("a: one\n  two\n", 5, (2, 4)),
        ('a: "one\n\n  two"\n', 4, (3, 3)),
        ('a: "one\\\n  two"\n', 3, (2, 3)),
        ("a: >\n  one\n  two\n", 4, (3, 3)),
        ("a: |\n\n  one\n", 2, (3, 4)),
        ("a: 'o\u2028ne'\n", 2, (2, 1)),
    ],
)
def test_a_character_of_a_value_in_several_lines_is_found(text, offset, place):
    loaded, positions = strictyaml.load(text, "f")
    found = Characters(text)
    assert found.place(positions["a",], offset) == place
    assert found.line(place[0])[place[1] - 1] == loaded["a"][offset]
