"""The sandbox's switches, which can be changed while it runs: unconfirmed behaviour of Graph, limits and sizes."""

from dataclasses import dataclass, field, fields
from typing import Any


def _switch(default: Any, meaning: str, choices: tuple[Any, ...] = ()) -> Any:
    return field(default=default, metadata={"meaning": meaning, "choices": choices})


@dataclass(slots=True)
class Switches:
    """Every switch with its default. `describe` returns the meanings."""

    latency_ms: float = _switch(0.0, "How long a request takes. Requests inside a batch take as long (four at a time).")
    body_style: str = _switch(
        "exchange",
        "How a body is rewritten when it is stored. These keep the text: exchange (wrapped, entities decoded, CRLF), "
        "minimal (the same without a meta element), converted-text (with Exchange's 'converted from text' head), "
        "strange (every line in a div and a span), none (kept as sent). These change the text: banner (a line before "
        "it), stamped (a line after it, different at each write), joined (all in one line).",
        ("exchange", "minimal", "converted-text", "strange", "none", "banner", "stamped", "joined"),
    )
    echo_body: str = _switch(
        "text",
        "Which bodies the answer to the write itself returns as they were sent: text (text bodies only), always, never "
        "(microsoft-graph-docs#8215).",
        ("text", "always", "never"),
    )
    transaction_status: int = _switch(400, "The status of ErrorDuplicateTransactionId.", (400, 409))
    transaction_annotation: bool = _switch(
        True, "Whether ErrorDuplicateTransactionId names the event in @event.existingEventId."
    )
    transaction_after_delete: str = _switch(
        "new",
        "What a create gets if the event of its transactionId was deleted: new (another event), same (201 with the "
        "deleted event; nothing is created), error (ErrorDuplicateTransactionId).",
        ("new", "same", "error"),
    )
    transaction_after_edit: str = _switch(
        "same",
        "What an identical retry gets after the event was changed: same (201 with the event as it is now), error.",
        ("same", "error"),
    )
    transaction_same: str = _switch(
        "whole",
        "What a request with a used transactionId must repeat to count as the same request: whole (the whole body), "
        "times (subject, start and end only), nothing (any body gets 201 with the first request's event).",
        ("whole", "times", "nothing"),
    )
    transaction_memory_seconds: float = _switch(31_536_000.0, "How long a transactionId is remembered. 0: not at all.")
    page_size: int = _switch(10, "Items on a page if $top is absent.")
    page_cap: int = _switch(1000, "The most items on a page, even if $top asks for more.")
    page_overlap: bool = _switch(
        False, "Whether the last item of a page is also the first item of the next page (microsoft-graph-docs#16500)."
    )
    next_link_origin: str = _switch("", "The origin in every @odata.nextLink. Empty: the origin of the request.")
    next_link_ring: bool = _switch(
        False, "Whether @odata.nextLink of the second page leads back to the first page, without end (sdk-dotnet#3070)."
    )
    strict_id_format: bool = _switch(
        True, "Whether an id is malformed (400) if its format is not that of the request's IdType."
    )
    deleted_items_by_id: bool = _switch(
        False, "Whether an event that its user deleted can still be found by its immutable id."
    )
    copy_carries_tag: bool = _switch(True, "Whether a copy that a user makes carries extended properties.")
    occurrences_carry_tag: bool = _switch(
        False, "Whether the occurrences of a series show its master's extended properties."
    )
    overlap_conflict: bool = _switch(
        True, "Whether a PATCH is refused with 409 if another write overtook it (only with latency)."
    )
    background_bumps: int = _switch(0, "How many times Exchange changes an event's changeKey by itself after a write.")
    background_bump_delay_ms: float = _switch(0.0, "The delay before the first such change, and between two.")
    iana_in_bodies: str = _switch(
        "listed",
        "Which IANA names start.timeZone and end.timeZone may have: listed (the documented hundred), all, none.",
        ("listed", "all", "none"),
    )
    zones_refused_in_bodies: str = _switch(
        "",
        "Zone names, separated by commas, that are refused in start and end but accepted in Prefer: a write may accept "
        "fewer zones.",
    )
    answer_zone: str = _switch(
        "preferred",
        "The zone of the times in the answer to a write: preferred (the zone in Prefer, or UTC without one), sent (the "
        "zone in the write: microsoft-graph-docs-contrib#8645), mailbox (the mailbox's setting).",
        ("preferred", "sent", "mailbox"),
    )
    default_reminder_minutes: int = _switch(15, "reminderMinutesBeforeStart of an event that is created without one.")
    code_style: str = _switch(
        "documented",
        "How error codes are spelt: documented, camel (with a small first letter), bare (without Error at the front).",
        ("documented", "camel", "bare"),
    )
    batch_order: str = _switch(
        "shuffled", "The order of the responses in a batch's answer: shuffled, asked.", ("shuffled", "asked")
    )
    batch_prefer: str = _switch(
        "all",
        "Which of several comma-separated preferences of one request in a batch are applied: all, first.",
        ("all", "first"),
    )
    throttled_batch_status: int = _switch(
        200,
        "The status of a batch in which a request was throttled. It contains the responses in either case.",
        (200, 424),
    )
    retry_after_seconds: float = _switch(1.0, "Retry-After in the sandbox's own 429 for too many requests at once.")
    concurrent_limit: int = _switch(4, "The most requests of one app in flight on one mailbox.")
    request_limit: int = _switch(10_000, "The most requests of one app on one mailbox in request_window_seconds.")
    request_window_seconds: float = _switch(600.0, "The window of request_limit.")
    upload_limit_bytes: int = _switch(
        150_000_000, "The most bytes of bodies that one app sends for one mailbox in upload_window_seconds."
    )
    upload_window_seconds: float = _switch(300.0, "The window of upload_limit_bytes.")
    app_request_limit: int = _switch(130_000, "The most requests of one app on all mailboxes in app_window_seconds.")
    app_window_seconds: float = _switch(10.0, "The window of app_request_limit.")
    no_roles_code: str = _switch(
        "ErrorAccessDenied",
        "The code of the 403 for a token without any role.",
        ("ErrorAccessDenied", "NoPermissionsInAccessToken"),
    )
    no_roles_status: int = _switch(
        403, "The status of that refusal if its code is NoPermissionsInAccessToken.", (403, 401)
    )
    token_lifetime_seconds: int = _switch(3599, "expires_in of new tokens.")
    token_valid_seconds: float = _switch(
        0.0, "How long a new token is really valid, regardless of expires_in. 0: as long as expires_in says."
    )
    token_refresh_seconds: int = _switch(0, "refresh_in of new tokens. 0: the answer has none.")
    token_length: int = _switch(
        1500, "The number of characters of an access token. The default is the length of a real one."
    )
    log_size: int = _switch(1000, "The number of requests that the log keeps.")

    def change(self, values: dict[str, Any]) -> None:
        """Sets the given switches: all of them, or none. Raises ValueError for an unknown switch or a wrong value."""
        known = {each.name: each for each in fields(self)}
        checked: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"no switch {name!r}; there are {', '.join(sorted(known))}")
            checked[name] = _fit(name, value, known[name].default, known[name].metadata["choices"])
        for name, value in checked.items():
            setattr(self, name, value)

    def describe(self) -> dict[str, dict[str, Any]]:
        """Returns the value, default, meaning and choices of each switch, by name."""
        return {
            each.name: {
                "value": getattr(self, each.name),
                "default": each.default,
                "meaning": each.metadata["meaning"],
                **({"choices": list(each.metadata["choices"])} if each.metadata["choices"] else {}),
            }
            for each in fields(self)
        }


def _fit(name: str, value: Any, default: Any, choices: tuple[Any, ...]) -> Any:
    wanted = type(default)
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise ValueError(f"switch {name} takes {wanted.__name__}, not {value!r}")
    if choices and value not in choices:
        raise ValueError(f"switch {name} takes one of {', '.join(map(str, choices))}, not {value!r}")
    if wanted in (int, float) and value < 0:
        raise ValueError(f"switch {name} is not negative")
    return value
