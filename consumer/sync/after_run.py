"""What happens to a mailbox after a run. Decisions only: :mod:`consumer.sync.lane_runs` carries them out.

=====================================  =======================================================================
the run's result                       what follows
=====================================  =======================================================================
everything done                        ``Done``
a lease that another run has           ``RunLater``, when it may be free
a step that only another run can do    ``RunAgain``; after ``AGAIN_AT_MOST`` in a row, as a failure
a failure                              ``RunLater``: as long as Graph asks, else a back-off that doubles
failures for ``HAND_OVER_SECONDS``     ``HandOver`` to the sweep, if other work of the app was done meanwhile
foreign answers for an hour            ``Park``
a mailbox that is parked               ``HandOver``
a site that is refused                 ``Suspend``
a refusal                              ``Judge``, then by whose fault it is:

                                       - the site's, suspended by now: ``HandOver``;
                                       - the mailbox's: ``Park``, or ``WithoutSetting`` if only that is refused;
                                       - the request's: ``DeadLetterChanges``, then as without the refusal;
                                       - not known now: as a failure
=====================================  =======================================================================
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final, TypeAlias

from consumer.domain.errors import (
    ForbiddenError,
    MailboxRefusedError,
    RequestRefusedError,
    RunAgainError,
    SiteRefusedError,
    StoreUnavailableError,
    TransientError,
)
from consumer.sync.change import Change
from consumer.sync.foreign import FOREIGN_CODE
from consumer.sync.refusals import Judgement, Refusal
from consumer.sync.run_context import RunResult

HAND_OVER_SECONDS: Final = 120.0
"""How long a mailbox, or a change in it, may fail before it is handed over, if its app was served meanwhile.

If it was not, Graph or the tenant is down as a whole: nothing is handed over, and the lag pages. (But see
:meth:`consumer.sync.lanes.Lanes.relieve`.)
"""
AGAIN_AT_MOST: Final = 4
"""How often in a row a mailbox may run again at once."""
FIRST_WAIT_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Done:
    """The work is done. Changes that arrived meanwhile wait for the next turn."""


@dataclass(frozen=True, slots=True)
class RunAgain:
    """The rest runs again at once, in its turn."""


@dataclass(frozen=True, slots=True)
class RunLater:
    """The rest runs again after some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class HandOver:
    """Work is marked for the sweep, and its receipts are given back."""

    jobs: tuple[str, ...] | None = None
    """``None``: everything that runs or waits."""
    reason: str = ""
    """Why, for the log; empty if something else has been logged."""
    then: RunLater | RunAgain | Done = Done()
    """What follows for the rest."""


@dataclass(frozen=True, slots=True)
class Park:
    """The mailbox is not tried again until it is enabled, or only ``hourly``. Its work is handed over."""

    code: str
    hourly: bool


@dataclass(frozen=True, slots=True)
class WithoutSetting:
    """The mailbox runs again at once, without its time-zone setting."""

    reason: str


@dataclass(frozen=True, slots=True)
class Suspend:
    """The site is not served until it answers again. The mailbox's work is handed over."""

    fault: SiteRefusedError


@dataclass(frozen=True, slots=True)
class DeadLetterChanges:
    """Changes that Graph calls malformed are dead-lettered; ``then`` follows for the rest."""

    refused: Mapping[str, RequestRefusedError]
    then: "Done | RunLater | Failed"


@dataclass(frozen=True, slots=True)
class Judge:
    """Other mailboxes must show whose fault the refusal is: see :func:`after_judgement`."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Failed:
    """The run has failed, or asks to run again: see :func:`after_failure`."""

    error: TransientError


Step: TypeAlias = Done | RunAgain | RunLater | HandOver | Park | WithoutSetting | Suspend | Failed
Decision: TypeAlias = Step | Judge | DeadLetterChanges


@dataclass(slots=True)
class History:
    """How the recent runs of one mailbox ended."""

    failures: int = 0
    """Runs in a row that failed."""
    again: int = 0
    """Runs in a row that asked to run again at once."""
    failing_since: float | None = None
    """On the monotonic clock; ``None``: the last run did not fail. See :func:`since`."""
    not_before: float = 0.0
    """When the ``Retry-After`` of the last failure is over, on the monotonic clock."""

    def cleared(self) -> None:
        """The mailbox has answered, or its work is done."""
        self.failures = self.again = 0
        self.failing_since = None

    def early(self, now: float) -> float:
        """Seconds until ``not_before``; 0 if at most ``FIRST_WAIT_SECONDS`` are left, which is not worth a timer."""
        left = self.not_before - now
        return left if left > FIRST_WAIT_SECONDS else 0.0

    def backoff(self, retry_after: float | None, random: Random) -> RunLater:
        """How long to wait: as asked for, else doubling, with jitter so that lanes do not all run at once."""
        # An answer that asks for no wait is obeyed a few times only.
        if retry_after is not None and (retry_after > 0 or self.failures <= AGAIN_AT_MOST):
            # However long the wait, the lane looks again when its work may be handed over.
            return RunLater(min(retry_after, HAND_OVER_SECONDS))
        longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(self.failures - 1, 10))
        return RunLater(longest * (0.5 + random.random() / 2))


def after_run(
    result: RunResult, *, is_site_replaced: bool
) -> Done | RunLater | HandOver | Suspend | Judge | Failed | RunAgain:
    """What follows from a run's result. ``is_site_replaced``: the sites file has changed since the run began."""
    refusal = result.refusal
    if is_site_replaced and (result.site or refusal):
        return RunAgain()  # what was refused may be what has been corrected
    if result.site is not None:
        return Suspend(result.site)
    if result.parked is not None:
        return HandOver()
    if refusal is not None:
        return Judge(refusal)
    return _without_refusal(result)


def after_judgement(
    refusal: Refusal, judgement: Judgement | TransientError, result: RunResult, *, is_recovering: bool
) -> HandOver | Park | WithoutSetting | DeadLetterChanges | Failed:
    """What follows once it is known whose fault a refusal is.

    Args:
        refusal: what was judged.
        judgement: whose fault it is; the error, if that is not known now.
        result: of the run.
        is_recovering: the site was suspended for this code until recently, so its mailboxes come back one by one.
    """
    match judgement:
        case TransientError():
            return Failed(judgement)
        case SiteRefusedError():
            return HandOver()
        case "request":
            return DeadLetterChanges(result.refused, _without_refusal(result))
        case "mailbox":
            if isinstance(refusal, ForbiddenError) and refusal.setting:
                return WithoutSetting(str(refusal))
            is_curable = not isinstance(refusal, MailboxRefusedError) or refusal.hourly
            return Park(refusal.code, hourly=is_curable or is_recovering)


def after_failure(
    error: TransientError,
    history: History,
    running: Collection[Change],
    *,
    now: float,
    served: float,
    is_foreign_for_long: bool,
    random: Random,
) -> RunLater | RunAgain | HandOver | Park:
    """What follows from a failure, or from the wish to run again at once. Changes the history and the changes.

    Args:
        error: why the rest is not done.
        history: the mailbox's.
        running: the changes that are not done.
        now: on the monotonic clock.
        served: when a run of the same app last succeeded, on the same clock.
        is_foreign_for_long: foreign answers have come for so long that the mailbox must be parked.
        random: for the jitter.
    """
    for change in running:
        change.failing_since = since(change.failing_since, served, now)
    given_up = now - HAND_OVER_SECONDS
    then: RunLater | RunAgain
    if isinstance(error, RunAgainError) and history.again < AGAIN_AT_MOST:
        history.again += 1
        then = RunAgain()
    else:
        if isinstance(error, RunAgainError):
            history.failures = max(history.failures, AGAIN_AT_MOST)  # it has been tried as often
        history.failures += 1
        history.failing_since = since(history.failing_since, served, now)
        history.not_before = now + (error.retry_after or 0.0)
        then = history.backoff(None if isinstance(error, RunAgainError) else error.retry_after, random)
        if isinstance(error, StoreUnavailableError):
            return then  # nothing can be marked or parked
        if is_foreign_for_long:
            return Park(FOREIGN_CODE, hourly=True)
        if history.failing_since <= given_up:
            return HandOver(reason=str(error))
    stuck = tuple(change.job_id for change in running if (change.failing_since or now) <= given_up)
    return HandOver(stuck, reason=str(error), then=then) if stuck else then


def since(before: float | None, served: float, now: float) -> float:
    """Since when something fails. An outage of the whole app does not count against one mailbox or change.

    ``served`` is when a run of the same app last succeeded.
    """
    return now if before is None or served <= before else before


def _without_refusal(result: RunResult) -> Done | RunLater | Failed:
    if result.busy is not None:
        return RunLater(result.busy)
    error = result.trouble or result.again
    return Done() if error is None else Failed(error)
