"""Nothing that a template does is free, however it is written."""

import resource

import pytest

from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.sandbox import compile_template, environment, render
from requisition.stdlib.providers.template import Render
from support.hosts import Bench


def made(text: str, data=None, *, sealed=False, **more: str) -> str:
    compiled = compile_template("t", environment({"t": text, **more}))
    return render(compiled, data or {}, sealed=sealed).decode()


def doubled(form: str, first: str = "'x' * 1000") -> str:
    """Forty lines, each of which makes its value of twice the one before."""
    steps = "".join("{% set a" + str(n + 1) + " = " + form.format(a=f"a{n}") + " %}" for n in range(40))
    return "{% set a0 = " + first + " %}" + steps


BOMBS = {
    "~ forty times": doubled("{a} ~ {a}"),
    "+ forty times": doubled("{a} + {a}"),
    "lists added": doubled("{a} + {a}", "[0]"),
    "lists of lists": doubled("[{a}, {a}]", "[0, 0]") + "{{ a40 }}",
    "dicts of dicts": doubled("dict(x = {a}, y = {a})", "{}") + "{{ a40 }}",
    "tuples of tuples": doubled("({a}, {a})", "(0, 0)") + "{{ a40 }}",
    "lists compared": doubled("[{a}, {a}]", "[0]") + doubled("[{a}, {a}]", "[0]") + "{{ a40 == a39 }}",
    "tuples hashed": doubled("({a}, {a})", "(0, 0)") + "{{ {a40: 1} | length }}",
    "dicts written": doubled("{{'x': {a}, 'y': {a}}}", "{}"),
    "lists repeated": "{{ [[0] * 60000] * 60000 }}",
    "joined": doubled("[{a}, {a}] | join", "'x' * 1000"),
    "joined by much": "{{ range(99999) | join('x' * 1000000) }}",
    "joined by a method": "{{ ('x' * 1000000).join(['a'] * 1000) }}",
    "replaced": "{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}",
    "replaced by a method": "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
    "replaced between letters": "{{ ('a' * 1000000).replace('', 'b' * 1000000) }}",
    "width of a method": "{{ 'a'.ljust(3000000000) }}",
    "zeros": "{{ '1'.zfill(3000000000) }}",
    "width of format": "{{ '{:>3000000000}'.format('a') }}",
    "width given to format": "{{ '%*d' | format(1000000000, 1) }}",
    "silent loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "filtered loops": "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
    "silent generators": "{% for i in range(99999) %}{% set x = range(99999) | map('string') | list %}{% endfor %}",
    "macros in macros": "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{{ " + "m(" * 40 + "'x'" + ")" * 40 + " | length }}",
    "blocks of blocks": "{% block b0 %}" + "x" * 999 + "{% endblock %}"
    + "".join("{% block b" + str(n + 1) + " %}{{ self.b" + str(n) + "() ~ self.b" + str(n) + "() }}{% endblock %}" for n in range(40)),
    "kept output": "{% set a %}{% for i in range(99999) %}" + "x" * 5000 + "{% endfor %}{% endset %}{{ a | length }}",
    "precision": "{{ 1.5 | round(1000000000, 'ceil') }}",
    "products": "{% set a = 9999999999999999999 %}{{ a * a }}",
    "bytes of a number": "{{ (1).to_bytes(1000000000, 'big') }}",
    "indentation": "{{ ('a\n' * 1000000) | indent(1000) }}",
    "wrapping": "{{ ('a' * 100000) | wordwrap(1, true, 'x' * 100000) }}",
    "sums of lists": "{{ ([[0] * 100] * 5000) | sum(start = []) }}",
    "slices": "{{ [1] | slice(1000000000) | list }}",
    "json": "{{ [[[[1]]]] | tojson(indent = 1000000000) }}",
    "recursive loop": "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "macro without end": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "itself included": "{% include 't' %}",
    "brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "nested loops": "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
}  # fmt: skip


@pytest.fixture
def little_memory():
    """A bomb that goes off is a MemoryError, whose message differs from the one that is expected."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_bomb_does_not_go_off(name):
    with pytest.raises(ActionError) as refused:
        made(BOMBS[name])
    assert "t" in str(refused.value).split(":")[0]
    assert "memory" not in str(refused.value)


ESCAPES = [
    "{{ x.__class__ }}",
    "{{ x['__class__'] }}",
    "{{ x | attr('__class__') }}",
    "{{ x | map(attribute = '__class__') | list }}",
    "{{ [x] | map('attr', '__class__') | list }}",
    "{{ [x] | groupby('__class__') }}",
    "{{ ''.format_map(x) }}",
    "{{ '{0.__class__}'.format(x) }}",
    "{{ ''['format']('{0.__class__}', x) }}",
    "{{ ('{0.__class__}' | attr('format'))(x) }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ range.__self__ }}",
    "{{ dict.mro() }}",
    "{{ dict.fromkeys.__self__.__base__ }}",
    "{% macro m() %}{% endmacro %}{{ m._environment }}",
    "{% for a in [1] %}{{ loop._iterable }}{% endfor %}",
    "{{ environment }}",
    "{{ environment.each }}",
    "{{ url_for.__globals__ }}",
    "{{ x.update({'a': 1}) }}",
    "{{ x.clear() }}",
    "{{ x.setdefault('b', 1) }}",
    "{% include '/etc/passwd' %}",
    "{% include '../t' %}",
    "{% import 'os' as os %}{{ os.system('id') }}",
    "{% extends 'base' %}",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_no_name_leads_out_of_the_data(text):
    with pytest.raises(ActionError):
        made(text, {"x": {"a": "b"}})


USUAL = {
    "{% for k, v in d | dictsort %}{{ k }}={{ v }};{% endfor %}": "a=1;b=2;",
    "{% for x in l %}{{ loop.index }}{{ x }}{{ ',' if not loop.last }}{% else %}none{% endfor %}": "1p,2q",
    "{{ l | join(', ') }} {{ l | map('upper') | join }}": "p, q PQ",
    "{{ n | default(8080) }}{{ missing | default(8080) }}": "3008080",
    "{{ 'a' ~ n ~ 'b' }}{{ 2 * n + 1 }}{{ n % 7 }}": "a300b6016",
    "{{ d.a }}{{ d['b'] }}{{ d.get('c', 3) }}{{ d.items() | list | length }}": "1232",
    "{{ '%04d' | format(n) }} {{ n | string | length }}": "0300 3",
    "{{ d | tojson }} {{ l | tojson(indent = 2) | length }}": '{"a": 1, "b": 2} 16',
    "{% macro user(n) %}User {{ n }}{% endmacro %}{{ user('git') }}": "User git",
    "{% set t %}{{ n }}{% endset %}{{ t }}{% if t is string and 'p' in l %}!{% endif %}": "300!",
    "{{ s.strip().split(':')[1].upper() }}{{ s.startswith(' k') }}": "VTrue",
    "{{ 'x\ny' | indent(4) }}": "x\n    y",
    "{% include 'part' %}{% import 'part' as p %}": "(300)",
    "{{ l | select('equalto', 'q') | first }}{{ [3, 1, 2] | sort | last }}{{ [1, 2] | sum }}": "q33",
    "{# a note #}{% raw %}{{ x }}{% endraw %}\n": "{{ x }}\n",
}


@pytest.mark.parametrize("text", USUAL)
def test_what_configuration_files_need_works(text):
    data = {"d": {"b": 2, "a": 1}, "l": ["p", "q"], "n": 300, "s": " k:v "}
    assert made(text, data, part="({{ 300 }})") == USUAL[text]


def test_a_thousand_entries_of_ten_lines_are_well_within_the_budget():
    text = "{% for h in hosts %}" + "Host {{ h.name }} port {{ h.port + 1 }}\n" * 10 + "{% endfor %}"
    assert made(text, {"hosts": [{"name": f"h{n}", "port": n} for n in range(1000)]}).count("\n") == 10_000


def test_every_render_has_a_budget_of_its_own():
    compiled = compile_template("t", environment({"t": "{% for i in range(90000) %}{% endfor %}"}))
    for _ in range(20):
        render(compiled, {})


def test_time_is_bounded_where_units_are_not(monkeypatch):
    from requisition.stdlib.providers import template_budget

    clock = iter(range(0, 100_000, 3))
    monkeypatch.setattr(template_budget, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
    with pytest.raises(ActionError, match="costs more"):
        made("{% for i in range(9) %}{{ i | string }}{% endfor %}")


def test_an_error_in_an_included_template_names_that_template():
    with pytest.raises(ActionError, match=r"^part:2: 'nothing' is undefined"):
        made("{% include 'part' %}", part="\n{{ nothing }}")
    with pytest.raises(ActionError, match=r"^part:3: "):
        made("{% include 'part' %}", part="\n\n{% end %}")


def test_an_error_does_not_quote_what_may_be_secret():
    text = "\n{{ d[s] }}"
    with pytest.raises(ActionError, match=r"t:2: .*hunter2"):
        made(text, {"d": {}, "s": "hunter2"})
    with pytest.raises(ActionError, match=r"t:2: it failed") as refused:
        made(text, {"d": {}, "s": "hunter2"}, sealed=True)
    assert "hunter2" not in str(refused.value)


def test_the_content_of_another_node_is_text_in_a_template(tmp_path):
    bench = Bench(tmp_path, {"t": b"{{ c | upper }}"})
    assert bench.observe(Render(), source="t", data={"c": "é".encode()}).outputs["content"].decode() == "É"
    with pytest.raises(ActionError, match="not UTF-8"):
        bench.observe(Render(), source="t", data={"c": b"\xff"})
