"""fleet.yaml is read strictly: every mistake at once, each at its line and column."""

import os
from pathlib import Path

import pytest

from requisition.schemas.diagnostic import BadInput, Refused
from requisition.services.fleet import config, fleetfile
from support.fleets import FLEET_YAML as GOOD


def findings(text: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        config.parse(text, "fleet.yaml")
    return [f"{one.where}: {one.what}" for one in caught.value.diagnostics]


def test_a_fleet_is_read() -> None:
    fleet = config.parse(GOOD, "fleet.yaml")
    assert fleet.hosts["web1"].tags == ("canary",)
    assert fleetfile.span(fleet.channels["web"].freshness) == 86_400_000
    assert fleet.policies["careful"].waves[0].soak == "10m"
    assert config.parse(GOOD.replace('"1"', "1"), "f") == fleet


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("fleet: home", "fleet: Home", "2:8", "'Home' is no name"),
        ("db1: {channel: db}", "-db1: {channel: db}", "4:9", "'-db1' is no name"),
        ("db1: {channel: db}", "db1: {channel: dp}", "4:18", "there is no channel 'dp'"),
        ("db1: {channel: db}", "db1: {chanel: db}", "4:9", "unknown key 'chanel'"),
        ("platform: linux/amd64, tags", "platform: 'Linux 5', tags", "5:34", "'Linux 5' is no platform"),
        ("tags: [canary]", "key: nonsense", "5:52", "this is not a public key"),
        ("policy: plain", "policy: calm", "8:38", "there is no policy 'calm'"),
        ("package: packages/db, ", "", "8:7", "a channel gives an order or a package, one of them"),
        ("package: packages/db", "package: --help", "8:17", "a path does not begin with '-'"),
        ("signing: 6h", "signing: 13h", "9:54", "what is signed would be stale before it is signed twice"),
        ("freshness: 1d", "freshness: soon", "9:54", "'soon' is not a duration"),
        ("freshness: 1d", "freshness: 400d", "9:54", "'400d' is longer than a year"),
        ("after: [db]", "after: [dp]", "9:79", "there is no channel 'dp'"),
        ("policy: plain}", "policy: plain, after: [web]}", "8:52", "channels wait for each other in a circle"),
        ("soak: 10m", "soak: 10 minutes", "14:57", "'10 minutes' is not a duration"),
        ("name: all", "name: canary", "14:7", "two waves have one name"),
        ("on_failure: halt", "on_failure: stop", "16:17", "policies.careful.on_failure: Invalid enum value 'stop'"),
        ("max_failures: 1", "max_failures: -1", "17:28", "max_failures: -1"),
        ("max_percent: 10", "max_percent: 101", "17:44", "max_percent: 101"),
        ("before: web1", "before: web9", "19:5", "there is no host 'web9'"),
        ("before: web1", "before: db1", "19:5", "db1 and web2 are of different channels"),
        ("before: web1", "before: web2", "19:3", "hosts wait for each other in a circle"),
        (", percent: 25", "", "21:8", "a budget says how many"),
        (', url: "http://127.0.0.1/health"', "", "23:12", "'url' is missing for http"),
        ("http://127.0.0.1/health", "file:///etc/passwd", "23:55", "'file:///etc/passwd' is no address"),
        ("units: [postfix.service]", "units: [-H]", "24:30", "a unit's name does not begin with '-'"),
        ("kind: units", "kind: command", "24:9", "'command' is missing for command"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(old: str, new: str, where: str, what: str) -> None:
    assert old in GOOD
    found = findings(GOOD.replace(old, new, 1))
    assert any(one.startswith(f"fleet.yaml:{where}: {what}") for one in found), found


def test_all_mistakes_are_told_at_once() -> None:
    text = (
        GOOD.replace("channel: db}", "channel: dp}")
        .replace("soak: 10m", "soak: x")
        .replace("percent: 25", "percent: 250")
    )
    assert len(findings(text)) == 3


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(GOOD)
    os.chmod(path, 0o644)
    assert config.load(str(path)).fleet == "home"
    os.chmod(path, 0o666)
    with pytest.raises(Refused):
        config.load(str(path))
    with pytest.raises(BadInput):
        config.load(str(tmp_path / "none.yaml"))
