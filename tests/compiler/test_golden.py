from requisition.compiler import build
from requisition.runtime.hydrate import hydrate
from requisition.runtime.registry import Registry
from requisition.schemas import orderfile
from support.golden_orders import FOLDER, write
from support.packages import request


def test_a_package_that_uses_the_whole_language_gives_the_order_it_always_gave(tmp_path):
    write(tmp_path / "whole.yaml")
    assert (tmp_path / "whole.yaml").read_text() == (FOLDER / "whole.yaml").read_text()


def test_what_the_compiler_writes_the_runtime_can_read_and_bind():
    order = build(request(FOLDER / "whole")).order
    assert orderfile.decode_order(orderfile.read(str(FOLDER / "whole.yaml"))) == order
    assert len(hydrate(order, Registry()).bound) == len(order.nodes)
