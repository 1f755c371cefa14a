"""Dead-letters records whose event Graph calls malformed, while their mailboxes continue."""

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
    """Writes the dead letters of refused changes. Keeps a part of each receipt until the dead letter is written."""

    def __init__(self, dead_letters: DeadLetters, waits: Waits) -> None:
        self._dead_letters = dead_letters
        self._waits = waits
        self._queue: asyncio.Queue[tuple[_Owed, str]] = asyncio.Queue()
        """At most one entry for each record that is not done, so back-pressure bounds the queue and the tasks."""
        self._unwritten = 0
        self._all_written = asyncio.Event()
        self._all_written.set()

    async def refuse(self, change: Change, refusal: RequestRefusedError) -> None:
        """Dead-letter the newest record of a change that Graph calls malformed.

        Does not block, so that the mailbox continues. No offset is committed before the dead letter is written. A
        sweep's repair without a record has no dead letter: the sweep keeps its mark, and each later sweep tries and
        logs it again.
        """
        owed = [(receipt, record) for receipt in change.records_owed() if isinstance(record := receipt.record, Record)]
        if not owed:
            return
        for receipt, _ in owed:
            receipt.split(2)
        self._queue.put_nowait((owed, str(refusal)))
        self._unwritten += 1
        self._all_written.clear()

    async def run(self) -> None:
        """Write what is refused, until cancelled. Raises an ``ExceptionGroup`` with one error if that fails
        unexpectedly."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self._write(*await self._queue.get()))

    async def drain(self, deadline: float) -> None:
        """Wait until all dead letters are written, at most ``deadline`` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                await self._all_written.wait()

    async def _write(self, owed: _Owed, reason: str) -> None:
        """Dead-letter the newest record whose partition is still assigned. Its dead letter covers the older records."""
        written: Receipt | None = None
        for receipt, record in owed:
            if not record.epoch.live:
                continue  # the new owner of its partition reads it again, but not the records of other partitions
            with self._waits.of(record) as wait:
                if await self._dead_letters.put(record, "refused", reason, wait):
                    written = receipt
                    break
        for receipt, _ in owed:
            receipt.part_done("dead_lettered" if receipt is written else "superseded")
        self._unwritten -= 1
        if not self._unwritten:
            self._all_written.set()
