"""The daemon, with real repositories and the real `plan`: what is new is applied, and nothing else ever happens twice."""

import asyncio

from support.watched import Watched, daemon, writes


def test_a_new_commit_is_applied_and_only_then_good(tmp_path):
    async def story():
        repo = Watched(tmp_path)
        first = repo.push(writes("one"))
        async with daemon(tmp_path, repo.watch()) as it:
            await it.good("web", first)
            assert repo.site() == "one"
            second = repo.push(writes("two"))
            await it.good("web", second)
            assert repo.site() == "two"
            runs = it.state.runs("web")
            assert [run.status for run in runs] == ["good", "good"]
            assert [step.step for step in it.state.steps(runs[0].id)] == ["fetch", "check", "build", "apply", "receipt"]

    asyncio.run(story())
