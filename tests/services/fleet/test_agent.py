"""A host that is given real orders: it installs them, proves them, reports, and goes back by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from requisition.runtime.frames import Request
from requisition.schemas.document import Secret
from requisition.schemas.signing import PemSigner
from requisition.services.fleet import events, sealed
from requisition.services.fleet.agent.link import Failing
from requisition.services.fleet.agent.main import Agent
from requisition.services.fleet.agent.runtime import Runtime
from requisition.services.fleet.events import REPORT_TYPE
from requisition.services.fleet.layout import layout
from requisition.services.fleet.rollout import ROLLOUT_TYPE, Probe, Target, payload
from requisition.services.fleet.sealed import seal
from requisition.services.fleet.state import Phase
from support.agents import ADA, AGENT, EVE, HOST, RELEASE, Site
from support.fleets import MINUTE, OLD, SECOND
from support.orders import OrderBuilder

PASSES = Probe("passes", "command", (HOST,), every=MINUTE, command=("true",))
FAILS = Probe("fails", "command", (HOST,), every=20, command=("sh", "-c", "echo it is sick >&2; exit 3"))

IDLE = {"phase": Phase.IDLE, "rollout": "", "order": "", "prior": "", "standing": "", "cause": "", "reason": "",
        "activated_at": 0, "dispatches": 0}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def play(site: Site, story: Callable[[Agent], Awaitable[None]], **changes: object) -> None:
    """One life of the agent."""

    async def life() -> None:
        async with site.agent(**changes) as agent:
            await story(agent)

    asyncio.run(life())


def converge(site: Site, order: str = "", **fields: object) -> str:
    """A life in which an order is installed and proves itself; its name."""
    order = order or site.order(1)
    site.publish(site.rollout(order, **fields))
    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"]))
    return order


async def refuse(site: Site, agent: Agent) -> None:
    """Until one more offer is refused."""
    before = site.depot.kinds.count("Refused")
    await site.until(agent, lambda: site.depot.kinds.count("Refused") > before)


def test_an_order_is_fetched_installed_confirmed_proved_and_reported(site: Site) -> None:
    converge(site, probes=(PASSES,))
    assert site.version() == "1"
    assert site.depot.kinds == ["Restated", "Began", "Activated", "Probed", "Converged"]
    assert [report.seq for report in site.depot.heard] == [1, 2, 3, 4, 5]


def test_after_a_run_that_failed_and_was_taken_back_the_order_that_proved_itself_stands(site: Site) -> None:
    good = converge(site)
    site.publish(site.rollout(site.order(2, fails=True)))
    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds[-1:] == ["ActivationFailed"]))
    assert site.version() == "1"
    failed = site.depot.last
    assert (failed.exit_code, failed.standing) == (1, good)
    assert "false" in failed.reason


def test_where_policy_is_to_halt_a_run_that_fails_is_told_and_nothing_more_is_done(site: Site) -> None:
    site.publish(site.rollout(site.order(1, fails=True), on_failure="halt"))
    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds[-1:] == ["ActivationFailed"]))
    assert site.depot.last.exit_code == 1
    assert site.version() == "", "the runtime itself takes back a run that failed"


def test_an_order_whose_probe_goes_on_failing_is_taken_back(site: Site) -> None:
    converge(site)

    async def story(agent: Agent) -> None:
        site.publish(site.rollout(site.order(2), probes=(FAILS,)))
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["Probed"])
        assert site.version() == "2"
        site.hands.pass_(MINUTE)
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["RolledBack"])

    play(site, story)
    assert site.version() == "1"
    probed = next(one.event for one in site.depot.heard if isinstance(one.event, events.Probed))
    assert (probed.passed, probed.reason) == (False, "exit 3: it is sick")


def test_a_probe_that_recovers_is_as_if_it_had_never_failed(site: Site) -> None:
    mark = site.folder / "healthy"
    probe = Probe("file", "command", (HOST,), every=20, command=("test", "-e", str(mark)))

    async def story(agent: Agent) -> None:
        site.publish(site.rollout(site.order(1), probes=(probe,)))
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["Probed"])
        assert agent.shell.state.phase is Phase.SOAKING
        mark.touch()
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"])

    play(site, story)
    assert site.depot.kinds[-3:] == ["Probed", "Probed", "Converged"]


def test_a_host_that_nobody_hears_goes_back_at_its_own_deadline(site: Site) -> None:
    converge(site)

    async def story(agent: Agent) -> None:
        site.publish(site.rollout(site.order(2)))
        site.depot.deaf = True
        await site.until(agent, lambda: agent.shell.state.phase is Phase.SOAKING)
        assert site.version() == "2"
        site.hands.pass_(10 * MINUTE)
        await site.until(agent, lambda: agent.shell.state.phase is Phase.REVERTED)
        site.depot.deaf = False
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["RolledBack"])

    play(site, story)
    assert site.version() == "1"
    assert [one.event.cause for one in site.depot.heard if isinstance(one.event, events.RollbackBegan)] == [
        "unconfirmed"
    ]


async def _unheard(site: Site, agent: Agent) -> None:
    site.publish(site.rollout(site.order(2)))
    site.depot.deaf = True
    await site.until(agent, lambda: agent.shell.state.phase is Phase.SOAKING)


async def _settle(site: Site, agent: Agent) -> None:
    await agent.shell.settled()
    assert agent.shell.state.phase is Phase.REVERTED
    assert site.version() == "1"


def test_the_deadline_outlives_the_agent(site: Site) -> None:
    converge(site)
    play(site, lambda agent: _unheard(site, agent))
    site.hands.pass_(10 * MINUTE)
    play(site, lambda agent: _settle(site, agent))


def test_the_deadline_outlives_the_machine_and_a_clock_that_was_set_back(site: Site) -> None:
    converge(site)
    play(site, lambda agent: _unheard(site, agent))
    site.hands.boot, site.hands.ticks = "boot-2", 1_000
    site.hands.wall -= 30 * 86_400_000

    async def story(agent: Agent) -> None:
        assert agent.shell.state.phase is Phase.SOAKING
        site.hands.pass_(10 * MINUTE)
        site.hands.wall -= 30 * 86_400_000
        await site.until(agent, lambda: agent.shell.state.phase is Phase.REVERTED)
        await _settle(site, agent)

    play(site, story)


def test_a_clock_that_leaps_ahead_takes_nobody_back_early(site: Site) -> None:
    converge(site)

    async def story(agent: Agent) -> None:
        await _unheard(site, agent)
        site.hands.wall += 365 * 86_400_000
        await agent.courier.round()
        assert agent.shell.state.phase is Phase.SOAKING
        site.depot.deaf = False
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"])

    play(site, story)


def test_reports_of_a_host_that_is_offline_wait_on_the_disk_and_arrive_whole_in_order(site: Site) -> None:
    order = site.order(1)

    async def offline(agent: Agent) -> None:
        site.publish(site.rollout(order, probes=(PASSES,)))
        while agent.shell.state.phase is Phase.IDLE:
            agent.shell.news.clear()
            await agent.courier.round()
            if agent.shell.state.phase is Phase.IDLE:
                await agent.shell.news.wait()
        site.depot.down = True
        await agent.shell.settled()
        while len(agent.shell.state.probes) == 0:
            agent.shell.news.clear()
            await agent.shell.news.wait()

    play(site, offline)
    assert site.depot.kinds == ["Restated"]
    site.depot.down = False
    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"]))
    assert site.depot.kinds == ["Restated", "Began", "Activated", "Probed", "Converged"]
    assert [report.seq for report in site.depot.heard] == [1, 2, 3, 4, 5]


def test_an_operator_calls_a_converged_host_back(site: Site) -> None:
    converge(site)
    found = site.rollout(site.order(2), on_failure="halt")
    site.publish(found)
    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds.count("Converged") == 2))
    site.recall(found, site.verb(events.RollBack(found.id, "it is slow")))
    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds[-1:] == ["RolledBack"]))
    assert site.version() == "1"


def test_without_an_operators_signature_a_host_whose_policy_is_to_halt_stays(site: Site) -> None:
    found = site.rollout(site.order(1), on_failure="halt")
    site.publish(found)
    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"]))
    verb = events.RollBack(found.id, "")
    for forged in (b"", site.verb(verb, by=EVE), site.verb(events.Halt(found.id, ""))):
        site.recall(found, forged)
        play(site, lambda agent: refuse(site, agent))
        assert "signed" in site.depot.last.reason
    assert site.version() == "1"


def test_that_other_hosts_failed_calls_a_host_back_when_they_signed_it_themselves(site: Site) -> None:
    """Host web2 failed in the rollout, which permits no failure; the release names the keys of both."""
    plain = site.rollout(site.order(1)).rollout
    mine = replace(plain.targets[0], key=AGENT.public.keyid)
    found = layout(replace(plain, targets=(mine, Target("web2", 0, mine.order, EVE.public.keyid))))
    site.publish(found)
    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"]))

    def proof(event: events.HostEvent, by: PemSigner) -> Failing:
        report = events.Report(host="web2", stream="s", seq=1, at=1, event=event)
        return Failing(sealed.write(seal(REPORT_TYPE, payload(report), by)), by.public.openssh())

    failed = events.SoakFailed(found.id, "it is sick")
    for worthless in (proof(failed, ADA), proof(events.SoakFailed(OLD, ""), EVE), proof(events.Restated(**IDLE), EVE)):
        site.recall(found, proofs=(worthless,))
        play(site, lambda agent: refuse(site, agent))
        assert "nothing proves that enough hosts failed" in site.depot.last.reason
    true = site.depot.documents[found.id]
    forged = replace(found.rollout, targets=(mine, Target("web2", 0, mine.order, ADA.public.keyid)))
    site.depot.documents[found.id] = sealed.write(seal(ROLLOUT_TYPE, payload(forged), RELEASE))
    site.recall(found, proofs=(proof(failed, ADA),))
    play(site, lambda agent: refuse(site, agent))
    assert "not the rollout that was begun here" in site.depot.last.reason
    site.depot.documents[found.id] = true
    site.recall(found, proofs=(proof(failed, EVE),))
    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds[-1:] == ["RolledBack"]))
    assert site.version() == ""


def test_a_host_that_is_called_back_from_what_it_never_began_says_where_it_is(site: Site) -> None:
    converge(site)
    site.recall(site.rollout(site.order(2)))
    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds[-1:] == ["Restated"]))
    assert site.depot.last.phase is Phase.CONVERGED
    assert site.version() == "1"


def test_secrets_of_an_order_are_read_from_files_when_it_runs(site: Site) -> None:
    token = site.folder / "token"
    builder = OrderBuilder(site.folder / "secretive", site.root, serial=1)
    builder.node("file.write", path="/token", content={"$secret": "token"}, mode=0o600)
    order = site.put_order(builder.order(secrets=(Secret("token"),)), builder.folder)
    site.publish(site.rollout(order, on_failure="halt"))
    secrets = {"token": str(token)}
    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds[-1:] == ["ActivationFailed"]), secrets=secrets)
    assert "the secret token cannot be read" in site.depot.last.reason
    token.write_text("s3cr3t\n")
    found = site.rollout(order)
    site.publish(found)

    async def recalled(agent: Agent) -> None:
        site.recall(found)
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["RolledBack"])

    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"]), secrets=secrets)
    assert (site.root / "token").read_text() == "s3cr3t"
    token.unlink()
    play(site, recalled, secrets=secrets)
    assert not (site.root / "token").exists(), "to go back it takes no secret"
    spooled = b"".join(path.read_bytes() for path in (site.folder / "agent").rglob("*") if path.is_file())
    assert b"s3cr3t" not in spooled


def test_what_a_prior_order_left_is_installed_again_where_its_run_is_not_the_last_but_one(site: Site) -> None:
    """Order 2 failed its probes and stayed, as its policy says; order 3 fails and goes back to 1, not to 2."""
    good = converge(site)

    async def fails(agent: Agent) -> None:
        site.publish(site.rollout(site.order(2), on_failure="halt", probes=(FAILS,)))
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["Probed"])
        site.hands.pass_(MINUTE)
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["SoakFailed"])

    play(site, fails)
    assert site.version() == "2"
    site.publish(site.rollout(site.order(3, fails=True)))
    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds[-1:] == ["RolledBack"]))
    assert (site.version(), site.depot.last.standing) == ("1", good)


def test_a_prior_order_that_somebody_took_back_by_hand_is_installed_again(site: Site) -> None:
    good = converge(site)
    runtime = Runtime(site.settings.runtime_state)
    done = asyncio.run(runtime.ask(Request(verb="rollback", state_dir=runtime.state_dir)))
    assert (done.status, site.version()) == ("done", "")

    async def story(agent: Agent) -> None:
        site.publish(site.rollout(site.order(2), probes=(FAILS,)))
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["Probed"])
        site.hands.pass_(MINUTE)
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["RolledBack"])

    play(site, story)
    assert (site.version(), site.depot.last.standing) == ("1", good)


def test_what_the_machine_was_before_any_order_is_there_again(site: Site) -> None:
    (site.root / "version").write_text("mine\n")
    site.publish(site.rollout(site.order(1), probes=(FAILS,)))

    async def story(agent: Agent) -> None:
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["Probed"])
        assert site.version() == "1"
        site.hands.pass_(MINUTE)
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["RolledBack"])

    play(site, story)
    assert site.version() == "mine"
    assert site.depot.last.standing == ""


def test_an_order_that_cannot_be_taken_back_is_told_as_stuck(site: Site) -> None:
    site.publish(site.rollout(site.order(1), probes=(FAILS,)))

    async def story(agent: Agent) -> None:
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["Probed"])
        (site.root / "version").write_text("somebody else's\n")
        site.hands.pass_(MINUTE)
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["RollbackFailed"])

    play(site, story)
    assert site.version() == "somebody else's"
    assert site.depot.last.exit_code == 5
    assert "/version" in site.depot.last.reason


def test_an_order_that_takes_hold_at_a_restart_of_the_machine_soaks_from_then_on(site: Site) -> None:
    mark = site.folder / "restart"

    async def asks(agent: Agent) -> None:
        site.publish(site.rollout(site.order(1)))
        while "Began" not in site.depot.kinds:
            agent.shell.news.clear()
            await agent.courier.round()
            if agent.shell.state.phase is Phase.ACTIVATING:
                mark.touch()
            else:
                await agent.shell.news.wait()
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["RestartNeeded"])

    play(site, asks)
    play(site, lambda agent: agent.courier.round())
    assert site.depot.kinds[-1] == "RestartNeeded", "the agent was started again, but not the machine"
    mark.unlink()
    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"]))
    assert site.depot.kinds[-3:] == ["RestartNeeded", "Activated", "Converged"]


def test_a_second_agent_of_one_state_is_refused(site: Site) -> None:
    async def story(_: Agent) -> None:
        with pytest.raises(Exception, match="already at work"):
            async with site.agent():
                pass

    play(site, story)


def test_a_run_that_is_not_over_at_the_deadline_is_ended_and_taken_back(site: Site) -> None:
    good = converge(site)

    async def story(agent: Agent) -> None:
        site.publish(site.rollout(site.order(2, runs=["sleep", "1000"])))
        while agent.shell.state.phase is not Phase.ACTIVATING:
            agent.shell.news.clear()
            await agent.courier.round()
            if agent.shell.state.phase is not Phase.ACTIVATING:
                await agent.shell.news.wait()
        await site.seen(lambda: site.version() == "2")
        site.hands.pass_(10 * MINUTE)
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["RolledBack"])

    play(site, story)
    assert site.version() == "1"
    began = next(one.event for one in site.depot.heard if isinstance(one.event, events.RollbackBegan))
    assert (began.prior, began.cause, began.reason) == (good, "unconfirmed", "its run was not over in time")


def test_an_agent_that_is_stopped_ends_its_run_and_begins_it_again_at_the_next_start(site: Site) -> None:
    gate = site.folder / "gate"
    converge(site)

    async def stopped(agent: Agent) -> None:
        site.publish(site.rollout(site.order(2, runs=["sh", "-c", f"test -e {gate} || sleep 1000"])))
        while agent.shell.state.phase is not Phase.ACTIVATING:
            agent.shell.news.clear()
            await agent.courier.round()
            if agent.shell.state.phase is not Phase.ACTIVATING:
                await agent.shell.news.wait()
        await site.seen(lambda: site.version() == "2")

    play(site, stopped)
    assert site.version() == "1", "what was begun was taken back"
    gate.touch()
    play(site, lambda agent: site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"]))
    assert site.version() == "2"
    assert site.depot.kinds.count("Began") == 2


def test_soak_is_waited_for(site: Site) -> None:
    async def story(agent: Agent) -> None:
        site.publish(site.rollout(site.order(1), soak=10 * MINUTE))
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["Activated"])
        site.hands.pass_(10 * MINUTE - SECOND)
        await agent.courier.round()
        assert agent.shell.state.phase is Phase.SOAKING
        site.hands.pass_(SECOND)
        await site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"])

    play(site, story)
