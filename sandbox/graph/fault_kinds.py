"""The kinds of faults: those with an error code, and those without (docs/facts/graph.md, part 5)."""

from sandbox.graph import errors
from sandbox.graph.errors import CONFLICT, RAOP

MAILBOX_OPERATIONS = ("create", "update", "delete", "get", "list", "view", "timezone")
ENTRA_OPERATIONS = ("token", "openid", "discovery")
REDIRECTS = ("301", "302", "303", "307", "308")
OPERATIONS = (*MAILBOX_OPERATIONS, "batch", *ENTRA_OPERATIONS)
SILENT = {
    "timeout": "no answer: the connection is cut after hold_seconds (its place in the limit is freed)",
    "cut": "no answer: the connection is cut at once",
    "hold": "the request is applied; the answer waits until it is released, at most hold_seconds",
    "slow": "the request waits hold_seconds, then it is applied and answered correctly",
    "late": "504 at once; the request is applied hold_seconds later, or when it is released",
    "empty-503": "503 with an empty text/plain body",
    "proxy-page": "200 with an html page instead of the answer, as a proxy sends it",
    "empty": "`status` (400 unless given) with an empty body and no error code",
    "page": "`status` (404 unless given) with an html page and no error code, as an ingress sends it",
    "omitted": "the batch's answer has no response for this request; outside a batch, the connection is cut",
}
_INTERNAL = "An internal server error occurred. The operation failed."
_UNAVAILABLE = "The service is temporarily unavailable. Please try again later."
SPOKEN: dict[str, tuple[int, str, str]] = {
    "throttled": (429, "ApplicationThrottled", "Application is over its MailboxConcurrency limit."),
    "too-many-requests": (429, "TooManyRequests", "Please retry again later."),
    "service-unavailable": (503, "ServiceUnavailable", _UNAVAILABLE),
    "server-busy": (503, "ErrorServerBusy", "The server cannot service this request right now."),
    "store-unavailable": (
        503,
        "ErrorMailboxStoreUnavailable",
        "The mailbox database is temporarily unavailable.",
    ),
    "move-in-progress": (503, "ErrorMailboxMoveInProgress", errors.move_in_progress("{guid}").message),
    "mailbox-info-stale": (503, "MailboxInfoStale", errors.info_stale().message),
    "concurrent-save-503": (503, "ConcurrentItemSave", "The item was saved by another request."),
    "untagged": (503, "ConcurrentItemSave", "The item was saved by another request."),
    "gateway-timeout": (504, "UnknownError", ""),
    "internal-error": (500, "ErrorInternalServerError", _INTERNAL),
    "transient-error": (500, "ErrorInternalServerTransientError", _INTERNAL),
    "bandwidth": (509, "BandwidthLimitExceeded", "The bandwidth limit was exceeded."),
    "token-expired": (
        401,
        "InvalidAuthenticationToken",
        "Lifetime validation failed, the token is expired.",
    ),
    "no-permissions": (
        403,
        "NoPermissionsInAccessToken",
        "The token contains no permissions, or permissions can not be understood.",
    ),
    "access-denied": (403, "ErrorAccessDenied", errors.access_denied().message),
    "access-policy": (403, "ErrorAccessDenied", RAOP),
    "quota-exceeded": (403, "ErrorQuotaExceeded", errors.quota_exceeded().message),
    "mailbox-not-enabled": (404, "MailboxNotEnabledForRESTAPI", errors.not_enabled().message),
    "invalid-user": (404, "ErrorInvalidUser", "The requested user '{mailbox}' is invalid."),
    "resource-not-found": (404, "ResourceNotFound", "Resource could not be discovered."),
    "user-not-found": (
        404,
        "Request_ResourceNotFound",
        "Resource '{mailbox}' does not exist or one of its queried reference-property objects are not present.",
    ),
    "item-not-found": (404, "ErrorItemNotFound", errors.item_not_found().message),
    "malformed-id": (400, "ErrorInvalidIdMalformed", "Id is malformed."),
    "invalid-request": (400, "ErrorInvalidRequest", "Your request can't be completed."),
    "validation-failure": (400, "ErrorPropertyValidationFailure", errors.validation_failure().message),
    "unknown-zone": (400, "TimeZoneNotSupportedException", errors.unknown_zone("").message),
    "duplicate-transaction": (400, "ErrorDuplicateTransactionId", errors.duplicate_transaction(400).message),
    "failed-dependency": (424, "FailedDependency", "A request that this request depends on has failed."),
    "conflict": (409, "ErrorIrresolvableConflict", CONFLICT),
    "concurrent-save": (409, "ConcurrentItemSave", "The item was saved by another request."),
    "precondition-failed": (412, "ErrorIrresolvableConflict", CONFLICT),
    "gone": (410, "SyncStateNotFound", "The sync state generation is not found; generation=149."),
}
STATUSES = {
    400: "invalid-request",
    401: "token-expired",
    403: "access-denied",
    404: "item-not-found",
    409: "conflict",
    410: "gone",
    412: "precondition-failed",
    424: "failed-dependency",
    429: "throttled",
    500: "internal-error",
    503: "service-unavailable",
    504: "gateway-timeout",
    509: "bandwidth",
}
