"""Graph's errors, sorted by what to do next. The table is data; codes are compared without case or ``Error`` prefix.

Sources: Microsoft's error reference, and the threads cited in the project's Graph facts, part 5.
"""

import re
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
from consumer.retry_after import retry_after


class Kind(Enum):
    """What an error calls for."""

    WAIT = auto()
    """Try again later; a write may have been carried out if the status is 5xx or 408."""
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
    FOREIGN = auto()
    """Not Graph's answer, so it proves nothing: a write may have been carried out."""


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
_BEARER: Final = re.compile(r"(?:^|,)\s*bearer\b", re.IGNORECASE)
_CONFLICT_SECONDS: Final = 0.2


def code_of(body: Any) -> str:
    """Graph's ``error.code`` in a decoded body; empty if there is none, so that the answer is somebody else's."""
    error = body.get("error") if isinstance(body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code.strip() if isinstance(code, str) else ""


def kind_of(status: int, code: str) -> Kind:
    """What an answer calls for: by its code, else by its status, else by its status's class.

    Without a code it says nothing about what was asked. Graph itself leaves the code out at times when it is
    overloaded, so a 429 and a 5xx are waits all the same.
    """
    if not 400 <= status <= 599:
        return Kind.FOREIGN
    if not code:
        return Kind.WAIT if status == 429 or status >= 500 else Kind.FOREIGN
    known = _BY_CODE.get(code.casefold().removeprefix("error")) or _BY_STATUS.get(status)
    if known is not None:
        return known
    return Kind.MALFORMED if status < 500 else Kind.WAIT


def error_of(status: int, headers: Mapping[str, str], body: Any, *, write: bool) -> CalsyncError:
    """The domain's error for an answer that is no success.

    Args:
        status: of the answer; a success or a redirect is a foreign answer here.
        headers: for ``Retry-After`` and ``WWW-Authenticate``.
        body: decoded JSON; anything else is somebody else's.
        write: whether carrying the request out twice matters.
    """
    code = code_of(body)
    name = code or f"HTTP {status}"
    kind = kind_of(status, code)
    if kind is Kind.FOREIGN and refuses_token(status, headers, body):
        kind = Kind.WAIT
    wait = retry_after(headers)
    match kind:
        case Kind.FOREIGN:
            return TransientError(f"{name} is no answer of Graph", retry_after=wait, unknown=write, foreign=True)
        case Kind.GONE:
            return GoneError(name)
        case Kind.PARK:
            return MailboxRefusedError(name)
        case Kind.PARK_HOURLY:
            return MailboxRefusedError(name, hourly=True)
        case Kind.FORBIDDEN:
            return ForbiddenError(name, write=write)
        case Kind.DUPLICATE:
            existing = body["error"].get("@event.existingEventId")
            return DuplicateTransactionError(existing if isinstance(existing, str) else None)
        case Kind.ZONE:
            return ZoneRefusedError(status, name)
        case Kind.MALFORMED:
            return RequestRefusedError(status, name)
        case Kind.CONFLICT:
            # ConcurrentItemSave came with events that had been made all the same (msgraph-sdk-ruby#38).
            unknown = write and (status >= 500 or code.casefold().endswith("concurrentitemsave"))
            return TransientError(
                f"{status} {name}", retry_after=_CONFLICT_SECONDS if wait is None else wait, unknown=unknown
            )
        case Kind.WAIT:
            unknown = write and (status >= 500 or status == 408)
            return TransientError(f"{status} {name}", retry_after=wait, unknown=unknown)


def refuses_token(status: int, headers: Mapping[str, str], body: Any) -> bool:
    """Whether a 401 is Graph's: it has a code, or asks for a bearer token (RFC 6750, section 3).

    A proxy's 401 says nothing about the token.
    """
    if status != 401:
        return False
    challenges = (value for name, value in headers.items() if name.lower() == "www-authenticate")
    return bool(code_of(body)) or any(_BEARER.search(str(value)) for value in challenges)


def refused_token(body: Any) -> SiteRefusedError:
    """What it means that even a new token is refused with 401."""
    code = code_of(body)
    if code and kind_of(401, code) is Kind.FORBIDDEN:
        return SiteRefusedError(
            code,
            "the app's tokens hold no permissions: an administrator must grant admin consent for Calendars.ReadWrite "
            "and MailboxSettings.Read to the app registration",
        )
    return SiteRefusedError(
        code or "InvalidAuthenticationToken",
        "Graph refuses the tokens that Entra issues for this app: check the tenant",
    )
