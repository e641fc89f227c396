import io
import tokenize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.compiler.tokens import code_only, position, unclosed

pieces = st.lists(
    st.sampled_from(
        [
            "a",
            " ",
            "plan.x",
            "'b'",
            '"#"',
            "r'\\\\'",
            "r'\\'e'",
            "'''c\n\"'''",
            '"""\\"""d"""',
            "# e 'f'\n",
            "(",
            ")",
            "\n",
            "'\\\\'",
            ",",
        ]
    )
).map(" ".join)


def by_python(text: str) -> str:
    """The text without strings and comments, as Python's tokenizer sees it."""
    lines = [list(line) for line in text.splitlines(keepends=True)]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            (first, start), (last, stop) = token.start, token.end
            for number in range(first, last + 1):
                line = lines[number - 1]
                for at in range(start if number == first else 0, stop if number == last else len(line)):
                    line[at] = "\n" if line[at] == "\n" else " "
    return "".join("".join(line) for line in lines)


@given(pieces)
def test_strings_and_comments_are_blanked_where_pythons_tokenizer_sees_them(text: str) -> None:
    try:
        expected = by_python(text)
    except (tokenize.TokenError, IndentationError):
        return
    assert code_only(text) == expected


@given(st.text(alphabet="a'\"#\\\n r([{}])"))
def test_every_character_keeps_its_place(text: str) -> None:
    code = code_only(text)
    assert len(code) == len(text)
    assert all(kept in (" ", char) and (char != "\n" or kept == "\n") for kept, char in zip(code, text, strict=True))


def test_positions_count_from_one() -> None:
    assert [position("a\nbc", offset) for offset in range(4)] == [(1, 1), (1, 2), (2, 1), (2, 2)]


@pytest.mark.parametrize(("code", "offset"), [("(a[b]", 0), ("(a[b", 2), ("()", None), ("))(", 2), ("", None)])
def test_the_innermost_open_bracket_is_found(code: str, offset: int | None) -> None:
    assert unclosed(code) == offset
