"""Work on many items, a bounded number at a time."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import TypeVar

from consumer.domain.errors import CalsyncError

T = TypeVar("T")


async def each(
    items: Iterable[T] | AsyncGenerator[T, None], room: asyncio.Semaphore, work: Callable[[T], Awaitable[None]]
) -> None:
    """Do the work for every item; an item is read only when there is room for it.

    The first failure cancels the work under way, and no further item is read. No task outlives the call. If several
    items fail, an unexpected error is raised rather than an outage, which would hide it.

    Args:
        items: read lazily, so there may be many.
        room: bounds how many items are worked on at once, over all calls that share it.
        work: called with each item.

    Raises:
        Exception: what ``work`` or ``items`` raised.
    """

    async def done(item: T) -> None:
        await work(item)

    try:
        async with aclosing(_read(items)) as read, asyncio.TaskGroup() as group:
            async for item in read:
                await room.acquire()
                group.create_task(done(item)).add_done_callback(lambda _: room.release())
    except BaseExceptionGroup as failures:
        raise foremost(failures) from None


async def _read(items: Iterable[T] | AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    if isinstance(items, AsyncGenerator):
        async with aclosing(items):
            async for item in items:
                yield item
    else:
        for item in items:
            yield item


def foremost(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one failure to raise for a group: an unexpected one if there is any."""
    leaves = list(_leaves(failures))
    return next((leaf for leaf in leaves if not isinstance(leaf, CalsyncError)), leaves[0])


def _leaves(failure: BaseException) -> Iterator[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        for part in failure.exceptions:
            yield from _leaves(part)
    else:
        yield failure
