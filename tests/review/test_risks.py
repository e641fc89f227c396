"""What a reviewer is warned of, and what not."""

import pytest
from msgspec.structs import replace

from requisition.review.risks import KINDS, WORDS, counted_risks, risks
from requisition.schemas.document import Node
from requisition.stdlib.catalogue import load
from support.sealed import order


def found(action, root="/srv", **slots):
    """(kind, text) of one node's risks."""
    extra = {name: slots.pop(name) for name in ("elevate", "on_conflict") if name in slots}
    plain = order()
    one = replace(
        plain, context=replace(plain.context, target_root=root), nodes=(Node("n", action, "p", slots, **extra),)
    )
    return [(risk.kind, risk.text) for risk in risks(one)]


@pytest.mark.parametrize(
    ("action", "slots", "kinds"),
    [
        ("file.copy", {"path": "/a", "source": "a"}, []),
        ("file.nothing", {}, ["unknown"]),
        ("shell.exec", {"argv": ["true"]}, ["irreversible", "command"]),
        ("shell.exec", {"argv": ["true"], "undo": ["false"]}, ["command"]),
        ("shell.exec", {"argv": ["true"], "checks_only": True}, ["command"]),
        ("shell.exec", {"argv": ["x"], "shell": True}, ["shell", "irreversible"]),
        ("shell.exec", {"argv": ["/bin/bash", "-c", "x"], "checks_only": True}, ["shell"]),
        ("shell.exec", {"argv": ["env", "A=b", "zsh", "-l", "-ec", "x"], "checks_only": True}, ["shell"]),
        ("shell.exec", {"argv": ["env", {"$ref": "x"}, "sh", "--c", "-"], "checks_only": True}, ["command"]),
        ("shell.exec", {"argv": ["bash", "x.sh", "-c"], "checks_only": True}, ["command"]),
        ("shell.exec", {"argv": ["x"], "stdin": {"$secret": "k"}, "checks_only": True}, ["secret", "command"]),
        ("file.write", {"path": "/a", "content": {"$secret": "k"}}, []),
        ("net.download", {"path": "/a", "url": "u", "sha256": "0" * 64}, []),
        ("net.download", {"path": "/a", "url": "u", "insecure_no_digest": True}, ["unverified"]),
        ("git.clone", {"path": "/a", "url": "u", "insecure_any_commit": True}, ["unverified"]),
        ("git.clone", {"path": "/a", "url": "u", "commit": "0" * 40}, []),
        ("file.remove", {"path": "/a", "recursive": True}, ["removes"]),
        ("file.copy", {"path": "/a", "source": "a", "mode": 0o4755}, ["mode"]),
        ("file.copy", {"path": "/a", "source": "a", "mode": 0o666}, ["mode"]),
        ("file.mkdir", {"path": "/a", "mode": 0o1777}, []),
        ("file.mkdir", {"path": "/a", "mode": 0o2750}, []),
        ("file.copy", {"path": "/a", "elevate": True}, ["root"]),
        ("file.copy", {"path": "/a", "on_conflict": "overwrite"}, ["replaces"]),
        ("file.copy", {"path": "/a/../../etc/passwd", "source": "a"}, ["outside"]),
        ("file.copy", {"path": "/a..b", "source": "a"}, []),
        ("service.restart", {"name": "x"}, ["outside"]),
        ("package.install", {"name": "x"}, ["outside"]),
        ("package.install", {"name": "x", "manager": "pip", "into": "/venv"}, []),
        ("user.present", {"name": "x"}, ["outside"]),
        ("require.command", {"name": "x"}, []),
        ("net.wait_port", {"port": 1}, []),
        ("flow.gather", {"items": [], "body": "b"}, []),
        ("file.link", {"path": "/a/b", "target": "../c"}, []),
        ("file.link", {"path": "/a/b", "target": "../../c"}, ["outside"]),
        ("file.link", {"path": "/a/b", "target": "/srv/c"}, []),
        ("file.link", {"path": "/a/b", "target": "/srvc"}, ["outside"]),
        ("file.link", {"path": "/a/b", "target": "/srv/../etc"}, ["outside"]),
    ],
)
def test_a_node_has_these_risks(action, slots, kinds):
    assert [kind for kind, _ in found(action, **slots)] == kinds


def test_an_order_for_the_whole_machine_has_nothing_beyond_its_root():
    assert found("service.restart", root="/", name="x") == []
    assert found("file.link", root="/", path="/a", target="/b") == []


def test_the_gravest_come_first_and_each_kind_is_counted():
    nodes = [Node(str(n), "shell.exec", "p", {"argv": ["x"], "shell": n > 1}, elevate=n == 2) for n in range(3)]
    listed = risks(replace(order(), nodes=tuple(nodes)))
    assert [KINDS.index(risk.kind) for risk in listed] == sorted(KINDS.index(risk.kind) for risk in listed)
    assert counted_risks(listed) == {"root": 1, "shell": 1, "irreversible": 3, "command": 2}
    assert WORDS.keys() == set(KINDS)


def test_every_action_that_changes_more_than_files_is_told_of():
    outside = [spec for spec in load().values() if spec.effect == "outside" and not spec.name.startswith("flow.")]
    told = {spec.name for spec in outside if found(spec.name, **{s.name: "x" for s in spec.slots if s.type != "path"})}
    assert told == {spec.name for spec in outside if not spec.looks}
