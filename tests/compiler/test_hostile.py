import os

import pytest

from requisition.compiler import Limits, build
from requisition.compiler.evaluate import Job, ScriptError, evaluate
from requisition.compiler.prelude import prelude
from requisition.schemas.diagnostic import BadInput
from support.packages import built, request, write

SMALL = Limits(cpu_seconds=1, wall_seconds=30.0, memory_bytes=768 << 20, call_depth=60, nodes=500, order_bytes=1 << 20)


def refusal(tmp_path, body, **files):
    script = "def install(package, phase):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    with pytest.raises(BadInput) as refused:
        built(tmp_path, {"package.star": script, **files}, limits=SMALL)
    return refused.value.diagnostics[-1]


def test_an_endless_loop_is_stopped_at_its_line(tmp_path):
    found = refusal(tmp_path, "plan.file.mkdir('/a')\nfor i in range(1000000000):\n    pass")
    assert found.what == "it took too long"
    assert found.where == "package.star:3:5"


def test_an_endless_builtin_is_stopped_too(tmp_path):
    found = refusal(tmp_path, "for i in range(99):\n    sorted(range(3000000))")
    assert "too long" in str(found) or "time on the processor" in str(found) or "memory" in str(found)
    assert found.where.startswith("package.star:")


def test_a_pattern_that_never_ends_is_stopped(tmp_path):
    text = "name: demo\nsettings:\n  a: {default: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!, pattern: '^(a+)+$'}\n"
    found = refusal(tmp_path, "pass", **{"package.yaml": text})
    assert "its time on the processor" in found.why
    assert "pattern" in found.next


def test_a_text_that_misses_its_pattern_is_told(tmp_path):
    text = "name: demo\nsettings:\n  a: {type: array, default: [b, b7], items: {pattern: '^[a-z]$'}}\n"
    found = refusal(tmp_path, "pass", **{"package.yaml": text})
    assert found.what == "setting 'a': found 'b7', expected a match of ^[a-z]$"


@pytest.mark.parametrize("say", ["note(text)", "plan.content.literal(text)", "plan.source(text)", "plan.secret(text)"])
def test_a_flood_of_words_is_refused_at_its_line(tmp_path, say):
    found = refusal(tmp_path, f'text = "x" * 10000\nfor i in range(100000):\n    {say}')
    assert found.what == "what the scripts ask for is larger than 1048576 bytes"
    assert found.where.startswith("package.star:4:")


@pytest.mark.parametrize(
    ("depth", "words"), [(70, "nested deeper than 64"), (1500, "could not be evaluated"), (20_000, "")]
)
def test_a_value_nested_too_deeply_is_an_ordinary_error(tmp_path, depth, words):
    body = f'x = []\nfor i in range({depth}):\n    x = [x]\nplan.template.render("t", data = {{"x": x}})'
    assert words in refusal(tmp_path, body, t="").what


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("1.5", "a number within"),
        ("1 << 60", "a number within"),
        ('{"é": 1}', "must be ASCII"),
        ('{"$ref": "x"}', "without a $ first"),
        ('{"_ref": 3}', "are taken"),
        ('{"_item": "x"}', "are taken"),
        ("[lambda: 1]", "not supported on type `function`"),
    ],
)
def test_what_an_order_cannot_hold_is_refused_where_it_is_written(tmp_path, value, words):
    found = refusal(tmp_path, f'plan.file.mkdir("/a")\nplan.template.render("t", data = {{"data": {value}}})', t="")
    assert words in found.what
    assert found.where.startswith("package.star:3")


def test_a_call_at_the_top_of_a_file_is_refused(tmp_path):
    script = 'plan.file.mkdir("/a")\ndef install(package, phase):\n    pass\n'
    with pytest.raises(BadInput) as refused:
        built(tmp_path, {"package.star": script})
    assert "plan calls belong into a phase function" in refused.value.diagnostics[0].what
    assert refused.value.diagnostics[0].where == "package.star:1:1"


def test_an_error_in_a_loaded_file_is_told_at_its_own_line(tmp_path):
    files = {
        "package.star": 'load("a.star", "f")\ndef install(package, phase):\n    f()\n',
        "a.star": 'load("b.star", "g")\ndef f():\n    g()\n',
        "b.star": "x = 1\ny = x // 0\ndef g():\n    pass\n",
    }
    with pytest.raises(BadInput) as refused:
        built(tmp_path, files)
    assert refused.value.diagnostics[0].where == "b.star:2:5"


def test_a_lone_script_reads_what_lies_beside_it_and_no_more(tmp_path):
    (tmp_path / "home").mkdir()
    script = tmp_path / "home" / "hello.star"
    (tmp_path / "home" / "x").write_text("x")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "home" / "out").symlink_to(tmp_path / "secret")
    script.write_text('def install(package, phase):\n    plan.file.copy("x", "/x")\n')
    assert [one.path for one in build(request(script)).order.inputs] == ["x"]
    for path in ("out", "../secret", "missing"):
        script.write_text(f'def install(package, phase):\n    plan.file.copy("{path}", "/x")\n')
        with pytest.raises(BadInput):
            build(request(script))


def test_runaway_recursion_is_refused_with_its_place(tmp_path):
    script = "def f(n):\n    return f(n + 1)\ndef install(package, phase):\n    f(0)\n"
    with pytest.raises(BadInput) as refused:
        built(tmp_path, {"package.star": script}, limits=SMALL)
    assert refused.value.diagnostics[0].where.startswith("package.star:2")


def test_too_many_nodes_are_refused_with_their_place(tmp_path):
    found = refusal(tmp_path, 'for i in range(1000):\n    plan.file.mkdir("/d%d" % i)')
    assert "more than 500 nodes" in found.what
    assert found.where.startswith("package.star:3")


def test_too_much_memory_is_an_ordinary_error(tmp_path):
    found = refusal(tmp_path, 'x = "x" * 1000000\nkept = []\nfor i in range(100000):\n    kept.append(x + str(i))')
    assert "memory" in str(found) or "too long" in str(found)


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 3000 + "]" * 3000,
        "x = " + "lambda: " * 3000 + "1",
        "x = " + "(" * 100_000,
        "x = " + "-" * 20_000 + "1",
    ],
    ids=["brackets", "lambdas", "open", "minus"],
)
def test_a_file_that_would_crash_the_parser_is_an_ordinary_error(tmp_path, text):
    with pytest.raises(BadInput) as refused:
        built(tmp_path, {"package.star": f"{text}\ndef install(package, phase):\n    pass\n"}, limits=SMALL)
    assert "package.star" in refused.value.diagnostics[0].where


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../secret", "link-out"])
def test_nothing_outside_of_the_package_can_be_read(tmp_path, path):
    folder = write(
        tmp_path / "p", {"package.star": f'def install(package, phase):\n    plan.file.copy("{path}", "/a")\n'}
    )
    (tmp_path / "secret").write_text("secret")
    (folder / "link-out").symlink_to(tmp_path / "secret")
    with pytest.raises(BadInput) as refused:
        build(request(folder))
    assert refused.value.diagnostics[0].where == "package.star:2"


@pytest.mark.parametrize("module", ["../lib.star", "/etc/x.star", "@std//nothing.star", "@prelude"])
def test_nothing_outside_of_the_package_can_be_loaded(tmp_path, module):
    script = f'load("{module}", "x")\ndef install(package, phase):\n    pass\n'
    with pytest.raises(BadInput) as refused:
        built(tmp_path, {"package.star": script})
    assert refused.value.diagnostics[0].where.startswith("package.star:1")


def test_what_plan_is_made_of_is_no_module_even_where_nothing_was_checked():
    script = 'load("@prelude", "make_package")\ndef install(package, phase):\n    pass\n'
    job = Job({"package.star": script}, {}, prelude({}), [("install", "package.star")], [], {}, 5, 60, 500, 1 << 20)
    with pytest.raises(ScriptError, match="'@prelude' cannot be loaded"):
        evaluate(job)


def test_a_path_cannot_lead_out_of_the_target(tmp_path):
    assert "leads out of the target root" in refusal(tmp_path, 'plan.file.write("", "/a/../../etc/x")').what


@pytest.mark.parametrize("data", [b"\xff\xfe", b"def install(p, q):\n    pass\x00\n"], ids=["not utf-8", "NUL"])
def test_a_script_that_is_not_text_is_refused(tmp_path, data):
    folder = write(tmp_path, {})
    (folder / "package.star").write_bytes(data)
    with pytest.raises(BadInput, match="not readable UTF-8"):
        build(request(folder))


def test_a_script_sees_no_environment_clock_or_network(tmp_path):
    for name in ("os", "time", "getenv", "open", "print", "exec"):
        found = refusal(tmp_path, f"{name}")
        assert name in found.what


def test_an_error_shows_the_scripts_own_traceback_and_no_python(tmp_path):
    script = "def helper(x):\n    fail('broken: %s' % x)\ndef install(package, phase):\n    helper(3)\n"
    with pytest.raises(BadInput) as refused:
        built(tmp_path, {"package.star": script})
    text = str(refused.value)
    assert refused.value.diagnostics[0].what == "broken: 3"
    assert "package.star:4 in install → package.star:2 in helper" in text
    assert ".py" not in text
    assert "prelude" not in text


def test_an_error_that_was_said_fails_the_build_at_its_end(tmp_path):
    found = refusal(tmp_path, 'error("first")\nplan.file.mkdir("/a")\nerror("second")')
    assert found.what == "second"


def test_a_manifest_is_checked_whole_with_lines(tmp_path):
    manifest = "name: Bad Name\nfeaturs: {}\nsettings:\n  port: {type: number}\n"
    with pytest.raises(BadInput) as refused:
        built(tmp_path, {"package.yaml": manifest, "package.star": "def install(p, q):\n    pass\n"})
    assert any("did you mean 'features'" in one.next for one in refused.value.diagnostics)
    assert all(":" in one.where for one in refused.value.diagnostics)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_a_device_in_a_package_is_no_input(tmp_path):
    folder = write(tmp_path, {"package.star": 'def install(package, phase):\n    plan.file.copy("dev", "/a")\n'})
    os.mknod(folder / "dev", 0o600 | 0o020000, os.makedev(1, 5))
    with pytest.raises(BadInput, match="no file 'dev'"):
        build(request(folder))
