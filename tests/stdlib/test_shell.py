import os

import pytest

from requisition.stdlib.action import ActionError, Cancelled, Change, Satisfied, UndoConflict
from requisition.stdlib.providers.shell import Exec
from support.hosts import Bench


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def run(bench, *argv, **slots):
    slots = {"argv": list(argv), **slots}
    change = bench.observe(Exec(), **slots)
    assert isinstance(change, Change)
    return Exec().do(bench.host, Exec.slots(**slots), change).outputs


def test_output_error_and_status_are_given_on(bench):
    found = run(bench, "/bin/sh", "-c", "echo out; echo err >&2; exit 3", ok_codes=[3])
    assert found == {"stdout": "out\n", "stderr": "err\n", "exit_code": 3}


@pytest.mark.parametrize(
    "word", ["$(touch /x)", "; touch x", "`id`", "a b", "'", '"', "\n", "*", "-n", "", "é", "$HOME"]
)
def test_an_argument_stays_one_argument(bench, word):
    assert run(bench, "printf", "%s|", word, "end")["stdout"] == f"{word}|end|"
    assert not list(bench.root.iterdir())


def test_a_zero_byte_in_an_argument_is_an_ordinary_error(bench):
    with pytest.raises(ActionError, match="null byte"):
        run(bench, "printf", "a\0b")


def test_a_shell_takes_part_only_when_it_is_asked_for(bench):
    assert run(bench, "echo $((1 + 1))", shell=True)["stdout"] == "2\n"
    with pytest.raises(ActionError, match="cannot be started"):
        run(bench, "echo $((1 + 1))")
    with pytest.raises(ActionError, match="argv needs a program"):
        run(bench, "echo", "two", shell=True)
    with pytest.raises(ActionError, match="argv needs a program"):
        run(bench)


def test_it_runs_in_the_target_root_with_a_small_environment(bench, monkeypatch):
    monkeypatch.setenv("TOKEN", "canary")
    assert run(bench, "pwd")["stdout"].strip() == str(bench.root)
    (bench.root / "sub").mkdir()
    assert run(bench, "pwd", cwd="/sub")["stdout"].strip() == str(bench.root / "sub")
    found = run(bench, "env", env={"MINE": "1"})["stdout"]
    assert "MINE=1" in found
    assert "canary" not in found


def test_standard_input_is_handed_over_and_is_otherwise_empty(bench):
    assert run(bench, "cat", stdin="a secret")["stdout"] == "a secret"
    assert run(bench, "cat", stdin=b"bytes")["stdout"] == "bytes"
    assert run(bench, "cat")["stdout"] == ""


def test_what_exists_already_is_not_made_again(bench):
    slots = {"argv": ["touch", "made"], "creates": "/made"}
    run(bench, **slots)
    assert isinstance(bench.observe(Exec(), **slots), Satisfied)


def test_a_guard_that_succeeds_spares_the_command(bench):
    assert isinstance(bench.observe(Exec(), argv=["false"], unless=["true"]), Satisfied)
    assert isinstance(bench.observe(Exec(), argv=["false"], unless=["false"]), Change)


@pytest.mark.parametrize("slots", [{"argv": ["sleep", "60"]}, {"argv": ["true"], "unless": ["sleep", "60"]}])
def test_a_command_and_its_guard_end_in_time(bench, slots):
    with pytest.raises(ActionError, match="did not end in time"):
        run(bench, timeout=50, **slots)


def test_an_undo_command_ends_in_time(bench):
    change = bench.do(Exec(), argv=["true"], undo=["sleep", "60"], timeout=200)
    with pytest.raises(ActionError, match="did not end in time"):
        Exec().undo(bench.host, change.undo)


def test_what_it_left_running_ends_with_it(bench):
    os.mkfifo(bench.root / "held")
    held = os.open(bench.root / "held", os.O_RDONLY | os.O_NONBLOCK)
    run(bench, "/bin/sh", "-c", "sleep 300 > held & true")
    os.set_blocking(held, True)
    assert os.read(held, 1) == b""  # its last writer is gone; this would wait for 300 seconds otherwise
    os.close(held)


def test_a_failure_shows_the_end_of_what_it_printed_unless_that_may_be_secret(bench):
    script = ["/bin/sh", "-c", "echo hunter2 >&2; exit 7"]
    with pytest.raises(ActionError, match=r"ended with exit status 7: hunter2"):
        run(bench, *script)
    bench.host.sealed = True
    with pytest.raises(ActionError, match="may hold a secret") as found:
        run(bench, *script)
    assert "hunter2" not in str(found.value)


def test_an_effect_is_taken_back_by_the_undo_command(bench):
    change = bench.do(Exec(), argv=["touch", "made"], undo=["rm", "made"])
    assert (bench.root / "made").exists()
    bench.undo(Exec(), change)
    assert not (bench.root / "made").exists()
    with pytest.raises(UndoConflict, match="ended with exit status 1"):
        bench.undo(Exec(), change)


def test_much_output_is_cut_and_does_not_block(bench):
    found = run(bench, "/bin/sh", "-c", "head -c 5000000 /dev/zero; echo x >&2")
    assert len(found["stdout"]) == 1 << 20
    assert found["stderr"] == "x\n"


def test_a_stopped_run_ends_its_command(bench):
    bench.host._cancelled = lambda: True
    with pytest.raises(Cancelled):
        run(bench, "sleep", "60")


def test_a_directory_that_is_missing_is_what_the_message_names(bench):
    with pytest.raises(ActionError, match="the directory /nowhere does not exist"):
        run(bench, "true", cwd="/nowhere")


@pytest.mark.parametrize("script", ["exit 4", "   ", "# nothing"])
def test_a_script_that_fails_is_not_quoted(bench, script):
    with pytest.raises(ActionError, match="^the script ended with exit status"):
        run(bench, script, shell=True, ok_codes=[7])


def test_a_command_can_run_in_a_folder_outside_of_the_target_root(bench, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    found = run(bench, "pwd", folder=str(tmp_path / "elsewhere"))
    assert found["stdout"] == f"{tmp_path}/elsewhere\n"
    with pytest.raises(ActionError, match="nowhere does not exist"):
        run(bench, "pwd", folder=str(tmp_path / "nowhere"))
    with pytest.raises(ActionError, match="no absolute path"):
        run(bench, "pwd", folder="elsewhere")


def test_a_failure_is_told_or_ignored_when_the_package_says_so(bench):
    assert run(bench, "/bin/sh", "-c", "exit 3", on_fail="ignore")["exit_code"] == 3
    assert run(bench, "/bin/sh", "-c", "exit 4", on_fail="warn")["exit_code"] == 4
    with pytest.raises(ActionError, match="on_fail is 'no'"):
        run(bench, "true", on_fail="no")
    with pytest.raises(ActionError):
        run(bench, "no-such-program-here", on_fail="ignore")
