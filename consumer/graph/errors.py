"""Graph's errors, sorted by what to do next. The table is data; codes are compared without case or ``Error`` prefix.

Sources: Microsoft's error reference, and the threads cited in the project's Graph facts, part 5.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final

from consumer.domain.errors import (
    CalsyncError,
    DuplicateTransactionError,
    ForbiddenError,
    GoneError,
    MailboxRefusedError,
    RequestRefusedError,
    SiteRefusedError,
    TransientError,
    ZoneRefusedError,
)


class Kind(Enum):
    """What an error calls for."""

    WAIT = auto()
    """Try again later; a write may have been carried out if the status is 5xx."""
    CONFLICT = auto()
    """Somebody else wrote at the same moment: look and try again."""
    GONE = auto()
    PARK = auto()
    PARK_HOURLY = auto()
    FORBIDDEN = auto()
    DUPLICATE = auto()
    ZONE = auto()
    """The time zone is not known there: written in UTC it is accepted."""
    MALFORMED = auto()
    """A fault of ours."""


_BY_CODE: Final = {
    "mailboxnotenabledforrestapi": Kind.PARK,
    "mailboxnotsupportedforrestapi": Kind.PARK,
    "invaliduser": Kind.PARK,
    "resourcenotfound": Kind.PARK,
    "request_resourcenotfound": Kind.PARK,
    "nonexistentmailbox": Kind.PARK,
    "quotaexceeded": Kind.PARK_HOURLY,
    "itemnotfound": Kind.GONE,
    "invalididmalformed": Kind.GONE,
    "irresolvableconflict": Kind.CONFLICT,
    "concurrentitemsave": Kind.CONFLICT,
    "duplicatetransactionid": Kind.DUPLICATE,
    "invalidauthenticationtoken": Kind.WAIT,
    "nopermissionsinaccesstoken": Kind.FORBIDDEN,
    "timezonenotsupportedexception": Kind.ZONE,
    "timezonenotsupported": Kind.ZONE,
}
_BY_STATUS: Final = {
    401: Kind.WAIT,
    403: Kind.FORBIDDEN,
    404: Kind.GONE,
    408: Kind.WAIT,
    409: Kind.CONFLICT,
    410: Kind.GONE,
    412: Kind.CONFLICT,
    423: Kind.WAIT,
    424: Kind.WAIT,
    425: Kind.WAIT,
    429: Kind.WAIT,
    507: Kind.PARK_HOURLY,
}
_CONFLICT_SECONDS: Final = 0.2


def kind_of(status: int, code: str) -> Kind:
    """What an answer calls for: by its code, else by its status, else by its status's class."""
    known = _BY_CODE.get(code.casefold().removeprefix("error")) or _BY_STATUS.get(status)
    if known is not None:
        return known
    return Kind.MALFORMED if 400 <= status < 500 else Kind.WAIT


def error_of(status: int, headers: Mapping[str, str], body: Any, *, write: bool) -> CalsyncError:
    """The domain's error for an answer that is no success."""
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    code = str(error.get("code") or "")
    name = code or f"HTTP {status}"
    match kind_of(status, code):
        case Kind.GONE:
            return GoneError(name)
        case Kind.PARK:
            return MailboxRefusedError(name)
        case Kind.PARK_HOURLY:
            return MailboxRefusedError(name, hourly=True)
        case Kind.FORBIDDEN:
            return ForbiddenError(name, write=write)
        case Kind.DUPLICATE:
            existing = error.get("@event.existingEventId")
            return DuplicateTransactionError(existing if isinstance(existing, str) else None)
        case Kind.ZONE:
            return ZoneRefusedError(status, name)
        case Kind.MALFORMED:
            return RequestRefusedError(status, name)
        case Kind.CONFLICT:
            # ConcurrentItemSave came with events that had been made all the same (msgraph-sdk-ruby#38).
            unknown = write and (status >= 500 or code.casefold().endswith("concurrentitemsave"))
            wait = retry_after(headers)
            return TransientError(
                f"{status} {name}", retry_after=_CONFLICT_SECONDS if wait is None else wait, unknown=unknown
            )
        case Kind.WAIT:
            return TransientError(f"{status} {name}", retry_after=retry_after(headers), unknown=write and status >= 500)


def refused_token(body: Any) -> SiteRefusedError:
    """What it means that even a new token is refused with 401."""
    error = body.get("error") if isinstance(body, dict) else None
    code = str(error.get("code") or "") if isinstance(error, dict) else ""
    if kind_of(401, code) is Kind.FORBIDDEN:
        return SiteRefusedError(
            code,
            "the app's tokens hold no permissions: an administrator must grant admin consent for Calendars.ReadWrite "
            "and MailboxSettings.Read to the app registration",
        )
    return SiteRefusedError(
        code or "InvalidAuthenticationToken",
        "Graph refuses the tokens that Entra issues for this app: check the tenant",
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a ``Retry-After``, which Graph also gives as a fraction; ``None`` without a usable one."""
    for name, value in headers.items():
        if name.lower() == "retry-after":
            try:
                return max(0.0, min(float(value), 3600.0))
            except (ValueError, TypeError):
                return None
    return None
