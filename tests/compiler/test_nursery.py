"""Many evaluations in forks of one process: as bounded as alone, and what one does no other notices."""

import pytest

from requisition.compiler import BuildRequest, Limits, build
from requisition.compiler.forest import FEW, Planted, build_tree
from requisition.compiler.manifest import read_manifest
from requisition.compiler.nursery import Nursery
from requisition.compiler.packages import open_package
from requisition.compiler.pipeline import all_is_kept, build_package, order_of
from requisition.compiler.prelude import prelude
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Platform, TreeMember
from requisition.stdlib import catalogue

LINUX = Platform("linux", "debian", "amd64")
GOOD = 'def install(package, phase):\n    plan.file.write("x", "/x")\n'
BAD = {
    "a loop without end": (
        "def install(package, phase):\n    for a in range(1 << 30):\n        for b in range(1 << 30):\n            pass\n",
        "took too long",
    ),
    "memory without end": (
        "def install(package, phase):\n    x = 'x' * 1000\n    for a in range(40):\n        x = x + x\n",
        "memory",
    ),
    "a mistake": ("def install(package, phase):\n    fail('no')\n", "no"),
    "recursion": ("def install(package, phase):\n    install(package, phase)\n", "overflow"),
}


@pytest.fixture(scope="module")
def nursery():
    known = catalogue.load()
    with Nursery(known.values(), prelude(known)) as made:
        yield made


def request(tmp_path, script, **limits):
    folder = tmp_path / "package"
    folder.mkdir(exist_ok=True)
    (folder / "package.yaml").write_text("name: demo\n")
    (folder / "package.star").write_text(script)
    return BuildRequest(source=str(folder), target=LINUX, limits=Limits(cpu_seconds=2, **limits))


def evaluated(asked, nursery):
    package = open_package(asked)
    package.start = nursery.run
    with all_is_kept():
        return order_of(package, asked, build_package(package, asked, catalogue.load(), ()))


def test_an_order_is_the_same_as_from_a_child_of_its_own(tmp_path, nursery):
    asked = request(tmp_path, GOOD)
    assert evaluated(asked, nursery) == build(asked).order


@pytest.mark.parametrize(("script", "says"), BAD.values(), ids=BAD.keys())
def test_what_is_refused_alone_is_refused_here_and_the_next_one_is_built(tmp_path, nursery, script, says):
    with pytest.raises(BadInput, match=says) as refused:
        evaluated(request(tmp_path, script), nursery)
    assert "package.star" in str(refused.value)
    assert len(evaluated(request(tmp_path, GOOD), nursery).nodes) == 1


def test_one_that_takes_too_long_by_the_clock_is_ended(tmp_path, nursery):
    asked = request(tmp_path, BAD["a loop without end"][0], wall_seconds=0.2)
    with pytest.raises(BadInput, match="it took too long"):
        evaluated(asked, nursery)
    assert len(evaluated(request(tmp_path, GOOD), nursery).nodes) == 1


def test_a_tree_of_many_packages_is_the_order_that_few_give_each(tmp_path):
    planted = []
    for number in range(FEW + 3):
        folder = tmp_path / f"p{number}"
        folder.mkdir()
        (folder / "package.yaml").write_text(f"name: p{number}\n")
        (folder / "package.star").write_text(GOOD.replace("/x", f"/{number}"))
        path = f"p{number}" if number else ""
        planted.append(Planted(TreeMember(path, f"p{number}", "0" * 64), str(folder), read_manifest(str(folder))))
    asked = BuildRequest(source=planted[0].folder, target=LINUX)
    many = build_tree(asked, planted, jobs=3).order
    few = [build_tree(asked, [one], jobs=1).order for one in planted]
    assert many.nodes == tuple(node for order in few for node in order.nodes)
    assert [member.path for member in many.members] == [one.record.path for one in planted]
