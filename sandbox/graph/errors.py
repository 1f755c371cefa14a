"""Answers, and the errors of Graph (docs/facts/graph.md, part 5)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

JSON_TYPE = "application/json"


@dataclass(slots=True)
class Answer:
    """The answer to one request: a status, a JSON body (or none), and further headers."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE


class GraphError(Exception):
    """A request that Graph refuses.

    `annotations` are members of the error object beside code and message, such as `@event.existingEventId`;
    `retry_after` is in seconds, or the header's own text.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after: float | str | None = None,
        annotations: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.annotations = annotations or {}

    def answer(self, request_id: str, client_request_id: str, code_style: str = "documented") -> Answer:
        """Returns the error as Graph writes it, with its code spelt as Switches.code_style says."""
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        inner: dict[str, Any] = {
            "date": date,
            "request-id": request_id,
            "client-request-id": client_request_id,
        }
        if self.code == "TooManyRequests":  # the gateway's own sample differs: docs/facts/graph.md, part 5
            inner = {"code": "429", "message": "Please retry after", "status": "429"} | inner
        error = {
            "code": _spelt(self.code, code_style),
            "message": self.message,
            **self.annotations,
            "innerError": inner,
        }
        return Answer(self.status, orjson.dumps({"error": error}), retry_header(self.retry_after))


def retry_header(wait: float | str | None) -> dict[str, str]:
    """Returns the Retry-After header for a number of seconds or a text. None and an empty text give no header."""
    if wait is None or wait == "":
        return {}
    return {"Retry-After": wait if isinstance(wait, str) else f"{wait:g}"}


def _spelt(code: str, style: str) -> str:
    if style == "bare":
        return code.removeprefix("Error")
    return code[:1].lower() + code[1:] if style == "camel" else code


class LostAnswerError(Exception):
    """The client gets no answer: the connection is cut after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer, connection cut after {seconds:g} s")
        self.seconds = seconds


class OmittedAnswerError(LostAnswerError):
    """A batch's answer has no response for this request."""

    def __init__(self) -> None:
        super().__init__(0)


CONFLICT = (
    "The send or update operation could not be performed because the change key passed in the request does not "
    "match the current change key for the item."
)
RAOP = "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings."


def item_not_found() -> GraphError:
    return GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.")


def invalid_request(message: str) -> GraphError:
    return GraphError(400, "ErrorInvalidRequest", message)


def unreadable(message: str) -> GraphError:
    """Returns the error for a body whose JSON does not fit the type."""
    return GraphError(400, "RequestBodyRead", message)


def validation_failure() -> GraphError:
    return GraphError(400, "ErrorPropertyValidationFailure", "At least one property failed validation.")


def duplicate_transaction(status: int, event_id: str | None = None) -> GraphError:
    return GraphError(
        status,
        "ErrorDuplicateTransactionId",
        "Your request can't be completed. The TransactionId specified in the request has already been used to "
        "create a different event.",
        annotations=None if event_id is None else {"@event.existingEventId": event_id},
    )


def irresolvable_conflict(status: int) -> GraphError:
    return GraphError(status, "ErrorIrresolvableConflict", CONFLICT)


def unknown_zone(name: str) -> GraphError:
    return GraphError(
        400,
        "TimeZoneNotSupportedException",
        f"A valid TimeZone value must be specified. The following TimeZone value is not supported: '{name}'.",
    )


def info_stale() -> GraphError:
    return GraphError(503, "MailboxInfoStale", "Mailbox info is stale.")


def access_denied() -> GraphError:
    return GraphError(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")


def invalid_user(address: str) -> GraphError:
    return GraphError(404, "ErrorInvalidUser", f"The requested user '{address}' is invalid.")


def move_in_progress(guid: str) -> GraphError:
    return GraphError(
        503,
        "ErrorMailboxMoveInProgress",
        "Mailbox move in progress. Try again later., Cross Server access is not allowed for mailbox " + guid,
    )


def not_enabled() -> GraphError:
    return GraphError(
        404,
        "MailboxNotEnabledForRESTAPI",
        "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
    )


def quota_exceeded() -> GraphError:
    return GraphError(403, "ErrorQuotaExceeded", "Cannot save changes made to an item to store.")
