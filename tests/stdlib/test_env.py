"""Variables of users and machines, as the real shells read them back."""

import os
import re
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.action import ActionError, Satisfied
from requisition.stdlib.providers.env.actions import Machine, User
from requisition.stdlib.providers.env.words import OF_SHELLS, Variables, check
from support.hosts import Bench
from support.machines import plain_machine
from support.orders import OrderBuilder
from support.packages import installed
from support.process import request
from support.session import ask
from support.trees import build, snapshot

# How each shell is started, and which kinds of start must know the variables.
STARTS = {
    "sh": ("dash", "-l", "-c"),
    "bash, login": ("bash", "-l", "-c"),
    "bash, interactive": ("bash", "-i", "-c"),
    "zsh": ("zsh", "-c"),
    "zsh, login": ("zsh", "-l", "-c"),
    "fish": ("fish", "-c"),
}
ALL = ["sh", "bash", "zsh", "fish"]
STRANGE = {
    "PLAIN": "vim",
    "SPACES": "  two  words ",
    "QUOTES": "it's \"said\" '' \\' \\",
    "DOLLAR": "$HOME ${HOME} $(id) `id` \\$x",
    "SIGNS": "!event !! *?[a] ~ # ; & | < > % ^ = {a,b}",
    "EMPTY": "",
    "TAB": "a\tb",
    "LETTERS": "grüße 世界",
    "OPTION": "-n",
    "FOOPATH": "/a:/b::/c d",
}


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def missing(start):
    return [] if shutil.which(start[0]) else [f"needs the shell {start[0]}"]


def seen(start, home, **more):
    """The environment of a program that a shell starts, which found only this home."""
    if missing(start):
        pytest.skip(missing(start)[0])
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(home), "TERM": "dumb"} | more
    done = subprocess.run(
        [*start, "/usr/bin/env -0"],
        env=clean,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        check=True,
    )
    assert b"rror" not in done.stderr, done.stderr
    return dict(line.partition("=")[::2] for line in done.stdout.decode().split("\0") if line)


@pytest.mark.parametrize("start", STARTS)
def test_every_shell_reads_back_what_was_said(bench, start):
    bench.do(User(), home="/", variables=STRANGE, shells=ALL)
    found = seen(STARTS[start], bench.root)
    assert {name: found.get(name) for name in STRANGE} == STRANGE


TEXT = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")) | st.sampled_from("\t'\"\\$`!%:"), max_size=30
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.fixed_dictionaries({"A_VALUE": TEXT, "SOME_PATH": TEXT}))
def test_any_text_is_read_back_by_every_shell(tmp_path_factory, values):
    bench = Bench(tmp_path_factory.mktemp("env"))
    bench.do(User(), home="/", variables=values, shells=ALL)
    for start in STARTS.values():
        if not missing(start):
            found = seen(start, bench.root)
            assert {name: found.get(name) for name in values} == values, start


@pytest.mark.parametrize("start", STARTS)
def test_folders_stand_in_front_of_path_once_however_often_it_is_read(bench, start):
    bench.do(User(), home="/", path=["~/my bin", "/opt/it's/bin"], shells=ALL)
    home = str(bench.root)
    first = seen(STARTS[start], home)["PATH"]
    assert first.startswith(f"{home}/my bin:/opt/it's/bin:/")
    assert seen(STARTS[start], home, PATH=first)["PATH"].split(":").count(f"{home}/my bin") == 1


@pytest.mark.parametrize("start", STARTS)
def test_a_variable_is_forgotten(bench, start):
    bench.do(User(), home="/", unset=["GONE"], shells=ALL)
    assert "GONE" not in seen(STARTS[start], bench.root, GONE="there")


@pytest.mark.parametrize("login", [".bash_profile", ".bash_login"])
def test_bash_knows_them_where_it_does_not_read_profile(bench, login):
    build(bench.root, {login: b"export OWN=1\n"})
    bench.do(User(), home="/", variables={"X": "1"})
    found = seen(STARTS["bash, login"], bench.root)
    assert (found["OWN"], found["X"]) == ("1", "1")
    assert (bench.root / login).read_text().startswith("export OWN=1\n# begin managed block: environment\n")


def test_a_name_that_some_shell_keeps_for_itself_is_refused_and_every_other_is_read_back(bench):
    """The names are asked of the shells that are here."""
    ways = [
        ("bash", "-i", "-c", "compgen -v"),
        ("zsh", "-i", "-c", "print -l ${(k)parameters}"),
        ("fish", "-i", "-c", "set -n"),
    ]
    if any(missing(way) for way in ways):
        pytest.skip("needs bash, zsh and fish")
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(bench.root), "TERM": "dumb"}
    known = set()
    for way in ways:
        done = subprocess.run(
            way, env=clean, capture_output=True, text=True, stdin=subprocess.DEVNULL, start_new_session=True, check=True
        )
        known |= {name for name in done.stdout.split() if re.fullmatch(r"[A-Za-z_]\w*", name)}
    assert {"RANDOM", "status", "path", "umask", "HISTSIZE"} <= known
    for path in bench.root.iterdir():
        shutil.rmtree(path)
    free = sorted(known - OF_SHELLS - {"PATH", "_"})
    bench.do(User(), home="/", variables=dict.fromkeys(free, "7"), shells=ALL)
    for start in (*STARTS.values(), ("zsh", "-i", "-c"), ("fish", "-i", "-c")):
        found = seen(start, bench.root)
        changed_by_fish = ("fish_bind_mode",) if "-i" in start else ()
        assert [name for name in free if found.get(name) != "7" and name not in changed_by_fish] == [], start


REFUSED = {
    "a line break": ({"variables": {"A": "x\ny"}}, r"the value of A has the character '\\n' in it"),
    "a line break that few know": ({"variables": {"A": "x\u2028y"}}, "has the character"),
    "an escape": ({"variables": {"A": "\x1b[2J"}}, "has the character"),
    "a name with code": ({"variables": {"A=1;id;B": "x"}}, "cannot name a variable"),
    "a name with a digit first": ({"unset": ["1A"]}, "cannot name a variable"),
    "PATH as a whole": ({"variables": {"PATH": "/x"}}, "PATH is not set as a whole"),
    "another user for zsh": ({"variables": {"UID": "0"}}, "is a name that a shell keeps for itself"),
    "words for a number": ({"variables": {"HISTSIZE": "many"}}, "only a number"),
    "a value of a megabyte": ({"variables": {"A": "x" * (1 << 20)}}, "longer than 32 KiB"),
    "set and unset": ({"variables": {"A": "x"}, "unset": ["A"]}, "set and unset"),
    "a folder that is two": ({"path": ["/a:/b"]}, "cannot be in PATH"),
    "a folder of somebody": ({"path": ["~ann/bin"]}, "cannot be in PATH"),
    "a folder from here": ({"path": ["bin"]}, "cannot be in PATH"),
    "a shell that nobody has": ({"variables": {"A": "x"}, "shells": ["csh"]}, "the shell 'csh' is not known"),
    "a marker of its own": ({"variables": {"A": "x"}, "name": "a\n# end"}, "cannot name variables"),
    "nothing": ({}, "nothing is set"),
    "both": ({"variables": {"A": "x"}, "absent": True}, "variables are given, and absent"),
    "no such home": ({"variables": {"A": "x"}, "home": "/nowhere"}, "/nowhere does not exist"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_shell_would_not_give_back_is_refused(bench, case):
    slots, words = REFUSED[case]
    with pytest.raises(ActionError, match=words):
        bench.observe(User(), **({"home": "/"} | slots))


def test_a_home_means_nothing_for_a_machine():
    check(Variables(path=["~/bin"]), home=True)
    with pytest.raises(ActionError) as caught:
        check(Variables(path=["~/bin"]), home=False)
    assert caught.value.hint == "folders begin with / and have no : in them"


def test_what_others_wrote_stays_and_undo_gives_the_very_tree_back(bench):
    build(bench.root, {".bashrc": (b"alias a=b", 0o600), ".config": {}, ".zshrc": b""})
    (bench.root / ".config").chmod(0o750)
    before = snapshot(bench.root)
    slots = {"home": "/", "variables": {"A": "1"}}
    change = bench.do(User(), **slots, shells=ALL)
    assert (bench.root / ".bashrc").read_text().startswith("alias a=b\n# begin managed block: environment\nexport A=")
    assert (bench.root / ".bashrc").stat().st_mode & 0o777 == 0o600
    assert (bench.root / ".config/fish").stat().st_mode & 0o777 == 0o700
    assert isinstance(bench.observe(User(), **slots, shells=ALL), Satisfied)
    bench.undo(User(), change)
    assert snapshot(bench.root) == before


def test_only_shells_that_a_user_has_get_a_file(bench):
    build(bench.root, {".zshrc": b""})
    found = bench.do(User(), home="/", variables={"A": "1"})
    assert found.outputs == {"paths": ["/.profile", "/.zshenv"]}


def test_removed_they_leave_what_was_there_and_no_file_of_ours(bench):
    build(bench.root, {".bashrc": b"alias a=b\n"})
    bench.do(User(), home="/", variables={"A": "1"}, shells=ALL)
    bench.do(User(), home="/", variables={"B": "1"}, shells=["bash", "fish"], name="other")
    bench.do(User(), home="/", absent=True)
    assert "A=" not in "".join(path.read_text() for path in bench.root.rglob("*") if path.is_file())
    assert "set -gx B '1'" in (bench.root / ".config/fish/conf.d/requisition.fish").read_text()
    bench.do(User(), home="/", absent=True, name="other")
    assert (bench.root / ".bashrc").read_bytes() == b"alias a=b\n"
    assert not (bench.root / ".config/fish/conf.d/requisition.fish").exists()
    assert isinstance(bench.observe(User(), home="/", absent=True), Satisfied)


def test_a_file_that_is_a_link_is_left_alone_and_told(bench):
    build(bench.root, {".bashrc": ("link", "dotfiles/bashrc")})
    with pytest.raises(ActionError, match=r"/\.bashrc is a link") as caught:
        bench.observe(User(), home="/", variables={"A": "1"})
    assert "leave this shell out" in caught.value.hint


PASSWD = b"root:x:0:0::/root:/bin/sh\nann:x:1500:1501::/home/ann:/usr/bin/fish\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="files are given to another user by root only")
def test_files_in_a_home_belong_to_its_user(bench):
    build(bench.root, {"etc": {"passwd": PASSWD}, "home": {"ann": {}}})
    os.chown(bench.root / "home/ann", 1500, 1501)
    found = bench.do(User(), user="ann", variables={"A": "1"})
    assert found.outputs == {"paths": ["/home/ann/.profile", "/home/ann/.config/fish/conf.d/requisition.fish"]}
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in (bench.root / "home/ann").rglob("*")}
    assert owners == {(1500, 1501)}
    with pytest.raises(ActionError, match="there is no user 'bob' here"):
        bench.observe(User(), user="bob", variables={"A": "1"})


def test_several_nodes_at_the_same_files_are_applied_once_and_rolled_back(tmp_path):
    build(tmp_path / "root", {"home": {".bashrc": b""}, "etc": {"profile.d": {}}})
    before = snapshot(tmp_path / "root")
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    needs = []
    for number in range(3):
        value = {"variables": {f"V{number}": str(number)}, "name": f"n{number}"}
        needs = [order.node("env.user", name=f"u{number}", slots={"home": "/home", **value}, needs=needs)]
        needs = [order.node("env.machine", name=f"m{number}", slots=value, needs=needs)]
    path = order.write()
    first = ask(request("apply", tmp_path / "state", path))
    assert first.status == "done", first.text
    for file in ("home/.bashrc", "home/.profile", "etc/profile.d/requisition.sh"):
        assert len(re.findall("export V", (tmp_path / "root" / file).read_text())) == 3
    assert set(ask(request("apply", tmp_path / "state", path)).result.summary) == {"unchanged"}
    assert ask(request("status", tmp_path / "state", target_root=str(tmp_path / "root"))).status == "done"
    assert ask(request("rollback", tmp_path / "state", first.result.receipt)).status == "done"
    assert snapshot(tmp_path / "root") == before


def test_calls_that_change_the_same_files_are_done_as_written(tmp_path):
    nodes = installed(
        tmp_path,
        """plan.env.user({"A": "1"})
plan.file.write("x", "/etc/x")
plan.env.machine({"B": "1"})
plan.env.user(path = ["~/bin"], name = "bin")""",
    )
    first, other, second, third = nodes.values()
    assert (other.needs, second.needs, third.needs) == ((), (first.id,), (second.id,))


@pytest.mark.parametrize("action", ["user", "machine"])
def test_a_secret_has_no_place_here(tmp_path, action):
    with pytest.raises(BadInput, match="secret"):
        installed(tmp_path, f'plan.env.{action}({{"TOKEN": plan.secret("token")}})')


MACHINE = {
    "sh, login": STARTS["sh"],
    "bash, login": STARTS["bash, login"],
    "zsh": STARTS["zsh"],
    "zsh, login": STARTS["zsh, login"],
    "fish": STARTS["fish"],
}


def test_the_shells_of_a_machine_read_back_what_was_said_to_all(tmp_path):
    needed = [shell for shell in ("dash", "zsh", "fish") if shutil.which(shell) is None]
    if needed:
        pytest.skip(f"needs {', '.join(needed)}")
    values = {name: value for name, value in STRANGE.items() if name != "LETTERS"}  # what nsenter prints is no UTF-8
    folders = ("/etc/profile.d", "/etc/zsh", "/etc/fish")
    with plain_machine(*folders) as machine:
        before = machine.run("find", *folders, "-type", "f", "-exec", "sha256sum", "{}", "+")
        order = OrderBuilder(tmp_path / "package", "/")
        order.node("env.machine", name="m", slots={"variables": values, "path": ["/opt/a b/bin"], "unset": ["GONE"]})
        path = order.write()
        first = machine.plan("apply", tmp_path / "state", path)
        assert first.status == "done", first.text
        for start in MACHINE.values():
            clean = ["env", "-i", "PATH=/usr/bin:/bin", "GONE=1", f"HOME={tmp_path}", "TERM=dumb"]
            said = machine.run(*clean, *start, "/usr/bin/env -0").split("\0")
            found = dict(line.partition("=")[::2] for line in said)
            assert {name: found.get(name) for name in values} == values, start
            assert found["PATH"].startswith("/opt/a b/bin:"), start
            assert "GONE" not in found, start
        assert machine.plan("apply", tmp_path / "state", path).result.summary == {"unchanged": 1}
        assert machine.plan("rollback", tmp_path / "state", first.result.receipt).status == "done"
        assert machine.run("find", *folders, "-type", "f", "-exec", "sha256sum", "{}", "+") == before


def test_only_shells_that_a_machine_has_get_a_file(bench):
    build(bench.root, {"usr": {"bin": {"fish": b""}}, "bin": ("link", "usr/bin"), "etc": {}})
    found = bench.do(Machine(), variables={"A": "1"})
    assert found.outputs == {"paths": ["/etc/profile.d/requisition.sh", "/etc/fish/conf.d/requisition.fish"]}
    bench.do(Machine(), absent=True)
    assert [path for path in (bench.root / "etc").rglob("*") if path.is_file()] == []
