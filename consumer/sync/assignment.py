"""One assignment within a run: look where there is doubt, plan, apply. Its failure stops no other assignment."""

from dataclasses import replace
from datetime import datetime

import structlog

from consumer.domain.errors import DuplicateTransactionError, GoneError, RunAgainError, TransientError
from consumer.domain.event import Event
from consumer.domain.job import Deletion, State, may_conceal
from consumer.domain.mailbox import Mailbox
from consumer.domain.plan import Leave, Plan, plan
from consumer.domain.render import render
from consumer.sync.apply import apply
from consumer.sync.look import look, look_after_duplicate, look_after_gone
from consumer.sync.receipts import ChangeResult
from consumer.sync.run_context import FAILURES, Assignment, RunContext

log = structlog.get_logger(__name__)


async def reconcile(assignment: Assignment) -> None:
    """Bring one assignment to its state, and note in the run how that ended. Raises nothing."""
    try:
        result = await _reconcile(assignment)
    except FAILURES as error:
        assignment.failed(error)
    except Exception as error:
        # The run must still store what became of the others, and give the lease back.
        log.critical("unexpected error in an assignment", job=assignment.job_id, exc_info=True)
        assignment.failed(TransientError(f"an unexpected error: {type(error).__name__}", unknown=True))
    else:
        assignment.done(result)


async def plan_only(assignment: Assignment) -> Plan | None:
    """What :func:`reconcile` would do, without doing it; ``None`` after a failure, which the run's result then has."""
    run, state = assignment.run, assignment.change.state
    if may_conceal(state, run.mailbox):
        return Plan(Leave())
    try:
        return plan(await look(assignment, _wanted(state, run)), run.window)
    except FAILURES as error:
        assignment.failed(error)
    except Exception as error:
        log.critical("unexpected error in a plan", job=assignment.job_id, exc_info=True)
        assignment.failed(TransientError(f"an unexpected error: {type(error).__name__}"))
    return None


async def _reconcile(assignment: Assignment) -> ChangeResult:
    """Look, plan, apply; once more if the event to write to is another one or gone."""
    run, state = assignment.run, assignment.change.state
    if may_conceal(state, run.mailbox):
        return "unchanged"
    if assignment.change.transaction_id is not None:
        run.repeated.add(assignment.job_id)
    situation = await look(assignment, _wanted(state, run))
    try:
        return await apply(assignment, situation, plan(situation, run.window))
    except DuplicateTransactionError as duplicate:
        seen = await look_after_duplicate(assignment, duplicate.event_id)
    except GoneError:
        seen = await look_after_gone(assignment, situation)
    situation = replace(situation, seen=seen)
    try:
        return await apply(assignment, situation, plan(situation, run.window))
    except GoneError:
        raise RunAgainError("the event is gone") from None


def times_in(state: State, mailbox: Mailbox) -> tuple[datetime, datetime] | None:
    """When the job belongs in this mailbox; ``None`` if it does not."""
    if isinstance(state, Deletion) or state.site_id != mailbox.site or mailbox.address not in state.addresses:
        return None
    return state.scheduled


def _wanted(state: State, run: RunContext) -> Event | None:
    """The event that the mailbox must hold for the job; ``None`` if it must hold none."""
    when = times_in(state, run.mailbox)
    if when is None or isinstance(state, Deletion):
        return None
    return render(state, *when, run.zone)
