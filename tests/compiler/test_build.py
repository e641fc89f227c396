import pytest

from requisition.schemas.canonical import decode, encode
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Order
from support.packages import built, installed

MKDIR = "demo/install/file.mkdir:"


def test_a_promise_makes_an_edge_and_a_slot(tmp_path):
    nodes = installed(tmp_path, 'text = plan.content.literal("x")\nplan.file.write(text, "/a")')
    write = nodes["demo/install/file.write:/a"]
    assert write.slots["content"] == {"$ref": "demo/install/content.literal:x"}
    assert write.needs == ("demo/install/content.literal:x",)
    assert write.location == "package.star:3"


def test_a_named_output_of_a_promise_can_be_used(tmp_path):
    nodes = installed(tmp_path, 'done = plan.shell.exec(["true"])\nplan.file.write(done.stderr, "/a")')
    assert nodes["demo/install/file.write:/a"].slots["content"]["output"] == "stderr"


def test_after_orders_without_data(tmp_path):
    nodes = installed(tmp_path, 'a = plan.shell.exec(["a"])\nplan.shell.exec(["b"], after = [a])')
    assert nodes["demo/install/shell.exec:b"].needs == ("demo/install/shell.exec:a",)


def test_a_file_waits_for_the_nearest_directory_that_a_node_makes(tmp_path):
    nodes = installed(tmp_path, 'plan.file.mkdir("/a")\nplan.file.mkdir("/a/b")\nplan.file.write("", "/a/b/c/d")')
    assert nodes["demo/install/file.write:/a/b/c/d"].needs == (MKDIR + "/a/b",)
    assert nodes[MKDIR + "/a/b"].needs == (MKDIR + "/a",)


def test_changes_of_one_path_are_ordered_as_written(tmp_path):
    nodes = installed(tmp_path, 'plan.file.write("", "/a")\nplan.file.chmod("/a", mode = 0o600)\nplan.file.read("/a")')
    assert nodes["demo/install/file.chmod:/a"].needs == ("demo/install/file.write:/a",)
    assert nodes["demo/install/file.read:/a"].needs == ("demo/install/file.chmod:/a",)


def test_removing_a_directory_waits_for_what_is_below(tmp_path):
    nodes = installed(tmp_path, 'plan.file.write("", "/a/b")\nplan.file.remove("/a", recursive = True)')
    assert nodes["demo/install/file.remove:/a"].needs == ("demo/install/file.write:/a/b",)


def test_two_nodes_that_claim_one_path_are_refused_with_both_places(tmp_path):
    with pytest.raises(BadInput) as refused:
        installed(tmp_path, 'plan.file.write("1", "/a")\nplan.file.write("2", "/a")')
    found = refused.value.diagnostics[0]
    assert found.where == "package.star:3"
    assert "package.star:2" in found.why


def test_two_claims_of_a_path_are_allowed_when_one_waits_for_the_other(tmp_path):
    nodes = installed(tmp_path, 'one = plan.file.write("1", "/a")\nplan.file.write("2", "/a", after = [one])')
    assert nodes["demo/install/file.write:/a#2"].needs == ("demo/install/file.write:/a",)


def test_the_same_directory_may_be_made_twice(tmp_path):
    assert len(installed(tmp_path, 'plan.file.mkdir("/a")\nplan.file.mkdir("/a")')) == 2


def test_inputs_are_pinned_by_digest_and_read_once(tmp_path):
    result = built(
        tmp_path,
        {
            "package.star": 'def install(package, phase):\n    plan.file.copy("x", "/a")\n    plan.file.copy("x", "/b")\n',
            "x": "hello",
        },
    )
    assert [(one.path, one.size) for one in result.order.inputs] == [("x", 5)]
    assert result.order.inputs[0].sha256 == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_durations_paths_and_modes_are_normalized(tmp_path):
    nodes = installed(
        tmp_path, 'plan.shell.exec(["x"], timeout = "2m", cwd = "etc//")\nplan.file.mkdir("~/.ssh/", mode = 0o700)'
    )
    assert nodes["demo/install/shell.exec:x"].slots == {"argv": ["x"], "timeout": 120_000, "cwd": "/etc"}
    assert nodes[MKDIR + "/.ssh"].slots == {"path": "/.ssh", "mode": 0o700}


def test_a_gather_gives_its_body_a_proxy_for_the_item(tmp_path):
    body = 'plan.gather([{"p": "/x"}], lambda item: plan.file.write(item.p, "/y"), limit = 2)'
    nodes = installed(tmp_path, body)
    gather = "demo/install/flow.gather:gather-1"
    assert nodes[gather].slots == {"items": [{"p": "/x"}], "limit": 2, "body": "demo/install/gather-1"}
    assert nodes["demo/install/gather-1/file.write:/y"].slots["content"] == {"$item": gather, "field": "p"}


def test_a_choose_compiles_its_conditions(tmp_path):
    body = 'x = plan.shell.exec(["x"])\nplan.choose(x, [("exit_code == 0", lambda: plan.complete("ok"))], lambda: plan.fatal("no"))'
    node = installed(tmp_path, body)["demo/install/flow.choose:choose-1"]
    assert node.slots["cases"] == [
        {"when": ["==", ["name", "exit_code"], ["lit", 0]], "body": "demo/install/choose-1/case-1"}
    ]
    assert node.slots["default"] == "demo/install/choose-1/default"


def test_a_body_runs_after_what_was_written_before_it(tmp_path):
    nodes = installed(tmp_path, 'plan.file.mkdir("/a")\nplan.gather(["/a/b"], lambda item: plan.file.mkdir(item))')
    assert nodes["demo/install/flow.gather:gather-1"].needs == (MKDIR + "/a",)


def test_a_promise_of_a_body_cannot_leave_it(tmp_path):
    body = "kept = []\nplan.gather([1], lambda item: kept.append(plan.content.literal('x')))\nplan.file.write(kept[0], '/a')"
    with pytest.raises(BadInput, match="made in a body"):
        installed(tmp_path, body)


@pytest.mark.parametrize("retry", ["2", "3, backoff = 'none'", "3, 'linear', '1s', '1m'", "1, max_delay = 60000"])
def test_a_retry_at_its_defaults_makes_an_order_that_can_be_read(tmp_path, retry):
    order = built(
        tmp_path,
        {
            "package.star": f"def install(p, phase):\n  phase.retry({retry})\n  plan.file.mkdir('/a', retry = plan.retry({retry}))\n"
        },
    ).order
    assert decode(encode(order), Order) == order
    assert b"initial_delay" not in encode(order)


def test_retry_compensation_and_elevation_are_recorded(tmp_path):
    script = """
def undo():
    plan.shell.exec(["undo"])
def install(package, phase):
    phase.retry(max_attempts = 3, backoff = "linear", initial_delay = "10ms")
    phase.compensate(undo)
    plan.elevate(lambda: plan.file.mkdir("/a"))
    plan.file.mkdir("/b", retry = plan.retry(2))
"""
    order = built(tmp_path, {"package.star": script}).order
    assert order.phases[0].retry.max_attempts == 3
    assert order.phases[0].compensate == "demo/install/compensate"
    nodes = {node.id: node for node in order.nodes}
    assert nodes[MKDIR + "/a"].elevate
    assert not nodes[MKDIR + "/b"].elevate
    assert nodes[MKDIR + "/b"].retry.max_attempts == 2


def test_a_secret_stands_only_where_it_may(tmp_path):
    manifest = "name: demo\nsecrets: {token: the token}\n"
    files = {"package.yaml": manifest}
    nodes = installed(tmp_path, 'plan.file.write(plan.secret("token"), "/a")', files=files)
    assert nodes["demo/install/file.write:/a"].slots["content"] == {"$secret": "token"}
    with pytest.raises(BadInput, match="a secret may not stand in 'argv'"):
        installed(tmp_path, 'plan.shell.exec(["x", plan.secret("token")])', files=files)
    with pytest.raises(BadInput, match="not declared"):
        installed(tmp_path, 'plan.file.write(plan.secret("other"), "/a")', files=files)


def test_a_promise_in_text_is_refused(tmp_path):
    with pytest.raises(BadInput, match="a promise was put into text"):
        installed(tmp_path, 'x = plan.content.literal("x")\nplan.file.write("value: %s" % x, "/a")')


def test_the_target_and_not_this_machine_chooses_variants(tmp_path):
    files = {"x.conf": "plain", "Linux/x.conf": "linux", "Linux.Debian/x.conf": "debian", "Darwin/x.conf": "mac"}
    script = 'def install(package, phase):\n    plan.file.copy("x.conf", "/x")\n    note(package.os)\n'
    for target, wanted in (
        ("linux/debian/amd64", "Linux.Debian/x.conf"),
        ("linux/alpine/amd64", "Linux/x.conf"),
        ("darwin/arm64", "Darwin/x.conf"),
        ("freebsd/amd64", "x.conf"),
    ):
        order = built(tmp_path, {**files, "package.star": script}, target=target).order
        assert order.nodes[0].slots["source"] == wanted


def test_features_and_settings_are_typed(tmp_path):
    manifest = "name: demo\nfeatures: {tls: {}}\nsettings:\n  port: {type: integer, default: 80, maximum: 90}\n"
    script = 'def install(package, phase):\n    plan.file.write(str(package.setting("port")), "/a")\n'
    files = {"package.yaml": manifest, "package.star": script}
    assert built(tmp_path, files, settings={"port": "81"}).order.nodes[0].slots["content"] == "81"
    for given, words in (
        ({"port": "x"}, "whole number"),
        ({"port": "99"}, "at most 90"),
        ({"prot": "1"}, "did you mean"),
    ):
        with pytest.raises(BadInput, match=words):
            built(tmp_path, files, settings=given)
    with pytest.raises(BadInput, match="no feature 'tsl'"):
        built(tmp_path, files, features=("tsl",))


def test_layers_record_who_lost(tmp_path):
    files = {
        "package.yaml": "name: demo\nlayers: [{name: base, path: b}, {name: mine, path: m}]\n",
        "package.star": "def install(package, phase):\n    plan.projects()\n",
        "b/sh/.bashrc": "base",
        "b/sh/.bashrc.Linux": "linux",
        "b/sh/.bashrc.Darwin": "mac",
        "m/sh/.bashrc": "mine",
        "b/git/config.tmpl": "{{ os }}",
    }
    order = built(tmp_path, files).order
    nodes = {node.slots["path"]: node for node in order.nodes}
    assert nodes["/.bashrc"].slots["source"] == "m/sh/.bashrc"
    assert nodes["/.bashrc"].layer == "mine"
    assert nodes["/config"].action == "template.render"
    assert {c.target for c in order.collisions} == {"/.bashrc"}
    assert {(c.loser.path, c.loser.specificity) for c in order.collisions} == {
        ("b/sh/.bashrc", 0),
        ("b/sh/.bashrc.Linux", 2),
    }


LAYERED = {
    "package.yaml": "name: demo\nlayers: [{name: base, path: b}]\nsecrets: {key: age key}\n"
    "projects: {identity: key, modes: {/.env: '0640'}}\n",
    "package.star": "def install(package, phase):\n    plan.projects()\n",
}


def test_encrypted_files_of_a_layer_are_decrypted_for_their_owner_only(tmp_path):
    names = ("token.age", "app.sops.yaml", "app.Linux.sops.json", "app.Darwin.sops.json", "d/.sops.env", ".sops.env")
    order = built(tmp_path, LAYERED | {f"b/p/{name}": "x" for name in names}).order
    nodes = {node.slots["path"]: node for node in order.nodes if node.action == "encryption.decrypt"}
    assert {path: node.slots["mode"] for path, node in nodes.items()} == {
        "/token": 0o600, "/app.yaml": 0o600, "/app.json": 0o600, "/d/.env": 0o600, "/.env": 0o640,
    }  # fmt: skip
    assert nodes["/app.json"].slots["source"] == "b/p/app.Linux.sops.json"
    assert all(node.slots["identity"] == {"$secret": "key"} for node in nodes.values())
    assert [secret.name for secret in order.secrets] == ["key"]


@pytest.mark.parametrize(
    ("name", "manifest", "words"),
    [
        ("token.age", "name: demo\nlayers: [{name: base, path: b}]\n", "nothing says which secret opens it"),
        ("token.age", "name: demo\nlayers: [{name: base, path: b}]\nprojects: {identity: key}\n", "not declared"),
        (".sops.yaml", LAYERED["package.yaml"], "how sops encrypts"),
        ("x.tmpl.age", LAYERED["package.yaml"], "encrypted template"),
    ],
)
def test_an_encrypted_file_of_a_layer_that_cannot_be_opened_is_told_at_build(tmp_path, name, manifest, words):
    with pytest.raises(BadInput, match=words):
        built(tmp_path, LAYERED | {"package.yaml": manifest, f"b/p/{name}": "x"})


def test_a_nested_package_comes_before_the_phase_that_asks(tmp_path):
    files = {
        "package.star": 'def install(package, phase):\n    plan.deploy("inner", settings = {"n": 2})\n    plan.file.mkdir("/a")\n',
        "inner/package.yaml": "name: inner\nsettings: {n: {type: integer, default: 1}}\n",
        "inner/install.star": 'def install(package, phase):\n    plan.file.copy("f", "/f%d" % package.setting("n"))\n',
        "inner/f": "x",
    }
    order = built(tmp_path, files).order
    assert [phase.id for phase in order.phases] == ["demo/inner/install", "demo/install"]
    assert order.nodes[0].id == "demo/inner/install/file.copy:/f2"
    assert order.inputs[0].path == "inner/f"


def test_a_lone_script_is_a_package(tmp_path):
    script = tmp_path / "hello.star"
    script.write_text('def install(package, phase):\n    plan.file.write(package.name, "/a")\n')
    from requisition.compiler import build
    from support.packages import request

    order = build(request(script)).order
    assert order.context.package == "hello"
    assert order.nodes[0].id == "hello/install/file.write:/a"


def test_the_standard_library_loads_and_reports_the_callers_line(tmp_path):
    script = 'load("@std//dotfiles.star", "copy_all")\ndef install(package, phase):\n    copy_all("home", ["a/b"])\n'
    nodes = built(tmp_path, {"package.star": script, "home/a/b": "x"}).order.nodes
    assert [(node.slots["path"], node.location) for node in nodes] == [
        ("/a", "package.star:3"),
        ("/a/b", "package.star:3"),
    ]
