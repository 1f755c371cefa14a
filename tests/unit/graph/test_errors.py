"""Graph's answers, as errors by their next step."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.errors import (
    CalsyncError,
    DuplicateTransactionError,
    ForbiddenError,
    GoneError,
    MailboxRefusedError,
    RequestRefusedError,
    TransientError,
    ZoneRefusedError,
)
from consumer.graph.errors import error_of, kind_of, refuses_token
from consumer.retry_after import retry_after


def answer(status: int, code: str, *, write: bool = True, headers: dict[str, str] | None = None) -> CalsyncError:
    body = {"error": {"code": code, "message": "s3cret", "innerError": {"request-id": "1"}}}
    return error_of(status, headers or {}, body, write=write)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "ErrorInvalidRequest", RequestRefusedError),
        (400, "TimeZoneNotSupportedException", ZoneRefusedError),
        (400, "ErrorPropertyValidationFailure", RequestRefusedError),
        (400, "ErrorCalendarEndDateIsEarlierThanStartDate", RequestRefusedError),
        (400, "ErrorCalendarDurationIsTooLong", RequestRefusedError),
        (400, "BadRequest", RequestRefusedError),
        (413, "RequestTooLarge", RequestRefusedError),
        (400, "ErrorDuplicateTransactionId", DuplicateTransactionError),
        (409, "ErrorDuplicateTransactionId", DuplicateTransactionError),
        (400, "ErrorInvalidIdMalformed", GoneError),
        (404, "ErrorItemNotFound", GoneError),
        (404, "ErrorInvalidIdMalformed", GoneError),
        (410, "ErrorItemNotFound", GoneError),
        (404, "NotFound", TransientError),
        (410, "SyncStateNotFound", TransientError),
        (401, "InvalidAuthenticationToken", ForbiddenError),
        (401, "NoPermissionsInAccessToken", ForbiddenError),
        (403, "NoPermissionsInAccessToken", ForbiddenError),
        (403, "ErrorAccessDenied", ForbiddenError),
        (403, "Authorization_RequestDenied", ForbiddenError),
        (403, "ErrorQuotaExceeded", MailboxRefusedError),
        (507, "ErrorQuotaExceeded", MailboxRefusedError),
        (507, "InsufficientStorage", MailboxRefusedError),
        (507, "", TransientError),
        (404, "MailboxNotEnabledForRESTAPI", MailboxRefusedError),
        (404, "MailboxNotSupportedForRESTAPI", MailboxRefusedError),
        (404, "ErrorInvalidUser", MailboxRefusedError),
        (404, "ResourceNotFound", MailboxRefusedError),
        (404, "Request_ResourceNotFound", MailboxRefusedError),
        (404, "ErrorNonExistentMailbox", MailboxRefusedError),
        (409, "ErrorIrresolvableConflict", TransientError),
        (412, "ErrorIrresolvableConflict", TransientError),
        (409, "ConcurrentItemSave", TransientError),
        (503, "ConcurrentItemSave", TransientError),
        (424, "FailedDependency", TransientError),
        (429, "ApplicationThrottled", TransientError),
        (429, "TooManyRequests", TransientError),
        (500, "ErrorInternalServerError", TransientError),
        (500, "ErrorInternalServerTransientError", TransientError),
        (502, "", TransientError),
        (503, "ErrorMailboxMoveInProgress", TransientError),
        (503, "MailboxInfoStale", TransientError),
        (503, "ErrorMailboxStoreUnavailable", TransientError),
        (503, "ErrorServerBusy", TransientError),
        (503, "ServiceUnavailable", TransientError),
        (503, "", TransientError),
        (504, "UnknownError", TransientError),
        (509, "", TransientError),
    ],
)
def test_each_answer_becomes_the_error_for_its_next_step(status: int, code: str, expected: type[CalsyncError]) -> None:
    error = answer(status, code)
    assert type(error) is expected
    assert (code or str(status)) in str(error) or isinstance(error, DuplicateTransactionError)
    assert "s3cret" not in str(error)


@pytest.mark.parametrize(
    "code", ["ErrorItemNotFound", "errorItemNotFound", "itemNotFound", "ITEMNOTFOUND", "ItemNotFound"]
)
def test_neither_case_nor_the_error_prefix_matter(code: str) -> None:
    assert isinstance(answer(400, code), GoneError)


@given(st.sampled_from([400, 403, 404, 409, 429, 503]), st.text())
def test_case_and_prefix_never_matter(status: int, code: str) -> None:
    ascii_code = code.encode("ascii", "ignore").decode()
    assert kind_of(status, ascii_code.upper()) == kind_of(status, ascii_code.lower())


@pytest.mark.parametrize(("code", "hourly"), [("ErrorQuotaExceeded", True), ("ErrorInvalidUser", False)])
def test_errors_that_the_tenant_can_fix_are_tried_hourly(code: str, *, hourly: bool) -> None:
    error = answer(404, code)
    assert isinstance(error, MailboxRefusedError)
    assert (error.hourly, error.code) == (hourly, code)


@pytest.mark.parametrize(
    ("status", "code", "unknown"),
    [
        (500, "ErrorInternalServerError", True),
        (503, "", True),
        (504, "UnknownError", True),
        (503, "ConcurrentItemSave", True),
        (409, "ConcurrentItemSave", True),
        (409, "ErrorIrresolvableConflict", False),
        (412, "ErrorIrresolvableConflict", False),
        (429, "ApplicationThrottled", False),
        (424, "FailedDependency", False),
        (408, "RequestTimeout", True),
        (423, "Locked", False),
    ],
)
def test_a_write_that_may_have_been_carried_out_is_unknown_and_a_read_never_is(
    status: int, code: str, *, unknown: bool
) -> None:
    written, read = answer(status, code), answer(status, code, write=False)
    assert isinstance(written, TransientError)
    assert isinstance(read, TransientError)
    assert (written.unknown, read.unknown) == (unknown, False)


@pytest.mark.parametrize("status", [409, 412, 429, 503, 504])
def test_a_transient_error_carries_its_retry_after(status: int) -> None:
    error = answer(status, "x", headers={"Retry-After": "7"})
    assert isinstance(error, TransientError)
    assert error.retry_after == 7


def test_a_conflict_without_a_retry_after_is_tried_again_soon() -> None:
    error = answer(409, "ErrorIrresolvableConflict")
    assert isinstance(error, TransientError)
    assert error.retry_after is not None
    assert error.retry_after < 1


def test_a_used_transaction_id_names_the_event_that_it_made_if_graph_does() -> None:
    body = {"error": {"code": "ErrorDuplicateTransactionId", "@event.existingEventId": "AAMk="}}
    named, unnamed = error_of(400, {}, body, write=True), answer(409, "ErrorDuplicateTransactionId")
    assert isinstance(named, DuplicateTransactionError)
    assert isinstance(unnamed, DuplicateTransactionError)
    assert (named.event_id, unnamed.event_id) == ("AAMk=", None)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "3"}, 3.0),
        ({"retry-after": "2.128"}, 2.128),
        ({"RETRY-AFTER": " 1 "}, 1.0),
        ({"Retry-After": "-1"}, 0.0),
        ({"Retry-After": "86400"}, 3600.0),
        ({"Retry-After": "Tue, 01 Dec 2026 09:00:00 GMT"}, None),
        ({"Retry-After": ""}, None),
        ({"X-Retry": "3"}, None),
    ],
)
def test_a_retry_after_is_read_as_seconds_with_fractions(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, own=True) == seconds


@pytest.mark.parametrize("own", [True, False])
@given(value=st.text() | st.floats().map(str))
def test_no_retry_after_is_negative_or_unbounded(value: str, *, own: bool) -> None:
    seconds = retry_after({"Retry-After": value}, own=own)
    assert seconds is None or 0 <= seconds <= (3600 if own else 60)


W, R = True, False  # a write, a read
YES, NO = True, False  # the outcome is unknown, or the answer foreign
TABLE: list[tuple[int, str, type[CalsyncError], bool, bool]] = [
    # status, Graph's code, class; and for a write: unknown, foreign
    (400, "ErrorInvalidRequest", RequestRefusedError, NO, NO),
    (401, "InvalidAuthenticationToken", ForbiddenError, NO, NO),
    (403, "ErrorAccessDenied", ForbiddenError, NO, NO),
    (404, "ErrorItemNotFound", GoneError, NO, NO),
    (404, "ResourceNotFound", MailboxRefusedError, NO, NO),
    (405, "MethodNotAllowed", RequestRefusedError, NO, NO),
    (408, "RequestTimeout", TransientError, YES, NO),
    (409, "ErrorIrresolvableConflict", TransientError, NO, NO),
    (409, "ConcurrentItemSave", TransientError, YES, NO),
    (410, "Gone", TransientError, YES, NO),
    (412, "ErrorIrresolvableConflict", TransientError, NO, NO),
    (413, "RequestTooLarge", RequestRefusedError, NO, NO),
    (423, "Locked", TransientError, NO, NO),
    (424, "FailedDependency", TransientError, NO, NO),
    (425, "TooEarly", TransientError, NO, NO),
    (429, "ApplicationThrottled", TransientError, NO, NO),
    (500, "ErrorInternalServerError", TransientError, YES, NO),
    (502, "BadGateway", TransientError, YES, NO),
    (503, "ServiceUnavailable", TransientError, YES, NO),
    (504, "UnknownError", TransientError, YES, NO),
    (507, "InsufficientStorage", MailboxRefusedError, NO, NO),
    *((status, "", TransientError, YES, YES) for status in (300, 301, 302, 303, 304, 307, 308)),
    *((status, "", TransientError, YES, YES) for status in (400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410)),
    *(
        (status, "", TransientError, YES, YES)
        for status in (411, 412, 413, 414, 415, 421, 422, 423, 424, 425, 431, 451)
    ),
    (429, "", TransientError, NO, NO),
    *((status, "", TransientError, YES, NO) for status in (500, 501, 502, 503, 504, 507, 509, 520, 599)),
    *((status, "ErrorItemNotFound", TransientError, YES, YES) for status in (0, 100, 200, 204, 302, 600, 999)),
]


@pytest.mark.parametrize(("status", "code", "expected", "unknown", "foreign"), TABLE)
def test_the_whole_table_of_answers(
    status: int, code: str, expected: type[CalsyncError], *, unknown: bool, foreign: bool
) -> None:
    for write in (W, R):
        error = answer(status, code, write=write)
        assert type(error) is expected
        if isinstance(error, TransientError):
            assert (error.unknown, error.foreign) == (unknown and write, foreign)
        if isinstance(error, ForbiddenError):
            assert error.write is write


SOMEBODY_ELSES: list[Any] = [
    None,
    "",
    "PGh0bWw+",
    "<html></html>",
    404,
    [],
    [{"error": {"code": "ErrorItemNotFound"}}],
    {},
    {"error": None},
    {"error": "not_found"},
    {"error": ["ErrorItemNotFound"]},
    {"error": {}},
    {"error": {"message": "ErrorItemNotFound"}},
    {"error": {"code": ""}},
    {"error": {"code": "  "}},
    {"error": {"code": None}},
    {"error": {"code": 404}},
    {"error": {"code": {"value": "ErrorItemNotFound"}}},
    {"code": "ErrorItemNotFound", "message": "not in an error object"},
    {"Error": {"Code": "ErrorItemNotFound"}},
    {"statusCode": 404, "message": "Resource not found"},
    {"odata.error": {"code": "ErrorItemNotFound"}},
]


@pytest.mark.parametrize("body", SOMEBODY_ELSES, ids=repr)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 424])
def test_without_graphs_own_code_a_4xx_proves_nothing(status: int, body: Any) -> None:
    for write in (W, R):
        error = error_of(status, {"Retry-After": "7"}, body, write=write)
        assert type(error) is TransientError
        assert (error.foreign, error.unknown, error.retry_after) == (True, write, 7)


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_without_a_body_is_obeyed(status: int) -> None:
    error = error_of(status, {"Retry-After": "7"}, None, write=True)
    assert isinstance(error, TransientError)
    assert (error.retry_after, error.foreign) == (7, False)


@pytest.mark.parametrize(
    ("headers", "body", "graphs"),
    [
        ({}, {"error": {"code": "InvalidAuthenticationToken"}}, True),
        ({"WWW-Authenticate": 'Bearer realm="", error="invalid_token"'}, None, True),
        ({"www-authenticate": "bearer"}, None, True),
        ({"WWW-Authenticate": 'Negotiate, Bearer realm="x"'}, None, True),
        ({"WWW-Authenticate": 'Basic realm="proxy"'}, None, False),
        ({"WWW-Authenticate": 'Basic realm="bearer of news"'}, None, False),
        ({"Proxy-Authenticate": "Bearer"}, None, False),
        ({}, {"error": "invalid_token"}, False),
        ({}, None, False),
    ],
)
def test_a_401_is_the_tokens_fault_only_if_graph_says_so(headers: dict[str, str], body: Any, *, graphs: bool) -> None:
    assert refuses_token(401, headers, body) is graphs
    assert not refuses_token(403, headers, body)
    error = error_of(401, headers, body, write=True)
    if graphs:
        assert isinstance(error, ForbiddenError)
        assert (error.code, error.write, error.token) == ("InvalidAuthenticationToken", True, True)
    else:
        assert isinstance(error, TransientError)
        assert (error.foreign, error.unknown) == (True, True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 412, 413, 423, 500, 503])
@pytest.mark.parametrize("code", ["ErrorItemNotFound", "ErrorInvalidIdMalformed"])
def test_only_a_400_404_or_410_says_that_an_event_is_gone(status: int, code: str) -> None:
    assert isinstance(answer(status, code), GoneError) is (status in (400, 404, 410))


NOT_GONE = [
    "UnknownError",
    "generalException",
    "NotFound",
    "InternalServerError",
    "BadRequest",
    "ErrorMailboxMoveInProgress",
    "ErrorFolderNotFound",
    "ErrorCalendarFolderNotFound",
    "MailboxInfoStale",
    "OrganizationFromTenantGuidNotFound",
    "SyncStateNotFound",
    "UserNotFound",
    "ErrorItemNotFoundException",
    "InvalidId",
]


@pytest.mark.parametrize("code", NOT_GONE)
@pytest.mark.parametrize("status", [404, 410])
def test_any_other_404_leaves_the_event_in_doubt(status: int, code: str) -> None:
    for write in (W, R):
        error = answer(status, code, write=write)
        assert type(error) is TransientError
        assert (error.unknown, error.foreign) == (write, False)


IN_DOUBT = [
    "UnknownError",
    "ErrorInternalServerError",
    "ErrorInternalServerTransientError",
    "generalException",
    "ErrorServerBusy",
    "ErrorMailboxStoreUnavailable",
    "ErrorMailboxMoveInProgress",
    "MailboxInfoStale",
    "ErrorTimeoutExpired",
    "serviceNotAvailable",
    "ServiceUnavailable",
    "GatewayTimeout",
]
THROTTLING = ["TooManyRequests", "ApplicationThrottled", "activityLimitReached"]


def spellings(code: str) -> list[str]:
    bare = code.removeprefix("Error")
    return [bare, f"Error{bare}", bare.upper(), f"ERROR{bare.lower()}"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 412, 413, 422, 423, 429, 500, 503, 504, 507])
@pytest.mark.parametrize("code", [*IN_DOUBT, *THROTTLING])
def test_an_error_that_graph_calls_transient_is_retried_at_any_status(status: int, code: str) -> None:
    throttled = code in THROTTLING or (status == 429 and code != "UnknownError")
    for spelling in spellings(code):
        for write in (W, R):
            error = answer(status, spelling, write=write, headers={"Retry-After": "7"})
            assert type(error) is TransientError
            assert (error.unknown, error.foreign) == (write and not (throttled and status < 500), False)
            assert error.retry_after == 7


@pytest.mark.parametrize("code", ["InvalidAuthenticationToken", "NoPermissionsInAccessToken", "Unauthorized", "x"])
def test_a_401_is_distinguished_from_a_403(code: str) -> None:
    for status in (401, 403):
        for write in (W, R):
            error = answer(status, code, write=write)
            if isinstance(error, TransientError):
                assert (status, code) == (403, "InvalidAuthenticationToken")
                continue
            assert isinstance(error, ForbiddenError)
            assert (error.code, error.write, error.token) == (code, write, status == 401)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=2)
)


@given(
    st.integers(-1, 1000),
    ANYTHING | st.fixed_dictionaries({"error": ANYTHING | st.fixed_dictionaries({"code": ANYTHING})}),
    st.booleans(),
)
def test_any_answer_becomes_a_known_error(status: int, body: Any, write: bool) -> None:
    assert isinstance(error_of(status, {}, body, write=write), CalsyncError)
