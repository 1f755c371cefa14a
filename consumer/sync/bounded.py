"""Work on many items, a bounded number at a time, that ends as a whole."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import TypeVar

from consumer.domain.errors import CalsyncError

T = TypeVar("T")


async def each(
    items: Iterable[T] | AsyncGenerator[T, None], room: asyncio.Semaphore, work: Callable[[T], Awaitable[None]]
) -> None:
    """Do the work for every item; an item is taken only when there is room for it.

    The first failure cancels the work under way, takes no further item, and is raised: no task outlives the call. Of
    several failures an unexpected one is raised first, so that it is not hidden behind an outage.

    Args:
        items: lazily read, so that they may be many.
        room: how many items at a time, over all calls that share it.
        work: called with each item.
    """

    async def done(item: T) -> None:
        await work(item)

    try:
        async with aclosing(_read(items)) as read, asyncio.TaskGroup() as group:
            async for item in read:
                await room.acquire()
                group.create_task(done(item)).add_done_callback(lambda _: room.release())
    except BaseExceptionGroup as failures:
        raise _foremost(failures) from None


async def _read(items: Iterable[T] | AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    if isinstance(items, AsyncGenerator):
        async with aclosing(items):
            async for item in items:
                yield item
    else:
        for item in items:
            yield item


def _foremost(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    leaves = list(_leaves(failures))
    return next((leaf for leaf in leaves if not isinstance(leaf, CalsyncError)), leaves[0])


def _leaves(failure: BaseException) -> Iterator[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        for part in failure.exceptions:
            yield from _leaves(part)
    else:
        yield failure
