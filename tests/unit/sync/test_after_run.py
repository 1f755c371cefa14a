"""What happens to a mailbox after a run, by examples."""

from random import Random

import pytest

from consumer.domain.errors import (
    ForbiddenError,
    MailboxRefusedError,
    RequestRefusedError,
    RunAgainError,
    SiteRefusedError,
    StoreUnavailableError,
    TransientError,
)
from consumer.domain.job import Deletion
from consumer.sync.after_run import (
    AGAIN_AT_MOST,
    HAND_OVER_SECONDS,
    LONGEST_WAIT_SECONDS,
    DeadLetterChanges,
    Decision,
    Done,
    Failed,
    HandOver,
    History,
    Judge,
    Park,
    RunAgain,
    RunLater,
    Suspend,
    WithoutSetting,
    after_failure,
    after_judgement,
    after_run,
)
from consumer.sync.change import Change
from consumer.sync.foreign import FOREIGN_CODE
from consumer.sync.receipts import Receipt
from consumer.sync.refusals import Judgement, Refusal
from consumer.sync.run_context import RunResult

AGAIN = RunAgainError("the event must be created again")
DOWN = TransientError("503")
THROTTLED = TransientError("429", retry_after=30.0)
REDIS_DOWN = StoreUnavailableError("refused")
MISSING = MailboxRefusedError("ErrorInvalidUser")
MOVING = MailboxRefusedError("MailboxNotEnabledForRESTAPI", hourly=True)
FORBIDDEN = ForbiddenError("ErrorAccessDenied")
SETTING_FORBIDDEN = ForbiddenError("ErrorAccessDenied", setting=True)
MALFORMED = RequestRefusedError(400, "ErrorInvalidRequest")
EXPIRED = SiteRefusedError("AADSTS7000222", "renew it")


def change(job_id: str = "J1") -> Change:
    return Change(job_id, Deletion(job_id, 1), Receipt(None, lambda *_: None, lambda: True))


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (RunResult(results={"J1": "applied"}), Done()),
        (RunResult(busy=3.0), RunLater(3.0)),
        (RunResult(again=AGAIN), Failed(AGAIN)),
        (RunResult(trouble=DOWN, again=AGAIN), Failed(DOWN)),
        (RunResult(parked="ErrorInvalidUser"), HandOver()),
        (RunResult(mailbox=MISSING), Judge(MISSING)),
        (RunResult(mailbox=MISSING, forbidden=FORBIDDEN, trouble=DOWN), Judge(MISSING)),
        (RunResult(refused={"J1": MALFORMED}), Judge(MALFORMED)),
        (RunResult(site=EXPIRED, mailbox=MISSING), Suspend(EXPIRED)),
    ],
)
def test_a_result_decides_what_follows(result: RunResult, expected: Decision) -> None:
    assert after_run(result, is_site_replaced=False) == expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (RunResult(site=EXPIRED), RunAgain()),
        (RunResult(mailbox=MISSING), RunAgain()),
        (RunResult(trouble=DOWN), Failed(DOWN)),
        (RunResult(results={"J1": "applied"}), Done()),
    ],
)
def test_a_refusal_from_before_the_sites_file_changed_is_ignored(result: RunResult, expected: Decision) -> None:
    assert after_run(result, is_site_replaced=True) == expected


@pytest.mark.parametrize(
    ("refusal", "judgement", "expected"),
    [
        (MISSING, EXPIRED, HandOver()),
        (MISSING, "mailbox", Park("ErrorInvalidUser", hourly=False)),
        (MOVING, "mailbox", Park("MailboxNotEnabledForRESTAPI", hourly=True)),
        (FORBIDDEN, "mailbox", Park("ErrorAccessDenied", hourly=True)),
        (SETTING_FORBIDDEN, "mailbox", WithoutSetting("ErrorAccessDenied")),
        (MISSING, DOWN, Failed(DOWN)),
    ],
)
def test_a_judgement_decides_what_follows_a_refusal(
    refusal: Refusal, judgement: Judgement | TransientError, expected: Decision
) -> None:
    assert after_judgement(refusal, judgement, RunResult(), is_recovering=False) == expected


def test_a_mailbox_of_a_recovering_site_is_parked_for_an_hour_only() -> None:
    assert after_judgement(MISSING, "mailbox", RunResult(), is_recovering=True) == Park(MISSING.code, hourly=True)


@pytest.mark.parametrize(("trouble", "then"), [(None, Done()), (DOWN, Failed(DOWN))])
def test_after_a_dead_letter_the_rest_of_the_run_decides(trouble: TransientError | None, then: Done | Failed) -> None:
    result = RunResult(refused={"J1": MALFORMED}, trouble=trouble)
    assert after_judgement(MALFORMED, "request", result, is_recovering=False) == DeadLetterChanges(
        {"J1": MALFORMED}, then
    )


class Mailbox:
    """A mailbox with one change whose runs fail, at times of the test's choice."""

    def __init__(self) -> None:
        self.history = History()
        self.change = change()
        self.now = 1000.0
        self.served: float | None = None
        """When its app was last served; ``None``: just now."""

    def fails(self, error: TransientError = DOWN, *, is_foreign_for_long: bool = False) -> Decision:
        return after_failure(
            error,
            self.history,
            [self.change],
            now=self.now,
            served=self.now if self.served is None else self.served,
            is_foreign_for_long=is_foreign_for_long,
            random=Random(1),
        )


def test_back_off_doubles_up_to_a_minute() -> None:
    mailbox = Mailbox()
    waits = [step.seconds for _ in range(20) if isinstance(step := mailbox.fails(), RunLater)]
    assert len(waits) == 20
    for failures, wait in enumerate(waits):
        longest = min(LONGEST_WAIT_SECONDS, 0.5 * 2**failures)
        assert longest / 2 <= wait <= longest


def test_a_retry_after_is_obeyed_up_to_the_time_when_the_work_may_be_handed_over() -> None:
    mailbox = Mailbox()
    assert mailbox.fails(THROTTLED) == RunLater(30.0)
    assert mailbox.history.early(mailbox.now + 10.0) == 20.0
    assert mailbox.history.early(mailbox.now + 29.9) == 0.0
    assert mailbox.fails(TransientError("429", retry_after=3600.0)) == RunLater(HAND_OVER_SECONDS)


def test_a_retry_after_of_zero_is_obeyed_a_few_times_only() -> None:
    mailbox = Mailbox()
    at_once = TransientError("503", retry_after=0.0)
    assert [mailbox.fails(at_once) for _ in range(AGAIN_AT_MOST)] == [RunLater(0.0)] * AGAIN_AT_MOST
    step = mailbox.fails(at_once)
    assert isinstance(step, RunLater)
    assert step.seconds > 1.0


def test_a_run_that_asks_for_another_one_is_not_a_failure_of_the_mailbox() -> None:
    mailbox = Mailbox()
    assert mailbox.fails(AGAIN) == RunAgain()
    assert (mailbox.history.failures, mailbox.history.failing_since) == (0, None)


def test_a_mailbox_that_always_asks_to_run_again_backs_off_and_is_handed_over() -> None:
    mailbox = Mailbox()
    steps = [mailbox.fails(AGAIN) for _ in range(AGAIN_AT_MOST)]
    assert steps == [RunAgain()] * AGAIN_AT_MOST
    step = mailbox.fails(AGAIN)
    assert isinstance(step, RunLater)
    assert step.seconds > 1.0
    mailbox.now += HAND_OVER_SECONDS
    assert mailbox.fails(AGAIN) == HandOver(reason=str(AGAIN))


def test_a_job_that_always_asks_to_run_again_is_handed_over_although_its_mailbox_is_served() -> None:
    mailbox = Mailbox()
    for _ in range(int(HAND_OVER_SECONDS)):
        assert mailbox.fails(AGAIN) == RunAgain()
        mailbox.now += 1.0
        mailbox.history.cleared()  # another job of the mailbox was applied
    assert mailbox.fails(AGAIN) == HandOver(("J1",), reason=str(AGAIN), then=RunAgain())


def test_a_mailbox_that_fails_while_its_app_is_served_is_handed_over() -> None:
    mailbox = Mailbox()
    assert isinstance(mailbox.fails(), RunLater)
    mailbox.now += HAND_OVER_SECONDS - 1.0
    assert isinstance(mailbox.fails(), RunLater)
    mailbox.now += 1.0
    assert mailbox.fails() == HandOver(reason="503")


def test_an_outage_of_the_whole_app_hands_nothing_over() -> None:
    mailbox = Mailbox()
    mailbox.served = mailbox.now - 1.0
    for _ in range(60):
        assert isinstance(mailbox.fails(), RunLater)
        mailbox.now += 60.0
    # The app is served again: the mailbox's full time begins now.
    mailbox.served = None
    assert isinstance(mailbox.fails(), RunLater)
    mailbox.now += HAND_OVER_SECONDS
    assert mailbox.fails() == HandOver(reason="503")


def test_a_job_that_fails_alone_is_handed_over_alone_and_the_rest_backs_off() -> None:
    mailbox = Mailbox()
    mailbox.fails()
    mailbox.now += HAND_OVER_SECONDS
    mailbox.history.cleared()
    step = mailbox.fails()
    assert isinstance(step, HandOver)
    assert step.jobs == ("J1",)
    assert isinstance(step.then, RunLater)


def test_nothing_is_handed_over_or_parked_while_redis_is_unavailable() -> None:
    mailbox = Mailbox()
    mailbox.fails(REDIS_DOWN)
    mailbox.now += 10 * HAND_OVER_SECONDS
    assert isinstance(mailbox.fails(REDIS_DOWN, is_foreign_for_long=True), RunLater)


def test_a_mailbox_with_foreign_answers_for_too_long_is_parked_and_tried_hourly() -> None:
    assert Mailbox().fails(is_foreign_for_long=True) == Park(FOREIGN_CODE, hourly=True)
