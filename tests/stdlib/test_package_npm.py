"""Packages by npm, from a registry that the test runs, into a prefix: through the whole runtime."""

import os
import shutil

import pytest

from requisition.stdlib.providers.package.npm import parse_list, parse_view
from support.orders import OrderBuilder
from support.process import request, run_runtime
from support.wheels import NpmRegistry


@pytest.fixture
def registry(tmp_path):
    made = NpmRegistry(tmp_path / "ran")
    made.add("app", "1.0.0", lib="^1.0.0")
    made.add("app", "2.0.0", lib="^1.0.0")
    made.add("lib", "1.0.0")
    made.add("broken", "1.0.0", missing="^1.0.0")
    yield made
    made.close()


def test_parts_of_what_npm_prints():
    assert parse_list('{"name": "lib"}') == {}
    assert {k: v.version for k, v in parse_list('{"dependencies": {"@s/a": {"version": "1.0.0"}}}').items()} == {
        "@s/a": "1.0.0"
    }
    assert parse_view('{"versions": ["1.0.0", "3.0.0-rc.1", "2.0.0"], "dist-tags": {"latest": "2.0.0"}}')[0] == "2.0.0"
    assert parse_view('{"versions": "1.0.0", "dist-tags": {"latest": "1.0.0"}}') == ["1.0.0"]


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_packages_of_a_prefix_are_installed_once_and_rolled_back_and_their_scripts_do_not_run(tmp_path, registry):
    prefix, state = tmp_path / "root/srv/npm", tmp_path / "state"
    (prefix / "etc").mkdir(parents=True)
    (prefix / "etc/npmrc").write_text(f"registry={registry.url}/\ncache={tmp_path}/cache\n")
    modules = prefix / "lib/node_modules"

    def apply(name, **slots):
        order = OrderBuilder(tmp_path / f"package-{len(os.listdir(tmp_path))}", tmp_path / "root")
        order.node("package.install", slots={"name": name, "manager": "npm", "into": "/srv/npm"} | slots)
        return run_runtime(request("apply", state, order.write()))

    first = apply("app", version="<2.0.0")
    assert first.status == "done", first.text
    assert os.listdir(modules) == ["app"]
    assert '"1.0.0"' in (modules / "app/package.json").read_text()
    assert apply("app", version="<2.0.0").result.summary == {"unchanged": 1}
    refused = apply("broken")
    assert refused.status in ("failed", "bad_input")
    assert "npm knows no package missing" in refused.text
    back = run_runtime(request("rollback", state, first.result.receipt))
    assert back.status == "done", back.text
    assert [name for name in os.listdir(modules) if not name.startswith(".")] == []
    assert not (tmp_path / "ran").exists(), "a script of a package was run"
