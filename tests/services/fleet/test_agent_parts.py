"""The parts of an agent: its deadline, its spool, its probes, what it makes of receipts, its settings, its loop."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from requisition.runtime.runinfo import RunInfo
from requisition.schemas.diagnostic import BadInput, Failed, Refused
from requisition.services.fleet import effects, events
from requisition.services.fleet.agent import config, spool
from requisition.services.fleet.agent.fuse import deadline_now, lit
from requisition.services.fleet.agent.main import serve
from requisition.services.fleet.agent.orders import Orders
from requisition.services.fleet.agent.past import ours, settled_runs, standing, to_take_back
from requisition.services.fleet.agent.probes import Prober, Seer
from requisition.services.fleet.agent.spool import Saved, Spool
from requisition.services.fleet.agent_state import AgentState, Joined, ProbeSeen, RunEnded
from requisition.services.fleet.rollout import Probe
from support.agents import HOST, Site
from support.fleets import MINUTE, START

SPANS = st.integers(0, 10**9)


# -- the deadline


@given(SPANS, SPANS, st.integers(-(10**12), 10**12))
def test_while_the_machine_is_up_only_its_own_time_counts(left: int, passed: int, moved: int) -> None:
    fuse = lit(START + left, START, "boot", 1_000)
    now = START + passed + moved
    deadline = deadline_now(START + left, fuse, now, "boot", 1_000 + passed)
    assert deadline - now == max(left - passed, 1 - now)


@given(SPANS, st.integers(-(10**12), 10**12))
def test_after_another_start_no_more_is_left_than_was(left: int, moved: int) -> None:
    now = START + moved
    found = deadline_now(START + left, lit(START + left, START, "boot", 1_000), now, "another", 5)
    assert 0 < found <= max(1, now + left)


def test_no_deadline_stays_none() -> None:
    assert deadline_now(0, lit(0, START, "boot", 1), START, "boot", 2) == 0


# -- the spool


@pytest.fixture
def kept(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "spool.db"), AgentState(host=HOST, stream=""))


def test_a_state_and_its_reports_are_saved_together_or_not_at_all(kept: Spool) -> None:
    async def story() -> None:
        await kept.save(Saved(AgentState(host=HOST, stream="s", seq=1)), [(1, b"one")])
        with pytest.raises(Exception, match="UNIQUE"):
            await kept.save(Saved(AgentState(host=HOST, stream="s", seq=2)), [(2, b"two"), (1, b"again")])
        assert (await kept.load()).state.seq == 1
        assert (await kept.waiting()).reports == (b"one",)

    asyncio.run(story())
    kept.close()


def test_of_too_many_reports_the_oldest_go_and_that_is_told(kept: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MOST_REPORTS", 3)

    async def story() -> None:
        gone = [
            await kept.save(Saved(AgentState(host=HOST, stream="s", seq=seq)), [(seq, b"%d" % seq)])
            for seq in range(1, 6)
        ]
        assert gone == [0, 0, 0, 1, 1]
        assert await kept.waiting() == spool.Waiting(3, (b"3", b"4", b"5"))

    asyncio.run(story())
    kept.close()


def test_one_message_holds_no_more_reports_than_it_may(kept: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "AT_ONCE_BYTES", 10)

    async def story() -> None:
        state = AgentState(host=HOST, stream="s", seq=3)
        await kept.save(Saved(state), [(1, b"x" * 100), (2, b"y"), (3, b"z")])
        assert (await kept.waiting()).reports == (b"x" * 100,), "one goes, however large"
        await kept.save(Saved(state), [], heard=1)
        assert await kept.waiting() == spool.Waiting(2, (b"y", b"z"))

    asyncio.run(story())
    kept.close()


def test_a_disk_that_takes_nothing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path)
    monkeypatch.setattr("requisition.services.fleet.agent.shell._AGAIN", 0)
    save, fails = Spool.save, [Failed.of("the disk is full")] * 3

    async def full(self: Spool, *given: object, **more: object) -> int:
        if fails:
            raise fails.pop()
        return await save(self, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Spool, "save", full)

    async def story() -> None:
        async with site.agent() as agent:
            await agent.courier.round()
            assert agent.shell.counts["not_saved"] == 3

    asyncio.run(story())
    assert site.depot.kinds == ["Restated"]


def test_a_defect_or_a_name_that_is_no_text_leaves_no_host_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: Orders, order: str) -> RunEnded:
        raise OSError(2, "no such file", f"/{order[:3]}\udcff")

    monkeypatch.setattr(Orders, "install", broken)
    site = Site(tmp_path)
    site.publish(site.rollout(site.order(1), on_failure="halt"))

    async def story() -> None:
        async with site.agent() as agent:
            await site.until(agent, lambda: site.depot.kinds[-1:] == ["ActivationFailed"])

    asyncio.run(story())
    assert "udcff" in site.depot.last.reason


def test_an_effect_that_is_for_a_server_is_dropped_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path)
    strays = (effects.CutLog(1), effects.CountUp("seen"), effects.Tell("info", "it goes on"))
    monkeypatch.setattr("requisition.services.fleet.agent.shell.step", lambda agent, _said, _at: (agent, strays))

    async def story() -> None:
        async with site.agent() as agent:
            assert agent.shell.counts["effects_dropped"] == agent.shell.counts["seen"] > 0

    asyncio.run(story())
    assert site.said[:2] == ["error: CutLog is for a server; it is dropped", "info: it goes on"]


def test_a_host_that_is_enrolled_again_numbers_its_reports_anew(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def story() -> None:
        async with site.agent() as agent:
            await agent.shell.tell(Joined("stream-2"))
            assert await agent.spool.waiting() != spool.Waiting(0, ())
            await agent.courier.round()
            assert (agent.shell.state.stream, agent.shell.state.seq) == ("stream-2", 1)

    asyncio.run(story())
    assert [(report.stream, report.seq) for report in site.depot.heard] == [("stream-2", 1)]


# -- probes


def see(probe: Probe, drift: str = "", **environment: str) -> ProbeSeen:
    async def drifted() -> str:
        return drift

    seer = Seer(drifted, environment) if environment else Seer(drifted)
    return asyncio.run(seer.look(probe))


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("true",), ""),
        (("sh", "-c", "echo ok; echo one; echo two >&2; exit 7"), "exit 7: two"),
        (("sh", "-c", "kill -9 $$"), "signal 9"),
        (("sleep", "100"), "it took longer than 0.2 s"),
    ],
)
def test_a_command_passes_when_it_ends_with_0_in_time(command: tuple[str, ...], reason: str) -> None:
    timeout = 200 if command[0] == "sleep" else 10_000
    assert see(Probe("p", "command", (HOST,), command=command, timeout=timeout)) == ProbeSeen("p", not reason, reason)


def test_a_command_that_is_not_there_fails() -> None:
    seen = see(Probe("p", "command", (HOST,), command=("/nowhere/program",)))
    assert not seen.passed
    assert "/nowhere/program" in seen.reason


@asynccontextmanager
async def answering(said: bytes) -> AsyncIterator[str]:
    """A server of one answer; its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/health?x=1"


@pytest.mark.parametrize(
    ("said", "expect", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200, ""),
        (b"HTTP/1.1 204\r\n\r\n", 204, ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", 200, "answers 302, not 200"),
        (b"SSH-2.0-x\r\n", 200, "does not answer in HTTP"),
        (b"", 200, "does not answer in HTTP"),
        (b"x" * 100_000, 200, "Separator is not found"),
    ],
)
def test_an_address_passes_when_it_answers_with_the_status(said: bytes, expect: int, reason: str) -> None:
    async def story() -> ProbeSeen:
        async with answering(said) as url:
            return await Seer(drift=nothing).look(Probe("p", "http", (HOST,), url=url, expect=expect))

    seen = asyncio.run(story())
    assert seen.passed == (not reason)
    assert reason in seen.reason


async def nothing() -> str:
    return ""


def test_an_address_where_nobody_listens_fails() -> None:
    seen = see(Probe("p", "http", (HOST,), url="http://127.0.0.1:1/"))
    assert not seen.passed
    assert seen.reason


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        ("active\\nactive", ""),
        ("active\\nfailed", "b.service is failed"),
        ("inactive\\nactivating", "a.service is inactive, b.service is activating"),
        ("", "systemctl did not tell of every unit"),
    ],
)
def test_units_pass_when_every_one_of_them_is_active(tmp_path: Path, states: str, reason: str) -> None:
    """systemctl itself says good as soon as one is. The real one needs a systemd; this one says what it would."""
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\n[ "$*" = "is-active -- a.service b.service" ] || exit 9\nprintf "{states}"\n')
    program.chmod(0o755)
    seen = see(Probe("p", "units", (HOST,), units=("a.service", "b.service")), PATH=f"{tmp_path}:/usr/bin:/bin")
    assert (seen.passed, seen.reason) == (not reason, reason)


def test_drift_is_what_status_says_of_the_receipts(tmp_path: Path) -> None:
    site = Site(tmp_path)
    drift = Probe("drift", "drift", (HOST,), every=20)

    async def story() -> None:
        async with site.agent() as agent:
            site.publish(site.rollout(site.order(1), probes=(drift,)))
            await site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"])
            (site.root / "version").write_text("somebody else's\n")
            await site.until(agent, lambda: site.depot.kinds[-1:] == ["Probed"])

    asyncio.run(story())
    assert isinstance(site.depot.last, events.Probed)
    assert (site.depot.last.passed, site.depot.last.reason) == (False, "1 changed")


def test_a_probe_that_is_stopped_says_no_more_and_one_that_goes_on_is_not_begun_again() -> None:
    looks: list[str] = []
    seen: list[str] = []

    async def look(probe: Probe) -> ProbeSeen:
        looks.append(probe.name)
        return ProbeSeen(probe.name, passed=True)

    async def tell(found: ProbeSeen) -> None:
        seen.append(found.probe)
        (arrived[found.probe]).set()

    one, two = (Probe(name, "command", (HOST,), every=10 * MINUTE) for name in ("one", "two"))
    arrived: dict[str, asyncio.Event] = {}

    async def story() -> None:
        arrived.update(one=asyncio.Event(), two=asyncio.Event())
        prober = Prober(look, tell)
        prober.start((one,))
        await arrived["one"].wait()
        prober.start((one, two))
        await arrived["two"].wait()
        prober.start((two,))
        await prober.close()

    asyncio.run(story())
    assert looks == seen == ["one", "two"]


# -- receipts


def info(order: str, state: str = "executed", outcome: str = "complete", *, changed: bool = True) -> RunInfo:
    summary = {"done": 1} if changed else {"unchanged": 1}
    return RunInfo(f"run-{order}-{state}", "apply", "demo", "o", f"sum-{order}", "/", "", "", state, outcome=outcome,
                   summary=summary)  # fmt: skip


NAMES = {f"sum-{name}": name for name in "abc"}


@pytest.mark.parametrize(
    ("past", "stands", "back_to_a"),
    [
        ([], "", []),
        ([info("a")], "a", []),
        ([info("a"), info("x")], "a", []),
        ([info("a"), info("b")], "b", ["b-executed"]),
        ([info("a"), info("b", "rolled_back")], "a", []),
        ([info("a"), info("b", "failed")], "b", ["b-failed"]),
        ([info("a"), info("b", "running", "")], "b", ["b-running"]),
        ([info("a"), info("b", outcome="error")], "b", ["b-executed"]),
        ([info("a"), info("b"), info("c", "failed")], "c", ["c-failed", "b-executed"]),
        ([info("a"), info("b", changed=False)], "b", []),
        ([info("a"), info("b"), info("a")], "a", []),
        ([info("a"), info("b"), info("a", outcome="error")], "a", ["a-executed", "b-executed"]),
        ([info("b"), info("c")], "c", ["c-executed"]),
        ([info("a", "rolled_back"), info("b"), info("c"), info("c", "failed")], "c", ["c-failed", "c-executed"]),
    ],
)
def test_receipts_tell_which_order_stands_and_what_to_take_back(
    past: list[RunInfo], stands: str, back_to_a: list[str]
) -> None:
    found = ours(past, NAMES)
    last = standing(found)
    assert (last.order if last else "") == stands
    order = found[-1].order if found else "a"
    assert to_take_back(found, order, "a") == tuple(f"run-{name}" for name in back_to_a)
    everything = [one.info.run_id for one in reversed(found) if one.left_something]
    assert list(to_take_back(found, order, "")) == everything


def test_a_run_is_what_its_journal_says_where_the_line_for_lists_is_behind(tmp_path: Path) -> None:
    """Killed between the end of a run and the line about it, or between that line and the journal."""
    site = Site(tmp_path)
    site.publish(site.rollout(site.order(1)))

    async def story() -> None:
        async with site.agent() as agent:
            await site.until(agent, lambda: site.depot.kinds[-1:] == ["Converged"])

    asyncio.run(story())
    (line,) = (site.folder / "runtime/runs").glob("*/run.json")
    (was,) = settled_runs(site.settings.runtime_state)
    line.write_bytes(msgspec.json.encode(replace(was, state="running", outcome="", summary={})))
    (found,) = settled_runs(site.settings.runtime_state)
    assert (found.state, found.outcome, found.summary) == (was.state, was.outcome, was.summary) != ("running", "", {})
    journal = line.with_name("journal")
    journal.write_bytes(journal.read_bytes()[:-1])
    assert [info.state for info in settled_runs(site.settings.runtime_state)] == ["running"]
    journal.unlink()
    assert settled_runs(site.settings.runtime_state) == []


# -- settings


GOOD = """version: "1"
host: web1
key: /etc/agent.key
trust: /etc/fleet-trust.yaml
orders: /etc/trust.yaml
state: /var/lib/agent
"""


def test_settings_are_read() -> None:
    found = config.parse(GOOD + "poll: 5m\nlargest: 1MiB\n", "agent.yaml")
    assert (found.host, found.root, found.poll, found.largest) == (HOST, "/", 300.0, 1 << 20)


def test_settings_that_others_may_write_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(GOOD)
    file.chmod(0o600)
    assert config.load(str(file)).host == HOST
    file.chmod(0o666)
    with pytest.raises(Refused, match="others may change the agent's settings"):
        config.load(str(file))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("host: web1", "host: -x"), "host"),
        (("key: /etc", "key: etc"), "key is not an absolute path"),
        (("state:", "stat:"), "stat"),
        (('version: "1"', 'version: "2"'), "version"),
        (("state:", "poll: 0s\nstate:"), "poll is 0s"),
        (("state:", "secrets: {token: token.txt}\nstate:"), "secrets.token is not an absolute path"),
    ],
)
def test_mistakes_in_settings_are_told(change: tuple[str, str], what: str) -> None:
    with pytest.raises(BadInput, match=what):
        config.parse(GOOD.replace(*change), "agent.yaml")


def test_a_state_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    site = Site(tmp_path)
    os.makedirs(site.settings.state)
    os.chmod(site.settings.state, 0o777)

    async def story() -> None:
        async with site.agent():
            pass

    with pytest.raises(Refused, match="others may change"):
        asyncio.run(story())


# -- the loop


def test_the_loop_tells_once_that_nobody_answers_and_goes_on_by_itself(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.publish(site.rollout(site.order(1)))
    site.depot.down = True

    async def story() -> None:
        stop = asyncio.Event()
        async with site.agent() as agent:
            loop = asyncio.ensure_future(serve(agent, 0.02, lambda: 0.5, stop, site.said.append))
            await site.seen(lambda: agent.shell.counts["rounds_failed"] > 2)
            site.depot.down = False
            await site.seen(lambda: site.depot.kinds[-1:] == ["Converged"])
            stop.set()
            await loop

    asyncio.run(story())
    assert [line for line in site.said if "answer" in line] == ["nobody answers", "the server answers again"]


def test_news_is_sent_at_once_but_a_server_that_takes_nothing_is_not_pressed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.publish(site.rollout(site.order(1)))
    site.depot.deaf = True

    async def story() -> None:
        stop = asyncio.Event()
        async with site.agent() as agent:
            loop = asyncio.ensure_future(serve(agent, 3600, lambda: 0.5, stop, site.said.append))
            await site.seen(lambda: agent.shell.state.activated_at > 0)
            await site.seen(lambda: site.depot.words[-1].seq == agent.shell.state.seq)
            stop.set()
            await loop

    asyncio.run(story())
    assert len(site.depot.words) <= 6
