"""What keeps a call from being sent now: an answer's ``Retry-After``, the budgets, its lease."""

from collections.abc import Callable, Mapping
from typing import Any

from consumer.domain.errors import RunAgainError, TransientError
from consumer.graph.budget import APP_REQUESTS, APP_SECONDS, MAILBOX_REQUESTS, MAILBOX_SECONDS, Budget
from consumer.graph.call import Call
from consumer.graph.errors import is_graphs
from consumer.http import Answer
from consumer.retry_after import retry_after


class Throttle:
    """How long one app, and each of its mailboxes, must not be asked."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._app_budget = Budget(APP_REQUESTS, APP_SECONDS)
        self._mailbox_budget = Budget(MAILBOX_REQUESTS, MAILBOX_SECONDS)
        self._not_before = 0.0
        """Until when the app is throttled, on the monotonic clock."""
        self._rests: dict[str, float] = {}
        """Until when a mailbox is throttled, on the same clock."""

    def may_go(self, call: Call, *, spend: bool = False) -> bool:
        """Whether it may still be sent; else it has failed. ``spend``: it takes another request of the budgets."""
        if call.reply.done():
            return False
        obstacle = self.obstacle(call, spend=spend)
        if obstacle is not None:
            call.fail(obstacle)
        return obstacle is None

    def obstacle(self, call: Call, *, spend: bool) -> TransientError | None:
        """Why a call must not be sent now."""
        now = self._monotonic()
        if self._not_before > now:
            return TransientError("the app is throttled", retry_after=self._not_before - now, tenant_wide=True)
        # What else a run has to ask of its mailbox must not come before its Retry-After is over either.
        rest = self._rests.get(call.address, now) - now
        if rest > 0:
            return TransientError("the mailbox is throttled", retry_after=rest)
        self._rests.pop(call.address, None)
        if call.lease is not None and not call.lease.may_send(now):
            return RunAgainError("the lease was not renewed in time")
        if not spend:
            return None
        if wait := self._app_budget.take("", now):
            return TransientError("the app has had its requests for now", retry_after=wait, tenant_wide=True)
        if wait := self._mailbox_budget.take(call.address, now):
            return TransientError("the mailbox has had its requests for now", retry_after=wait)
        return None

    def rest(self, address: str, headers: Mapping[str, str], *, own: bool) -> None:
        """Send the mailbox nothing until the ``Retry-After`` of an answer has passed."""
        if wait := retry_after(headers, own=own):
            self._rests[address] = max(self._rests.get(address, 0.0), self._monotonic() + wait)

    def rest_app(self, answer: Answer, body: Any) -> None:
        """Send nothing of the app until the ``Retry-After`` of a batch's 429 has passed."""
        wait = retry_after(answer.headers, own=is_graphs(answer.status, answer.headers, body))
        self._not_before = self._monotonic() + (wait or 1.0)
