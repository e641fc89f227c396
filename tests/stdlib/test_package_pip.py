"""Packages by pip, from a folder of wheels, into venvs of their own: through the whole runtime."""

import os
import venv

import pip
import pytest

from requisition.stdlib.providers.package.pip import parse_versions, same_name, with_dependents
from support.orders import OrderBuilder
from support.process import request, run_runtime
from support.wheels import source, wheel


class Machine:
    def __init__(self, folder):
        self.folder = folder
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        self.place = folder / "root/srv/venv"
        venv.create(self.place, with_pip=False, symlinks=True)  # with the pip of the tests: making one takes long
        for site in self.place.glob("lib/python*/site-packages"):
            (site / "pip").symlink_to(os.path.dirname(pip.__file__))
            (site / "keep").touch()  # pip would take the whole folder away with its last package
        (self.place / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {self.wheels}\n")
        for version in ("1.0", "2.0", "10.0"):
            wheel(self.wheels, "app", version, "lib>=1", 'extra-thing; extra == "more"')
        for version in ("1.0", "1.5"):
            wheel(self.wheels, "lib", version)
        wheel(self.wheels, "Other_Tool", "1.0", "lib")
        self.runs = 0

    def packages(self):
        found = (path.name.removesuffix(".dist-info") for path in self.place.rglob("*.dist-info"))
        return dict(name.split("-") for name in found)

    def apply(self, *nodes):
        self.runs += 1
        order = OrderBuilder(self.folder / f"package{self.runs}", self.folder / "root")
        for action, slots in nodes:
            order.node(action, name=slots["name"], slots={"manager": "pip", "into": "/srv/venv"} | slots)
        return self.run(order.write())

    def run(self, order, verb="apply"):
        return run_runtime(request(verb, self.folder / "state", order))


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def install(name, **slots):
    return "package.install", {"name": name} | slots


def remove(name, **slots):
    return "package.remove", {"name": name} | slots


def test_packages_of_a_venv_are_installed_once_changed_and_rolled_back(machine):
    first = machine.apply(install("app", version=">=1,<10"), install("other.tool"))
    assert first.status == "done", first.text
    assert machine.packages() == {"app": "2.0", "lib": "1.5", "Other_Tool": "1.0"}
    newer = machine.apply(install("app", version="=10.0"), install("Other_Tool"))
    assert newer.result.summary == {"done": 1, "unchanged": 1}, newer.text
    assert machine.packages()["app"] == "10.0"
    for receipt, left in ((newer, {"app": "2.0", "lib": "1.5", "Other_Tool": "1.0"}), (first, {})):
        back = machine.run(receipt.result.receipt, "rollback")
        assert back.status == "done", back.text
        assert machine.packages() == left


def test_what_others_need_goes_only_with_them(machine):
    assert machine.apply(install("app")).status == "done"
    refused = machine.apply(remove("lib"))
    assert refused.status != "done"
    assert "removing lib would remove app too" in refused.text
    assert machine.packages() == {"app": "10.0", "lib": "1.5"}
    gone = machine.apply(remove("lib", with_dependents=["app"]))
    assert gone.status == "done", gone.text
    assert machine.packages() == {}
    back = machine.run(gone.result.receipt, "rollback")
    assert back.status == "done", back.text
    assert machine.packages() == {"app": "10.0", "lib": "1.5"}


def test_what_cannot_be_had_is_told_with_the_node_and_nothing_is_changed(machine):
    trace = machine.folder / "ran"
    source(machine.wheels, "built", "1.0", trace)
    for node, words in (
        (install("nope"), "pip knows no package nope"),
        (install("app", version=">=11"), "no version of app is >=11; pip has 10.0, 2.0, 1.0"),
        (install("built"), "pip knows no package built"),
        (install("--target=/"), "is no name of a package for pip"),
        (install("app", version="=one"), "is no Python version"),
    ):
        answer = machine.apply(node)
        assert answer.status in ("failed", "bad_input"), answer.text
        assert words in answer.text
        assert "package.star:1" in answer.text
    assert not trace.exists(), "code of a package was run"
    assert machine.packages() == {}


def test_a_venv_that_is_missing_is_told(machine):
    answer = machine.apply(install("app", into="/srv/none"))
    assert answer.status in ("failed", "bad_input")
    assert "there is no venv at /srv/none" in answer.text
    answer = machine.apply(install("app", into=""))
    assert "pip needs to know where" in answer.text


def test_names_have_one_spelling_and_dependents_are_followed():
    assert same_name("Foo__Bar.baz") == "foo-bar-baz"
    there = {
        "a": ("1", frozenset({"b"})),
        "b": ("1", frozenset({"c"})),
        "c": ("1", frozenset()),
        "d": ("1", frozenset()),
    }
    assert with_dependents(there, ["C", "x"]) == ["c", "b", "a"]
    assert parse_versions("app (2.0)\nAvailable versions: 2.0, 1.0\n  INSTALLED: 1.0\n") == ["2.0", "1.0"]
    assert parse_versions("") == []
