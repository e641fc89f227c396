"""Secrets, and what is made of them, stand only where nobody else can read them."""

import pytest

from requisition.schemas.diagnostic import BadInput
from support.packages import built

MANIFEST = "name: demo\nsecrets: {key: age key}\n"
HEAD = """def install(package, phase):
    text = plan.encryption.decrypt("a.age", identity = plan.secret("key"))
    part = plan.template.render("t", data = {"x": text})
"""


def build(tmp_path, *lines):
    body = "".join(f"    {line}\n" for line in lines)
    files = {"package.yaml": MANIFEST, "package.star": HEAD + body, "a.age": "x", "t": "{{ x }}"}
    return built(tmp_path, files).order


MISPLACED = {
    "an argument": 'plan.shell.exec(["echo", text])',
    "its content by name": "plan.shell.exec([text.content])",
    "the environment": 'plan.shell.exec(["env"], env = {"X": text})',
    "a link": 'plan.file.link(text, "/l")',
    "what a template made of it": 'plan.shell.exec(["echo", part])',
    "what a command made of it": 'plan.shell.exec(["echo", plan.shell.exec(["cat"], stdin = text).stdout])',
    "an item": 'plan.gather([text], lambda item: plan.shell.exec(["echo", item]))',
}


@pytest.mark.parametrize("where", MISPLACED)
def test_what_was_decrypted_is_refused_where_others_can_read_it(tmp_path, where):
    with pytest.raises(BadInput, match="a secret may not stand in") as refused:
        build(tmp_path, MISPLACED[where])
    assert "package.star:4" in str(refused.value)


def test_what_was_decrypted_goes_where_a_secret_may_go_and_its_path_anywhere(tmp_path):
    order = build(
        tmp_path,
        'plan.file.write(text, "/a", mode = 0o600)',
        'plan.file.write(part, "/b", mode = 0o600)',
        'plan.shell.exec(["cat"], stdin = text)',
        'placed = plan.encryption.decrypt("a.age", identity = plan.secret("key"), path = "/c")',
        'plan.shell.exec(["cat", placed.path])',
        'plan.shell.exec(["echo", plan.file.write(text, "/d").path])',
    )
    assert len(order.nodes) == 9


@pytest.mark.parametrize("identity", ['"AGE-SECRET-KEY-1QQ"', "text", 'plan.file.read("/key")'])
def test_a_key_is_only_taken_as_a_secret(tmp_path, identity):
    with pytest.raises(BadInput, match="the value itself has no place in an order"):
        build(tmp_path, f'plan.encryption.decrypt("a.age", identity = {identity})')
