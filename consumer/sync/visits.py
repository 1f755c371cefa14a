"""Which mailboxes a sweep visits: Core's list and our links, merged in the order of their addresses."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from consumer.domain.window import Window
from consumer.sync.sweep_ports import ScheduleSource, Wanted
from consumer.sync.sweep_store import SweepMemory


@dataclass(frozen=True, slots=True)
class Visit:
    """A mailbox to be read, and what Core wants in it."""

    address: str
    wanted: Wanted | None
    wait: float = 0.0
    """Seconds to wait before a second read; 0 for a first read."""

    @property
    def is_first(self) -> bool:
        """Whether it is not a second read of a mailbox that could not be read.

        A late mailbox that has links, or that was listed in order too, is visited twice, each time as a first read.
        """
        return not self.wait


class Visits:
    """The mailboxes of one site, read lazily: a page of Core's list and a page of links at a time."""

    def __init__(self, core: ScheduleSource, memory: SweepMemory, site_id: str, window: Window) -> None:
        self._core = core
        self._memory = memory
        self._site_id = site_id
        self._window = window
        self.late: list[Wanted] = []
        """What Core's list names at its end, out of order; at most ``consumer.core.schedule.MOST_MISPLACED``."""
        self.unnamed_workers = 0
        """How many workers without a mailbox Core's list has. A job that the list lacks may be one of theirs."""

    async def whole_site(self) -> AsyncGenerator[Visit, None]:
        """Every address that Core lists in order or that has links, once, in byte order."""
        async with aclosing(self._linked()) as linked, aclosing(self._listed()) as listed:
            ours = await anext(linked, None)
            async for wanted in listed:
                while ours is not None and ours.encode() < wanted.address.encode():
                    yield Visit(ours, None)
                    ours = await anext(linked, None)
                if ours == wanted.address:
                    ours = await anext(linked, None)
                yield Visit(wanted.address, wanted)
            while ours is not None:
                yield Visit(ours, None)
                ours = await anext(linked, None)

    async def find(self, address: str, *, named: bool) -> Visit | None:
        """This address alone, with Core's list read to its end; ``None`` if neither Core nor a link names it.

        Args:
            address: the mailbox.
            named: visit it even then.
        """
        found: Wanted | None = None
        async with aclosing(self._listed()) as listed:
            async for wanted in listed:
                if wanted.address == address:
                    found = wanted
        self.late = [wanted for wanted in self.late if wanted.address == address]
        if named or found or self.late or await self._has_links(address):
            return Visit(address, found)
        return None

    async def _has_links(self, address: str) -> bool:
        async with aclosing(self._linked()) as linked:
            async for known in linked:
                if known == address:
                    return True
        return False

    async def _listed(self) -> AsyncGenerator[Wanted, None]:
        """What Core lists in order. What it lists out of order goes to ``late``."""
        schedule = self._core.schedule(self._site_id, self._window)
        try:
            async for wanted in schedule:
                self.unnamed_workers = wanted.unnamed_workers
                if wanted.late:
                    self.late.append(wanted)
                else:
                    yield wanted
        finally:
            if isinstance(schedule, AsyncGenerator):
                await schedule.aclose()

    async def _linked(self) -> AsyncGenerator[str, None]:
        after = ""
        while page := await self._memory.linked(self._site_id, after):
            for address in page:
                yield address
            after = page[-1]
