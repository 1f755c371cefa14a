"""A lane: all the work for one mailbox. And all lanes of this replica, by mailbox and by job."""

import asyncio
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from consumer.domain.compare import MailboxSnapshot, Unread
from consumer.domain.mailbox import Mailbox
from consumer.sync.after_run import History
from consumer.sync.change import Change
from consumer.sync.receipts import ChangeResult

Inspected: TypeAlias = MailboxSnapshot | Unread
"""What an inspection found, or why it found nothing."""
Inspection: TypeAlias = asyncio.Future[Inspected]


@dataclass(slots=True, eq=False)
class Lane:
    """The work for one mailbox: by job, the change that waits and the change that a run is carrying out."""

    mailbox: Mailbox
    app: str = ""
    """The app whose turn the lane takes, as of when it joined the queue."""
    waiting: dict[str, Change] = field(default_factory=dict)
    running: dict[str, Change] = field(default_factory=dict)
    busy: bool = False
    inspection: Inspection | None = None
    """What a sweep waits for. Changes go first."""
    overdue_at: float = math.inf
    """From when on, on the monotonic clock, that inspection gets its share of the runs although changes wait."""
    queued: bool = False
    timer: asyncio.TimerHandle | None = None
    well: bool = True
    """Whether the last run failed in nothing."""
    history: History = field(default_factory=History)

    def put(self, change: Change) -> None:
        """Let the change wait, merged with the one of its job that waits already."""
        present = self.waiting.get(change.job_id)
        self.waiting[change.job_id] = present.merge(change) if present else change

    def take(self) -> None:
        """Begin with everything that waits."""
        self.running, self.waiting = self.waiting, {}

    def take_rest(self) -> None:
        """Add to what is running everything that has come since."""
        for job_id, change in self.waiting.items():
            present = self.running.get(job_id)
            self.running[job_id] = present.merge(change) if present else change
        self.waiting = {}

    def put_back(self) -> None:
        """Let what is not done wait again, behind what has come since."""
        unfinished, self.running = self.running, {}
        for change in unfinished.values():
            newer = self.waiting.get(change.job_id)
            self.waiting[change.job_id] = change.merge(newer) if newer else change

    def cancel_timer(self) -> None:
        """Wait no longer for the timer, if there is one."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def answer(self, asked: Inspection, found: Inspected) -> None:
        """Give the sweep what was found."""
        if not asked.done():
            asked.set_result(found)
        if self.inspection is asked:
            self.inspection = None


class LaneIndex:
    """Every lane that has work or a failure to remember. Bounded as the records under way are, and the mailboxes."""

    def __init__(self) -> None:
        self._lanes: dict[Mailbox, Lane] = {}
        self._jobs: dict[str, set[Mailbox]] = {}

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def of(self, mailbox: Mailbox) -> Lane:
        """The mailbox's lane; a new one if it has none."""
        lane = self._lanes.get(mailbox)
        if lane is None:
            lane = self._lanes[mailbox] = Lane(mailbox)
        return lane

    def holding(self, job_id: str) -> frozenset[Mailbox]:
        """The mailboxes in whose lanes the job is running or waiting."""
        return frozenset(self._jobs.get(job_id, ()))

    def newest(self, job_id: str) -> int:
        """The highest rank of the job in any lane; 0 if no lane has it."""
        lanes = [self._lanes[mailbox] for mailbox in self._jobs.get(job_id, ())]
        changes = [work.get(job_id) for lane in lanes for work in (lane.waiting, lane.running)]
        return max((change.state.rank for change in changes if change), default=0)

    def put(self, lane: Lane, change: Change) -> None:
        """Let the change wait in the lane."""
        lane.put(change)
        self._jobs.setdefault(change.job_id, set()).add(lane.mailbox)

    def drop(self, lane: Lane, change: Change, result: ChangeResult) -> None:
        """Remove a running change, and give its receipts back with this result."""
        del lane.running[change.job_id]
        if change.job_id not in lane.waiting:
            mailboxes = self._jobs.get(change.job_id)
            if mailboxes is not None:
                mailboxes.discard(lane.mailbox)
                if not mailboxes:
                    del self._jobs[change.job_id]
        change.done(result)

    def close_idle(self, lane: Lane) -> bool:
        """Whether the lane has nothing to do. It is forgotten, unless its mailbox was failing."""
        if lane.waiting or lane.inspection is not None:
            return False
        if lane.history.failing_since is None:
            del self._lanes[lane.mailbox]
        return True
