"""Laws of variables in texts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from requisition.compiler.variables import BadText, NoValue, escape, expand

LAW = settings(deadline=None)
TEXTS = st.text(max_size=40)
SIGILS = st.text(st.sampled_from("${}%ab_1 é𝄞\n"), max_size=12)


def _none(name, at):
    raise NoValue(f"no {name}", "")


@LAW
@given(TEXTS.filter(lambda text: not {"$", "%"} & set(text)))
def test_a_text_without_variables_stays_as_it_is(text):
    assert expand(text, _none) == text


@LAW
@given(TEXTS | SIGILS)
def test_an_escaped_text_expands_to_itself(text):
    assert expand(escape(text), _none) == text


@LAW
@given(TEXTS | SIGILS, st.sampled_from(["$NAME", "${NAME}", "%NAME%"]), TEXTS | SIGILS, TEXTS | SIGILS)
def test_a_value_is_put_in_once_and_as_it_is(before, variable, value, after):
    before, after = escape(before), escape(after)
    text = f"{before}{variable}{'' if variable != '$NAME' else '-'}{after}"
    seen = []

    def look(name, at):
        seen.append((name, at))
        return value

    found = expand(text, look)
    assert seen == [("NAME", len(before))]
    assert found == expand(before, _none) + value + ("-" if variable == "$NAME" else "") + expand(after, _none)


@LAW
@given(TEXTS | SIGILS)
def test_a_text_expands_or_its_mistake_has_a_place_in_it(text):
    try:
        expand(text, lambda name, at: name)
    except BadText as error:
        offset = error.offset
    else:
        return
    assert text[offset] in "$%"
    expand(escape(text[:offset]), _none)
