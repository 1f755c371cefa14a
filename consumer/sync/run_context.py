"""What the assignments of one run share, and how the run ended."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from consumer.domain.compare import Unread
from consumer.domain.errors import (
    ForbiddenError,
    MailboxRefusedError,
    RequestRefusedError,
    RunAgainError,
    SiteRefusedError,
    TransientError,
)
from consumer.domain.event import EventSummary, tag
from consumer.domain.job import revision_of
from consumer.domain.link import Link, Memory
from consumer.domain.mailbox import Mailbox
from consumer.domain.timezones import Zone
from consumer.domain.window import Window
from consumer.sync.audit import Action, Audit
from consumer.sync.change import Change
from consumer.sync.grant import AssignmentState
from consumer.sync.ports import Calendar
from consumer.sync.receipts import ChangeResult
from consumer.sync.run_outcome import RunOutcome

Failure: TypeAlias = TransientError | MailboxRefusedError | SiteRefusedError | ForbiddenError | RequestRefusedError
FAILURES: Final = (TransientError, MailboxRefusedError, SiteRefusedError, ForbiddenError, RequestRefusedError)
"""Every error that a calendar may raise instead of doing what it was asked."""


@dataclass(slots=True)
class RunResult:
    """How a run ended. Jobs that are neither in ``results`` nor in ``refused`` must be tried again."""

    results: dict[str, ChangeResult] = field(default_factory=dict)
    """What became of each job that is done."""
    refused: dict[str, RequestRefusedError] = field(default_factory=dict)
    """Jobs whose event Graph calls malformed: each further try would fail in the same way."""
    trouble: TransientError | None = None
    """Why the rest must wait; of several troubles, the one that asks for the longest wait."""
    again: RunAgainError | None = None
    """Why the rest needs another run at once, although nothing failed."""
    busy: float | None = None
    """Seconds until the lease of another run may be free."""
    parked: str | None = None
    """The code for which the mailbox was parked before this run, or by it."""
    mailbox: MailboxRefusedError | None = None
    """Graph refuses the mailbox."""
    site: SiteRefusedError | None = None
    """Entra or Graph refuses the whole site."""
    forbidden: ForbiddenError | None = None
    """A 403 or 401, which alone decides nothing."""
    unsettled: int = 0
    """Events that Graph keeps showing differently from how they are written."""
    is_stored: bool = False
    """Whether the store knows everything that the run has done."""
    in_doubt: dict[str, str] = field(default_factory=dict)
    """By job, the transactionIds of creates that were sent, and of which the store may know nothing."""

    @property
    def refusal(self) -> MailboxRefusedError | ForbiddenError | RequestRefusedError | None:
        """The refusal that must be judged, if there is one: of the mailbox, else of one request."""
        return self.mailbox or self.forbidden or next(iter(self.refused.values()), None)

    def unread(self, *, parked: bool) -> Unread:
        """Why an inspection that ended so has read nothing. ``parked``: a refused mailbox is parked by now."""
        refusal = self.mailbox or self.forbidden
        if self.parked is not None or (refusal is not None and parked):
            return Unread("parked", self.parked or str(refusal))
        if self.refused:
            return Unread("refused", str(next(iter(self.refused.values()))))
        error = self.trouble or self.again
        reason = str(error or refusal or self.site or "the mailbox is busy")
        return Unread("failed", reason, error.retry_after if error else None)

    def record(self, job_id: str, error: Failure) -> None:
        """Sort a failure by what to do next."""
        _drop_frames(error)
        match error:
            case RunAgainError():
                self.again = error
            case TransientError():
                if self.trouble is None or (error.retry_after or 0.0) > (self.trouble.retry_after or 0.0):
                    self.trouble = error
            case MailboxRefusedError():
                self.mailbox = error
            case SiteRefusedError():
                self.site = error
            case ForbiddenError():
                self.forbidden = error
            case RequestRefusedError():
                self.refused[job_id] = error


@dataclass(slots=True)
class RunContext:
    """What the assignments of one run share."""

    calendar: Calendar
    mailbox: Mailbox
    window: Window
    zone: Zone
    linked_elsewhere: Callable[[Sequence[tuple[str, str]]], Awaitable[set[str]]]
    """Of these (job, event id), the ids that are linked in other mailboxes. Raises ``StoreUnavailableError``."""
    audit: Audit
    zone_refused: bool = False
    """Graph did not know the mailbox's zone; this was logged, and the setting was read again."""
    listed: Mapping[str, Sequence[EventSummary]] | None = None
    """All tagged events of the mailbox by job, if they were listed."""
    creates: dict[str, str] = field(default_factory=dict)
    """By job, the transactionIds of the creates that were sent."""
    unread_zone: str = ""
    """Why the mailbox's time-zone setting could not be read and another zone is used; else empty."""
    repeated: set[str] = field(default_factory=set)
    """Jobs whose create has a transactionId that was sent before."""
    outcome: RunOutcome = field(default_factory=RunOutcome)
    result: RunResult = field(default_factory=RunResult)


@dataclass(slots=True)
class Assignment:
    """One job in the run's mailbox: the state it must get, and what the store knows of it."""

    run: RunContext
    change: Change
    known: AssignmentState
    job_id: str = field(init=False)
    tag: str = field(init=False)
    """Of its events."""

    def __post_init__(self) -> None:
        self.job_id = self.change.job_id
        self.tag = tag(self.run.mailbox.site, self.job_id)

    @property
    def memory(self) -> Memory | None:
        """Its link, pending link or tombstone before this run."""
        return self.known.memory

    def written(self, action: Action, event_id: str, fields: Sequence[str] = ()) -> None:
        """Audit a write to one of its events, which Graph has accepted; ``fields`` are the names of those changed."""
        view, mailbox = self.change.sweep_view, self.run.mailbox
        self.run.audit.written(
            action,
            mailbox.site,
            self.job_id,
            event_id,
            cause="change" if view is None else view.cause,
            revision=revision_of(self.change.state.rank),
            fields=fields,
        )

    def done(self, result: ChangeResult) -> None:
        """Note that it is done."""
        outcome = self.run.outcome
        self.run.result.results[self.job_id] = result
        outcome.answered |= result == "applied"
        outcome.found.pop(self.job_id, None)
        if self.known.fresh and self.job_id not in outcome.links:
            outcome.forgotten.add(self.job_id)

    def failed(self, error: Failure) -> None:
        """Note a failure.

        If a create of this run certainly did not happen, its pending link is removed. If the outcome of another request
        is not known, the link is unsure: the job may come back to the state that the link was written for.
        """
        outcome = self.run.outcome
        self.run.result.record(self.job_id, error)
        known = not (isinstance(error, TransientError) and error.unknown)
        link = outcome.links.get(self.job_id, self.memory)
        if known and self.known.fresh and self.job_id not in outcome.links:
            outcome.forgotten.add(self.job_id)
        elif not known and isinstance(link, Link):
            # A forced state ranks below the link, and must not be stale when it is tried again.
            outcome.links[self.job_id] = replace(link.unsure(), rank=min(link.rank, self.change.state.rank))


def _drop_frames(error: BaseException | None) -> None:
    """Forget the frames that a failure came through.

    They refer to the run, and the run to the failure. Without this, each failed run leaves a reference cycle that stays
    in memory until the garbage collector runs, and in an outage of Graph there are many.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__context__
