"""Bounded work: never more tasks at a time than slots, and nothing left when it ends."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from consumer.domain.errors import TransientError
from consumer.sync.bounded import each


async def test_no_more_items_are_read_than_there_is_room_for() -> None:
    taken, running, most = 0, 0, 0
    go_on = asyncio.Event()

    async def work(_item: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go_on.wait()
        running -= 1

    async def items() -> AsyncGenerator[int, None]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    room = asyncio.Semaphore(5)
    both = asyncio.gather(each(items(), room, work), each(range(100), room, work))
    for _ in range(50):
        await asyncio.sleep(0)
    assert running == 5
    assert taken <= 6
    assert len(asyncio.all_tasks()) <= 1 + 2 + 5
    go_on.set()
    await both
    assert (taken, running, most) == (100, 0, 5)


@pytest.mark.parametrize("error", [TransientError("down"), KeyError("bug")])
async def test_a_failure_cancels_the_others_and_reads_no_further_item(error: Exception) -> None:
    cancelled, closed = [], []

    async def items() -> AsyncGenerator[int, None]:
        try:
            for number in range(100):
                yield number
        finally:
            closed.append(True)

    async def work(item: int) -> None:
        if item == 2:
            raise error
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    before = asyncio.all_tasks()
    with pytest.raises(type(error)) as raised:
        await each(items(), asyncio.Semaphore(3), work)
    assert raised.value is error
    assert sorted(cancelled) == [0, 1]
    assert closed == [True]
    assert asyncio.all_tasks() == before


async def test_a_failed_read_of_the_items_cancels_the_work() -> None:
    async def items() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.sleep(0)
        raise TransientError("the second page failed")

    async def work(_item: int) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TransientError, match="second page"):
        await each(items(), asyncio.Semaphore(3), work)


async def test_an_unexpected_error_is_not_hidden_behind_an_outage() -> None:
    async def work(item: int) -> None:
        raise TransientError("down") if item < 2 else KeyError("bug")

    with pytest.raises(KeyError):
        await each(range(3), asyncio.Semaphore(3), work)


async def test_cancelling_the_caller_cancels_the_work_and_frees_its_slots() -> None:
    room, started = asyncio.Semaphore(2), asyncio.Event()

    async def work(_item: int) -> None:
        started.set()
        await asyncio.Event().wait()

    caller = asyncio.create_task(each(range(9), room, work))
    await started.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await each(range(9), room, lambda _item: asyncio.sleep(0))
