"""Records whose event Graph calls malformed: dead-lettered while their mailboxes go on."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from consumer.domain.errors import RequestRefusedError
from consumer.kafka.dead_letters import DeadLetters
from consumer.kafka.record import Record
from consumer.kafka.waiting import Waits
from consumer.sync.change import Change
from consumer.sync.receipts import Receipt

_Owed = Sequence[tuple[Receipt, Record]]


class RefusedRecords:
    """Writes the dead letters of refused changes. A part of each receipt is kept until its dead letter is safe."""

    def __init__(self, dead_letters: DeadLetters, waits: Waits) -> None:
        self._dead_letters = dead_letters
        self._waits = waits
        self._queue: asyncio.Queue[tuple[_Owed, str]] = asyncio.Queue()
        """Bounded as the records are: each entry stands for one that is not done."""
        self._out = 0
        self._none_out = asyncio.Event()
        self._none_out.set()

    async def refuse(self, change: Change, refusal: RequestRefusedError) -> None:
        """Dead-letter the newest record of a change that Graph calls malformed.

        Returns at once, so that the mailbox goes on. No offset is committed before the dead letter is safe. A sweep's
        repair that no record asked for has no dead letter: the sweep keeps its mark, and each later sweep tries and
        logs it again.
        """
        owed = [(receipt, record) for receipt in change.records_owed() if isinstance(record := receipt.record, Record)]
        if not owed:
            return
        for receipt, _ in owed:
            receipt.split(2)
        self._queue.put_nowait((owed, str(refusal)))
        self._out += 1
        self._none_out.clear()

    async def run(self) -> None:
        """Until cancelled. An unexpected error ends it, as the only error of a group."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self._write(*await self._queue.get()))

    async def drain(self, deadline: float) -> None:
        """Wait until all dead letters are safe, at most ``deadline`` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                await self._none_out.wait()

    async def _write(self, owed: _Owed, reason: str) -> None:
        """Dead-letter the newest record that this replica still answers for; its dead letter covers the older ones."""
        written: Receipt | None = None
        for receipt, record in owed:
            if not record.epoch.live:
                continue  # its partition's new owner gets it again, but not those of other partitions
            with self._waits.of(record) as wait:
                if await self._dead_letters.put(record, "refused", reason, wait):
                    written = receipt
                    break
        for receipt, _ in owed:
            receipt.part_done("dead_lettered" if receipt is written else "superseded")
        self._out -= 1
        if not self._out:
            self._none_out.set()
