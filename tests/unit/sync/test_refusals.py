"""Whether a refusal concerns the site or the mailbox, judged by other mailboxes; and what a token's roles show."""

import pytest

from consumer.domain.errors import (
    ForbiddenError,
    MailboxRefusedError,
    RequestRefusedError,
    TransientError,
)
from consumer.sync.refusals import Compared, Refusal, lacks_writing, shared, whose

MISSING = MailboxRefusedError("ResourceNotFound")
GONE_TOO = MailboxRefusedError("ErrorInvalidUser")
BUSY = TransientError("503")


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], "nobody to ask"),
        ([Compared(True, None)], "mailbox"),
        ([Compared(False, None)], "mailbox"),
        ([Compared(True, MISSING), Compared(True, BUSY), Compared(False, None)], "mailbox"),
        ([Compared(True, BUSY)], "unclear"),
        ([Compared(True, MISSING), Compared(True, BUSY)], "unclear"),
        ([Compared(True, MISSING)], "site"),
        ([Compared(False, MailboxRefusedError("errorresourcenotfound"))], "site"),
        # They answered until now, so the fault began for all of them together, although the codes differ.
        ([Compared(True, MISSING), Compared(True, GONE_TOO)], "site"),
        # They have never answered, and each is refused with a different code.
        ([Compared(False, GONE_TOO)], "nobody to ask"),
        ([Compared(False, MISSING), Compared(False, GONE_TOO)], "nobody to ask"),
    ],
)
def test_a_refusal_is_attributed_to_the_site_or_the_mailbox(others: list[Compared], expected: str) -> None:
    assert whose(MISSING, others) == expected


@pytest.mark.parametrize(
    ("refusal", "hint"),
    [
        (ForbiddenError("ErrorAccessDenied"), "MailboxSettings.Read"),
        (ForbiddenError("ErrorAccessDenied", write=True), "Calendars.Read is not enough"),
        (ForbiddenError("NoPermissionsInAccessToken", token=True), "the app's tokens hold no permissions"),
        (ForbiddenError("nopermissionsinaccesstoken", write=True, token=True), "admin consent for Calendars.ReadWrite"),
        (ForbiddenError("InvalidAuthenticationToken", token=True), "check the tenant"),
        (ForbiddenError("Unauthorized", write=True, token=True), "check the tenant"),
        (MISSING, "licensed"),
        (RequestRefusedError(400, "BadRequest"), "calendar emails in Core"),
    ],
)
def test_a_shared_refusal_has_graphs_code_and_a_hint_that_fits(refusal: Refusal, hint: str) -> None:
    fault = shared(refusal, [])
    assert fault.code == refusal.code
    assert hint in fault.hint


def test_a_sites_fault_is_reported_by_the_refusal_of_the_others() -> None:
    assert shared(RequestRefusedError(400, "BadRequest"), [Compared(True, MISSING)]).code == "ResourceNotFound"


@pytest.mark.parametrize(
    ("roles", "lacks"),
    [
        ({"Calendars.Read"}, True),
        ({"Calendars.ReadBasic.All", "MailboxSettings.Read"}, True),
        ({"Calendars.ReadWrite"}, False),
        ({"Calendars.Read", "Calendars.ReadWrite"}, False),
        ({"MailboxSettings.Read"}, False),
        (set(), False),
    ],
)
def test_only_a_role_for_reading_calendars_shows_that_writing_is_not_allowed(roles: set[str], lacks: bool) -> None:
    assert lacks_writing(roles) is lacks
