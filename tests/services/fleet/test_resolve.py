"""fleet.yaml and orders become rollouts: the same ones each time, with every selector answered."""

import pytest

from requisition.schemas import canonical
from requisition.schemas.diagnostic import BadInput
from requisition.services.fleet import config, rollout
from requisition.services.fleet.resolve import Orders, resolve
from requisition.services.fleet.rollout import Edge, Rollout, digest
from requisition.services.fleet.selectors import HostFacts, selected
from support.fleets import FLEET_YAML as GOOD

ORDERS: Orders = {"db": {"": digest(b"db")}, "web": {"linux/amd64": digest(b"web"), "linux/arm64": digest(b"arm")}}
FLEET = config.parse(GOOD, "fleet.yaml")


def test_a_rollout_lists_hosts_waves_budgets_and_probes() -> None:
    made = resolve(FLEET, ORDERS, {}, "fleet.yaml")
    web = made.rollouts["web"]
    assert [(target.host, target.wave, target.order) for target in web.targets] == [
        ("web1", 0, digest(b"web")),
        ("web2", 1, digest(b"web")),
    ]
    assert [(wave.name, wave.soak) for wave in web.waves] == [("canary", 600_000), ("all", 0)]
    assert web.edges == (Edge("web1", "web2"),)
    assert web.after == ("db",)
    assert [(budget.hosts, budget.percent) for budget in web.budgets] == [(("web1", "web2"), 25)]
    assert [(probe.name, probe.hosts) for probe in web.probes] == [("answers", ("web1", "web2"))]
    assert [wave.name for wave in made.rollouts["db"].waves] == ["all"]
    assert rollout.faults(web) == []
    assert canonical.decode(rollout.payload(web), Rollout) == web


def test_the_same_input_gives_the_same_rollouts_and_serials_grow_with_changes_only() -> None:
    first = resolve(FLEET, ORDERS, {}, "f")
    again = resolve(FLEET, ORDERS, first.rollouts, "f")
    assert again.rollouts == first.rollouts
    assert (first.changed, again.changed) == (("db", "web"), ())
    newer = resolve(FLEET, {**ORDERS, "db": {"": digest(b"db 2")}}, first.rollouts, "f")
    assert newer.changed == ("db",)
    assert (newer.rollouts["db"].serial, newer.rollouts["web"].serial) == (2, 1)


def test_a_host_gets_the_order_of_its_platform_the_nearest_one() -> None:
    orders: Orders = {**ORDERS, "web": {"": digest(b"any"), "linux": digest(b"linux")}}
    made = resolve(FLEET, orders, {}, "f").rollouts["web"]
    assert {target.order for target in made.targets} == {digest(b"linux")}


def test_a_platform_without_an_order_is_told() -> None:
    with pytest.raises(BadInput, match="channel web has no order for linux/amd64"):
        resolve(FLEET, {**ORDERS, "web": {"linux/arm64": digest(b"arm")}}, {}, "f")


def test_a_host_in_no_wave_is_told() -> None:
    fleet = config.parse(GOOD.replace("{name: all, hosts: all}", '{name: all, hosts: name == "web9"}'), "f")
    with pytest.raises(BadInput, match="host web2 is in no wave of policy careful"):
        resolve(fleet, ORDERS, {}, "f")


def test_an_edge_against_the_order_of_waves_is_told() -> None:
    fleet = config.parse(GOOD.replace("{before: web1, after: web2}", "{before: web2, after: web1}"), "f")
    with pytest.raises(BadInput, match="host web1 is in an earlier wave than web2, which comes before it"):
        resolve(fleet, ORDERS, {}, "f")


def test_a_wave_without_hosts_is_noted() -> None:
    fleet = config.parse(GOOD.replace('"canary" in tags', '"canaries" in tags'), "f")
    assert "channel web: wave canary has no hosts" in resolve(fleet, ORDERS, {}, "f").notes


def test_a_selector_that_is_no_condition_is_told_with_its_place() -> None:
    fleet = config.parse(GOOD.replace('hosts: channel == "web", percent', "hosts: channel = 3, percent"), "fleet.yaml")
    with pytest.raises(BadInput) as caught:
        resolve(fleet, ORDERS, {}, "fleet.yaml")
    assert [one.where for one in caught.value.diagnostics] == ["fleet.yaml: budgets.web.hosts"]
    assert "^" in caught.value.diagnostics[0].excerpt


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("all", ("db1", "web1", "web2")),
        ("web1", ("web1",)),
        ('"eu" in tags', ("db1", "web2")),
        ('channel == "web" and not ("eu" in tags)', ("web1",)),
        ('name startswith "web" or platform == "linux/arm64"', ("db1", "web1", "web2")),
        ('name matches "[0-9]$" and channel in ["db"]', ("db1",)),
        ('channel == "mail"', ()),
    ],
)
def test_a_selector_means_hosts_by_what_is_known_of_them(text: str, hosts: tuple[str, ...]) -> None:
    facts = [
        HostFacts("web2", "web", "linux/amd64", ("eu",)),
        HostFacts("db1", "db", "linux/arm64", ("eu", "big")),
        HostFacts("web1", "web", "linux/amd64"),
    ]
    assert selected(text, facts, "here") == hosts


@pytest.mark.parametrize("text", ['colour == "red"', "tags", "name <"])
def test_a_selector_that_says_nothing_of_a_host_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        selected(text if " " in text else f"{text} == 1 and", [HostFacts("a", "b", "c")], "here")
