"""The unit under the real systemd, in a machine of the test's own: the daemon works, and is as closed in as it says."""

import json
import sys

import pytest

from support.machines import systemd_machine
from support.watchcommand import Command
from support.watched import Watched, package, writes

pytestmark = pytest.mark.long
SERVICE = "requisition-watch"


@pytest.fixture
def desk(tmp_path):
    return Command(tmp_path)


def test_systemd_starts_it_reloads_it_and_ends_it_and_a_package_writes_to_its_root_only(tmp_path, desk):
    site, stray = Watched(tmp_path, "site"), Watched(tmp_path, "stray")
    outside = tmp_path / "outside"
    first = site.push(writes("one"))
    second = stray.push(package(f'plan.shell.exec(["touch", {str(outside)!r}])'))
    entries = [
        f"  {one.name}: {json.dumps({'url': one.url, 'root': str(one.root), 'retries': 0})}" for one in (site, stray)
    ]
    desk.configure("interval: 1s", "watches:", entries[0])
    with systemd_machine(tmp_path) as machine:

        def plan(*words):
            return machine.run(sys.executable, "-m", "requisition.cli.main", "watch", *words)

        def ref(name):
            (listed,) = [one for one in map(json.loads, plan("list", "--json", "--socket", str(desk.socket)).splitlines())
                         if one["kept"]["watch"]["name"] == name]  # fmt: skip
            return listed["refs"][0] if listed["refs"] else {}

        def state(of):
            return machine.says("systemctl", "show", "--property", of, "--value", SERVICE)

        plan("install", "--config", str(desk.config), "--state", str(tmp_path / "state"))
        machine.run("ln", "-s", "/dev/null", "/run/systemd/system/network-online.target")
        drop_in = f"/etc/systemd/system/{SERVICE}.service.d"
        machine.run("mkdir", drop_in)
        machine.write(
            f"{drop_in}/test.conf",
            f"[Unit]\nDefaultDependencies=no\n[Service]\nEnvironment=XDG_CONFIG_HOME={tmp_path}/config\n",
        )
        machine.run("systemctl", "daemon-reload")
        assert machine.says("systemctl", "show", "--property", "Requires", "--value", SERVICE) == "system.slice"
        machine.run("systemctl", "start", SERVICE)
        assert (state("ActiveState"), state("StatusText")) == ("active", "")
        desk.until(lambda: ref("site").get("good") == first)
        assert site.site() == "one"
        desk.configure("interval: 1s", "watches:", *entries)
        machine.run("systemctl", "reload", SERVICE)
        desk.until(lambda: json.loads(plan("list", "--json", "--socket", str(desk.socket)).splitlines()[-1])["refs"])
        desk.until(lambda: ref("stray").get("failed") == second)
        assert "Read-only file system" in plan("logs", "stray", "--socket", str(desk.socket))
        assert not outside.exists()
        machine.run("systemctl", "stop", SERVICE)
        assert (state("ActiveState"), state("Result")) == ("inactive", "success")
