import pytest

from requisition.stdlib.action import ActionError, Satisfied
from requisition.stdlib.providers.template import Render
from support.hosts import Bench


def rendered(tmp_path, text, data=None, **slots):
    bench = Bench(tmp_path, {"t": text.encode(), "part": b"({{ x }})"})
    found = bench.observe(Render(), source="t", data=data or {}, **slots)
    return found.outputs["content"].decode()


def test_data_fills_the_holes(tmp_path):
    text = "{% for p in ports %}{{ p }}{% if not loop.last %},{% endif %}{% endfor %}\n"
    assert rendered(tmp_path, text, {"ports": [1, 2]}) == "1,2\n"


def test_a_missing_name_is_an_error_at_its_line(tmp_path):
    with pytest.raises(ActionError, match=r"t:2: 'nothing' is undefined"):
        rendered(tmp_path, "x\n{{ nothing }}\n")


def test_a_syntax_error_has_its_line(tmp_path):
    with pytest.raises(ActionError, match=r"t:2:"):
        rendered(tmp_path, "x\n{% if %}\n")


def test_only_declared_templates_are_included(tmp_path):
    assert (
        rendered(
            tmp_path / "a" if (tmp_path / "a").mkdir() is None else tmp_path,
            "{% include 'part' %}",
            {"x": 1},
            includes=["part"],
        )
        == "(1)"
    )
    (tmp_path / "b").mkdir()
    with pytest.raises(ActionError, match="part"):
        rendered(tmp_path / "b", "{% include 'part' %}", {"x": 1})


def test_data_is_never_taken_for_a_template(tmp_path):
    assert rendered(tmp_path, "{{ v }}", {"v": "{{ 7*7 }}"}) == "{{ 7*7 }}"


def test_a_rendered_file_is_written_once(tmp_path):
    bench = Bench(tmp_path, {"t": b"{{ a }}"})
    bench.do(Render(), source="t", data={"a": 1}, path="/x", mode=0o600)
    assert (bench.root / "x").read_text() == "1"
    assert isinstance(bench.observe(Render(), source="t", data={"a": 1}, path="/x", mode=0o600), Satisfied)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ x|attr('__class__') }}",
        "{{ '{0.__class__}'.format(x) }}",
        "{{ 'a' * 1000000000 }}",
        "{{ [0] * 1000000000 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ range(1000000000) | list }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
        "{{ lipsum(n = 100000) }}",
        "{{ cycler('a') }}",
        "{{ joiner() }}",
        "{{ namespace() }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ 'a\\nb' | indent(1000000000) }}",
        "{{ x.append(1) }}",
        "{{ self._TemplateReference__context }}",
    ],
)
def test_what_escapes_or_explodes_is_refused(tmp_path, text):
    with pytest.raises(ActionError):
        rendered(tmp_path, text, {"x": [1]})
