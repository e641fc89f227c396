"""Turns: only so many begin at once, and one that hangs does not keep its turn for good."""

import asyncio

from requisition.services.watch.turns import Turns
from support.stories import story


@story
async def test_only_so_many_work_at_once():
    turns, working, most = Turns(3, 60), 0, 0

    async def work():
        nonlocal working, most
        async with turns.turn():
            working += 1
            most = max(most, working)
            await asyncio.sleep(0)
            working -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert most == 3


@story
async def test_who_hangs_makes_room_after_a_while_and_gives_nothing_back_twice():
    turns, free = Turns(1, 0.05), asyncio.Event()

    async def hang():
        async with turns.turn():
            await free.wait()

    hanging = [asyncio.create_task(hang()) for _ in range(3)]
    async with turns.turn():
        free.set()
    await asyncio.gather(*hanging)
    async with turns.turn():
        waiting = asyncio.create_task(hang())
        await asyncio.sleep(0)
        assert not waiting.done(), "there is still one turn only"
    await waiting
