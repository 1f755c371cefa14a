"""Graph's errors, sorted by what to do next. The table is data; codes are compared without case or ``Error`` prefix.

Sources: Microsoft's error reference, and the threads cited in docs/facts/graph.md, part 5.
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
    TransientError,
    ZoneRefusedError,
)
from consumer.retry_after import retry_after


class Kind(Enum):
    """What an error calls for."""

    WAIT = auto()
    """Try again later; a write may have been carried out if the status is 5xx or 408."""
    DOUBT = auto()
    """Try again later: something failed inside Graph, so a write may have been carried out with any status."""
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
    """A fault of this service."""
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
    "irresolvableconflict": Kind.CONFLICT,
    "concurrentitemsave": Kind.CONFLICT,
    "duplicatetransactionid": Kind.DUPLICATE,
    "invalidauthenticationtoken": Kind.WAIT,
    "nopermissionsinaccesstoken": Kind.FORBIDDEN,
    "timezonenotsupportedexception": Kind.ZONE,
    "timezonenotsupported": Kind.ZONE,
}
_BY_STATUS: Final = {
    403: Kind.FORBIDDEN,
    404: Kind.DOUBT,
    408: Kind.WAIT,
    409: Kind.CONFLICT,
    410: Kind.DOUBT,
    412: Kind.CONFLICT,
    423: Kind.WAIT,
    424: Kind.WAIT,
    425: Kind.WAIT,
    429: Kind.WAIT,
    507: Kind.PARK_HOURLY,
}
_GONE_CODES: Final = frozenset({"itemnotfound", "invalididmalformed"})
_GONE_STATUSES: Final = frozenset({400, 404, 410})
"""Only these codes with one of these statuses say that an event is gone. A 404 with any other code is about something
else: a mailbox on its way to another server, a folder, a tenant, or Graph's own trouble."""
_UNKNOWN: Final = "unknownerror"
"""Graph could not read what the server behind it answered."""
_DOUBT: Final = frozenset(
    {
        _UNKNOWN,
        "adunavailable",
        "badgateway",
        "connectionfailed",
        "connectionfailedtransienterror",
        "gatewaytimeout",
        "generalexception",
        "insufficientresources",
        "internalservererror",
        "internalservertransienterror",
        "mailboxfailover",
        "mailboxinfostale",
        "mailboxmoveinprogress",
        "mailboxstoreunavailable",
        "requesttimeout",
        "serverbusy",
        "servicenotavailable",
        "serviceunavailable",
        "timeoutexpired",
    }
)
"""Transient with any status: Exchange's own status does not always survive the way through Graph. The names are
Graph's and those of EWS (``ResponseCode``)."""
_THROTTLING: Final = frozenset(
    {"activitylimitreached", "applicationthrottled", "exceededconnectioncount", "toomanyrequests"}
)
_BEARER: Final = re.compile(r"(?:^|,)\s*bearer\b", re.IGNORECASE)
_CHALLENGE: Final = "InvalidAuthenticationToken"
"""Graph's code where a challenge for another token comes without one."""
_CONFLICT_SECONDS: Final = 0.2


def code_of(body: Any) -> str:
    """Graph's ``error.code`` in a decoded body; empty if there is none, so that the answer is somebody else's."""
    error = body.get("error") if isinstance(body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code.strip() if isinstance(code, str) else ""


def kind_of(status: int, code: str) -> Kind:
    """What an answer calls for: by its code, else by its status, else by its status's class.

    A 401 is judged as a 403 is: with one and the same token, Graph may refuse one mailbox and serve its neighbours.

    An error without a code says nothing about what was asked. Graph itself leaves the code out at times when it is
    overloaded, so a 429 and a 5xx are waits all the same.
    """
    if not 400 <= status <= 599:
        return Kind.FOREIGN
    if not code:
        return Kind.WAIT if status == 429 or status >= 500 else Kind.FOREIGN
    plain = code.casefold().removeprefix("error")
    if plain in _THROTTLING or (plain in _DOUBT and status == 429 and plain != _UNKNOWN):
        return Kind.WAIT
    if plain in _DOUBT:
        return Kind.DOUBT
    if status == 401:
        return Kind.FORBIDDEN
    if plain in _GONE_CODES and status in _GONE_STATUSES:
        return Kind.GONE
    known = _BY_CODE.get(plain) or _BY_STATUS.get(status)
    if known is not None:
        return known
    return Kind.MALFORMED if status < 500 else Kind.WAIT


def error_of(status: int, headers: Mapping[str, str], body: Any, *, write: bool) -> CalsyncError:
    """The domain's error for an answer that is not a success. For a 401, it assumes that the token was fresh.

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
        kind, name = Kind.FORBIDDEN, _CHALLENGE
    wait = retry_after(headers, own=is_graphs(status, headers, body))
    match kind:
        case Kind.FOREIGN:
            return TransientError(f"{name} is not an answer of Graph", retry_after=wait, unknown=write, foreign=True)
        case Kind.GONE:
            return GoneError(name)
        case Kind.PARK:
            return MailboxRefusedError(name)
        case Kind.PARK_HOURLY:
            return MailboxRefusedError(name, hourly=True)
        case Kind.FORBIDDEN:
            return ForbiddenError(name, write=write, token=status == 401)
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
        case Kind.WAIT | Kind.DOUBT:
            unknown = write and (kind is Kind.DOUBT or status >= 500 or status == 408)
            return TransientError(f"{status} {name}", retry_after=wait, unknown=unknown)


def is_graphs(status: int, headers: Mapping[str, str], body: Any) -> bool:
    """Whether an error is Graph's own: it has Graph's ``error.code``, or challenges for another token."""
    return 400 <= status <= 599 and (bool(code_of(body)) or refuses_token(status, headers, body))


def refuses_token(status: int, headers: Mapping[str, str], body: Any) -> bool:
    """Whether a 401 is Graph's: it has a code, or asks for a bearer token (RFC 6750, section 3).

    A proxy's 401 says nothing about the token.
    """
    if status != 401:
        return False
    challenges = (value for name, value in headers.items() if name.lower() == "www-authenticate")
    return bool(code_of(body)) or any(_BEARER.search(str(value)) for value in challenges)
