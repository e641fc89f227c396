"""Packages by apt, from a repository made here, into roots of their own: through the whole runtime."""

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.aptroot import MISSING, machine, repository
from support.orders import OrderBuilder
from support.process import request, run_runtime
from support.session import ask

__all__ = ["machine", "repository"]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING}")


def test_packages_are_installed_once_and_a_rollback_leaves_nothing_of_them(machine):
    before = machine.whole()
    order = machine.install("app", "tool")
    first = machine.run("apply", order)
    assert first.status == "done", first.text
    assert first.result.summary == {"done": 2}
    assert machine.packages() == {"app": "2.0", "lib": "2.0", "tool": "1.1"}
    assert machine.auto() == ["lib"]
    again = machine.run("apply", order)
    assert again.result.summary == {"unchanged": 2}, again.text
    back = machine.run("rollback", first.result.receipt)
    assert back.status == "done", back.text
    assert machine.whole() == before


def commands(machine, log: Path, order, verb="apply") -> list[list[str]]:
    """Programs that an apply starts, of those that look at or change packages."""
    argv = ["strace", "-f", "-v", "-qq", "-s", "300", "-e", "trace=execve", "-e", "status=successful", "-o", str(log)]
    answer = run_runtime(request(verb, machine.state, order.write()), *argv)
    assert answer.status == "done", answer.text
    started = re.findall(r'execve\("([^"]+)", \[(.*?)\]', log.read_text())
    mine = ("dpkg-query", "apt-get", "apt-cache", "apt-mark")
    return [[path.rpartition("/")[2], *re.findall(r'"([^"]*)"', args)[1:]] for path, args in started
            if path.rpartition("/")[2] in mine]  # fmt: skip


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_three_packages_are_one_command(machine, tmp_path):
    order = machine.install("app", "tool", "nice")
    started = commands(machine, tmp_path / "log", order)
    changing = [argv for argv in started if argv[0] == "apt-get" and "--simulate" not in argv]
    assert len(changing) == 1
    assert changing[0][-3:] == ["app=2.0", "tool=1.1", "nice=1.0"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_fifty_satisfied_nodes_ask_once(machine, tmp_path):
    machine.apt("install", "app", "tool")
    order = machine.install(*["app", "tool"] * 25)
    assert [argv[0] for argv in commands(machine, tmp_path / "log", order)] == ["dpkg-query"]


def test_a_dry_run_tells_and_changes_nothing(machine):
    before = machine.whole()
    found = machine.run("dry-run", machine.install("app", "tool"))
    assert found.status == "changes"
    assert found.result.summary == {"change": 2, "unchanged": 0, "unknown": 0}
    assert machine.whole() == before


def test_when_a_later_node_fails_the_machine_is_as_before(machine):
    machine.apt("install", "lib=1.0", "nice")
    before = machine.whole()
    order = machine.install("app", "tool")
    order.node("shell.exec", argv=["false"], phase="verify")
    answer = machine.run("apply", order)
    assert answer.status == "failed"
    assert answer.result.data["state"] == "rolled_back", answer.text
    assert machine.whole() == before
    assert machine.packages() == {"lib": "1.0", "nice": "1.0"}


def test_a_package_that_was_a_dependency_is_wanted_on_its_own_and_back(machine):
    machine.apt("install", "app")
    assert machine.auto() == ["lib"]
    order = machine.install("lib")
    answer = machine.run("apply", order)
    assert answer.result.summary == {"done": 1}, answer.text
    assert machine.auto() == []
    assert machine.run("apply", order).result.summary == {"unchanged": 1}
    assert machine.run("rollback", answer.result.receipt).status == "done"
    assert machine.auto() == ["lib"]


def test_recommended_packages_come_only_when_asked(machine):
    assert machine.run("apply", machine.install("extra")).status == "done"
    assert set(machine.packages()) == {"extra", "lib"}


def test_recommended_packages_come_when_asked(machine):
    assert machine.run("apply", machine.install("extra", recommends=True)).status == "done"
    assert set(machine.packages()) == {"extra", "lib", "nice"}


def test_configuration_that_was_edited_is_kept(machine):
    machine.apt("install", "tool=1.0")
    conf = machine.root / "etc/tool.conf"
    conf.write_text("mine\n")
    order = machine.install("tool", version=">=1.1")
    answer = machine.run("apply", order)
    assert answer.status == "done", answer.text
    assert machine.packages() == {"tool": "1.1"}
    assert conf.read_text() == "mine\n"
    assert machine.run("rollback", answer.result.receipt).status == "done"
    assert machine.packages() == {"tool": "1.0"}
    assert conf.read_text() == "mine\n"


def test_a_removed_package_comes_back_at_its_version_and_mark(machine):
    machine.apt("install", "app=1.0", "tool=1.0")
    machine.apt("auto", "tool")
    before = machine.whole()
    order = machine.builder()
    machine.want(order, "app", "remove")
    machine.want(order, "tool", "remove")
    answer = machine.run("apply", order)
    assert answer.status == "done", answer.text
    assert {name for name, version in machine.packages().items() if " rc" not in version} == {"lib"}
    assert machine.run("apply", order).result.summary == {"unchanged": 2}
    assert machine.run("rollback", answer.result.receipt).status == "done"
    assert machine.whole() == before


def test_what_the_repository_has_no_more_is_told_honestly(machine, repository):
    machine.apt("install", "app=1.0")
    order = machine.builder()
    machine.want(order, "app", "remove")
    answer = machine.run("apply", order)
    assert answer.status == "done", answer.text
    shutil.rmtree(machine.root / "var/lib/apt/lists")
    back = machine.run("rollback", answer.result.receipt)
    assert "app 1.0 can no longer be had from apt's sources" in back.text


def test_what_was_installed_goes_though_what_it_upgraded_cannot_be_fetched_just_now(machine, repository):
    machine.apt("install", "lib=1.0")
    answer = machine.run("apply", machine.install("tool", "app"))
    assert machine.packages() == {"app": "2.0", "lib": "2.0", "tool": "1.1"}, answer.text
    deb = repository.folder / "lib_1.0_all.deb"
    deb.rename(away := deb.with_suffix(".away"))
    try:
        back = machine.run("rollback", answer.result.receipt)
    finally:
        away.rename(deb)
    assert back.status == "failed", back.text
    assert "lib_1.0_all.deb" in back.text
    assert machine.packages() == {"lib": "2.0"}
    assert machine.run("rollback", answer.result.receipt).status == "done"
    assert machine.packages() == {"lib": "1.0"}


def test_a_removal_that_drags_others_along_is_refused_until_it_is_meant(machine):
    machine.apt("install", "app")
    before = machine.whole()
    order = machine.builder()
    machine.want(order, "lib", "remove")
    answer = machine.run("apply", order)
    assert answer.status == "failed"
    assert "removing lib would remove app too" in answer.text
    assert "with_dependents = ['app']" in answer.text
    order = machine.builder()
    machine.want(order, "lib", "remove", with_dependents=["app"])
    answer = machine.run("apply", order)
    assert answer.status == "done", answer.text
    assert machine.packages() == {}
    assert machine.run("rollback", answer.result.receipt).status == "done"
    assert machine.whole() == before


def test_an_installation_that_pushes_another_out_is_refused_until_it_is_meant(machine):
    machine.apt("install", "tool")
    before = machine.whole()
    answer = machine.run("apply", machine.install("foe"))
    assert answer.status == "failed"
    assert "package.star:1" in answer.text
    assert "installing foe would remove tool too" in answer.text
    answer = machine.run("apply", machine.install("foe", replaces=["tool"]))
    assert answer.status == "done", answer.text
    assert machine.run("rollback", answer.result.receipt).status == "done"
    assert machine.whole() == before


def test_a_package_is_held_and_let_go_again(machine):
    machine.apt("install", "app=1.0")
    order = machine.builder()
    machine.want(order, "app", "hold")
    answer = machine.run("apply", order)
    assert answer.status == "done", answer.text
    assert machine.packages()["app"] == "1.0 hi"
    assert machine.run("apply", order).result.summary == {"unchanged": 1}
    upgrade = machine.builder("other")
    machine.want(upgrade, "", "upgrade")
    assert machine.run("apply", upgrade).result.summary == {"unchanged": 1}
    machine.apt("unhold", "app")
    found = machine.run("status", target_root=str(machine.root))
    assert "apt-hold:app: was held, is free" in found.text
    machine.apt("hold", "app")
    assert machine.run("rollback", answer.result.receipt).status == "done"
    assert machine.packages()["app"] == "1.0"


def test_all_packages_are_upgraded_and_taken_back(machine):
    machine.apt("install", "app=1.0", "lib=1.0", "tool=1.0")
    before = machine.whole()
    order = machine.builder()
    machine.want(order, "", "upgrade")
    answer = machine.run("apply", order)
    assert answer.status == "done", answer.text
    assert machine.packages() == {"app": "2.0", "lib": "2.0", "tool": "1.1"}
    assert machine.run("apply", order).result.summary == {"unchanged": 1}
    assert machine.run("rollback", answer.result.receipt).status == "done"
    assert machine.whole() == before


def test_one_package_is_upgraded_within_its_bounds(machine):
    machine.apt("install", "app=1.0", "lib=1.0", "tool=1.0")
    order = machine.builder()
    machine.want(order, "app", "upgrade", version="<2")
    answer = machine.run("apply", order)
    assert answer.status == "done", answer.text
    assert machine.packages() == {"app": "1.5", "lib": "1.0", "tool": "1.0"}


def test_bounds_of_all_nodes_hold_for_the_first(machine):
    order = machine.builder()
    machine.want(order, "app", version=">=1.0")
    machine.want(order, "app", version="<2", phase="verify")
    answer = machine.run("apply", order)
    assert answer.status == "done", answer.text
    assert answer.result.summary == {"done": 1, "unchanged": 1}
    assert machine.packages()["app"] == "1.5"


def test_bounds_that_exclude_each_other_name_both_and_touch_nothing(machine):
    order = machine.builder()
    machine.want(order, "tool")
    first = machine.want(order, "app", version=">=2")
    machine.want(order, "app", version="<2", phase="verify")
    answer = machine.run("apply", order)
    assert answer.status == "bad_input"
    wanted = f"no version of app will do: <2 is asked for here, and >=2 by {first} (package.star:2)"
    assert f"package.star:3: demo/verify/package.install:app2: {wanted}" in answer.text
    assert machine.packages() == {}
    assert not list(machine.state.glob("runs/*"))


def test_drift_is_told_by_version(machine):
    assert machine.run("apply", machine.install("app", "tool")).status == "done"
    machine.apt("install", "app=1.0")
    machine.apt("remove", "tool")
    found = machine.run("status", target_root=str(machine.root))
    assert "apt:app: was 2.0, is 1.0" in found.text
    assert "apt:tool is missing" in found.text


def test_what_someone_else_changed_since_is_left_alone(machine):
    answer = machine.run("apply", machine.install("app"))
    machine.apt("install", "app=1.5")
    back = machine.run("rollback", answer.result.receipt)
    assert back.status == "failed"
    assert "app was left at 2.0, and is 1.5 now" in back.text
    assert machine.packages()["app"] == "1.5"


def test_a_dependency_that_someone_needs_by_now_stays(machine):
    answer = machine.run("apply", machine.install("app"))
    machine.apt("install", "extra")
    back = machine.run("rollback", answer.result.receipt)
    assert back.status == "done", back.text
    assert set(machine.packages()) == {"lib", "extra"} | ({"nice"} & set(machine.packages()))


# for its phase only --------------------------------------------------------------------------------


def ephemeral_order(machine, **fields):
    order = machine.builder()
    tool = machine.want(order, "extra", ephemeral=True)
    order.node("shell.exec", argv=["sh", "-c", "test -e usr/share/doc/extra && touch made"], creates="/made",
               undo=["rm", "made"], needs=[tool])  # fmt: skip
    for name, values in fields.items():
        machine.want(order, name, **values)
    return order


def test_what_is_needed_during_a_phase_only_is_gone_after_it(machine):
    order = ephemeral_order(machine)
    answer = machine.run("apply", order)
    assert answer.status == "done", answer.text
    assert (machine.root / "made").exists()
    assert machine.packages() == {}
    again = machine.run("apply", order)
    assert again.result.summary == {"unchanged": 2}, again.text
    assert machine.run("dry-run", order).result.summary == {"change": 0, "unchanged": 2, "unknown": 0}
    back = machine.run("rollback", answer.result.receipt)
    assert back.status == "done", back.text
    assert not (machine.root / "made").exists()


def test_what_stood_there_before_stays(machine):
    machine.apt("install", "extra", "--no-install-recommends")
    answer = machine.run("apply", ephemeral_order(machine))
    assert answer.status == "done", answer.text
    assert set(machine.packages()) == {"extra", "lib"}


def test_what_another_node_wants_for_good_stays(machine):
    answer = machine.run("apply", ephemeral_order(machine, extra={"phase": "verify"}))
    assert answer.status == "done", answer.text
    assert set(machine.packages()) == {"extra", "lib"}


def test_what_another_package_holds_stays(machine):
    other = machine.builder("other")
    machine.want(other, "extra")
    assert machine.run("apply", other).status == "done"
    machine.apt("purge", "extra", "lib")
    answer = machine.run("apply", ephemeral_order(machine))
    assert answer.status == "done", answer.text
    assert "another package holds it" in answer.text
    assert set(machine.packages()) == {"extra", "lib"}


def test_what_came_with_it_stays_where_another_node_needs_it(machine):
    answer = machine.run("apply", ephemeral_order(machine, app={}))
    assert answer.status == "done", answer.text
    assert set(machine.packages()) == {"app", "lib"}


# what goes wrong -----------------------------------------------------------------------------------


def failing(machine, order) -> str:
    """The text of an apply that fails and leaves everything as before."""
    before = machine.whole()
    answer = machine.run("apply", order)
    assert answer.status == "failed", answer.text
    assert answer.result.data["state"] == "rolled_back", answer.text
    assert machine.whole() == before
    return "\n".join(str(found) for found in answer.result.diagnostics)


def test_an_unknown_package_is_named_with_its_place(machine):
    text = failing(machine, machine.install("tool", "nowhere"))
    assert "package.star:2: demo/install/package.install:nowhere1: apt knows no package nowhere" in text
    assert "next: check the name" in text


def test_a_version_that_is_not_there_is_told_with_those_that_are(machine):
    text = failing(machine, machine.install("app", version=">=3"))
    assert "no version of app is >=3; apt has 2.0, 1.5, 1.0" in text


def test_a_mirror_that_cannot_be_reached_is_told(machine):
    machine.source("[trusted=yes] http://127.0.0.1:9/")
    order = machine.builder()
    order.node("package.update", manager="apt", max_age=0)
    shutil.rmtree(machine.root / "var/lib/apt/lists")
    (machine.root / "var/lib/apt/lists/partial").mkdir(parents=True)
    text = failing(machine, order)
    assert "the mirror cannot be reached" in text
    assert "package.star:1" in text


def test_content_that_is_not_what_the_index_promises_is_told(machine, repository):
    deb = repository.folder / "nice_1.0_all.deb"
    content = deb.read_bytes()
    try:
        deb.write_bytes(content[:-1] + b"\0")
        text = failing(machine, machine.install("nice"))
    finally:
        deb.write_bytes(content)
    assert "what the mirror sent is not what its index promises" in text


def test_a_repository_whose_key_is_missing_is_told(machine, repository):
    machine.source(f"file:{repository.folder}")
    shutil.rmtree(machine.root / "var/lib/apt/lists")
    order = machine.builder()
    order.node("package.update", manager="apt")
    text = failing(machine, order)
    assert "of a repository is not trusted here" in text
    assert "/etc/apt/keyrings" in text


def test_an_interrupted_dpkg_is_told(machine):
    (machine.root / "var/lib/dpkg/updates/0001").write_text("Package: gone\n")
    text = failing(machine, machine.install("tool"))
    assert "dpkg was interrupted earlier" in text
    assert "dpkg --configure -a" in text
    (machine.root / "var/lib/dpkg/updates/0001").unlink()


def test_a_lock_that_is_held_is_told(machine):
    with open(machine.root / "var/lib/dpkg/lock-frontend", "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        text = failing_elsewhere(machine, machine.install("tool", lock_timeout=0))
    assert "another program is at work on packages" in text


def failing_elsewhere(machine, order) -> str:
    answer = run_runtime(request("apply", machine.state, order.write()))
    assert answer.status == "failed", answer.text
    return answer.text


@pytest.mark.parametrize("name", ["-y", "a", "app-", "app=1.0", "app/stable", "../x", "App", "app *"])
def test_what_apt_would_take_for_something_else_is_refused(machine, name):
    answer = machine.run("apply", machine.install(name))
    assert answer.status == "bad_input"
    assert "is no name of a package for apt" in answer.text


def test_the_lists_are_refreshed_when_missing_or_old_and_once_a_run(repository, machine):
    lists = machine.root / "var/lib/apt/lists"
    for path in (lists, lists / "partial"):
        os.utime(path, (0, 0))
    order = machine.builder()
    order.node("package.update", manager="apt", max_age=3_600_000)
    order.node("package.update", manager="apt", max_age=7_200_000, phase="verify")
    answer = machine.run("apply", order)
    assert answer.result.summary == {"done": 1, "unchanged": 1}, answer.text
    assert machine.run("apply", order).result.summary == {"unchanged": 2}


def test_the_machine_itself_is_looked_at_with_one_question(tmp_path):
    mine = subprocess.run(["apt-mark", "showmanual"], capture_output=True, text=True, check=True).stdout.split()[0]
    order = OrderBuilder(tmp_path / "package", Path("/"))
    order.node("package.install", slots={"name": mine, "manager": "apt"})
    order.node("package.install", slots={"name": "no-such-package-here", "manager": "apt"})
    found = ask(request("dry-run", tmp_path / "state", order.write()))
    assert found.status == "changes", found.text
    assert found.result.summary == {"change": 1, "unchanged": 1, "unknown": 0}
