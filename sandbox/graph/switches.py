"""Behaviours of the sandbox that can be changed while it runs: what nobody could confirm about Graph, and size."""

from dataclasses import dataclass, field, fields
from typing import Any


def _switch(default: Any, meaning: str, choices: tuple[Any, ...] = ()) -> Any:
    return field(default=default, metadata={"meaning": meaning, "choices": choices})


@dataclass(slots=True)
class Switches:
    """Every switch with its default; `describe` tells the meanings."""

    latency_ms: float = _switch(0.0, "How long a request takes, inside batches too (four at a time).")
    body_style: str = _switch(
        "exchange",
        "How a body is rewritten when it is stored: exchange (wrapped, entities decoded, CRLF), minimal (the same "
        "without a meta element), converted-text (Exchange's 'converted from text' head), strange (every line in "
        "a div and a span), none (kept as sent); and so that a reader sees another text: banner (a line before it), "
        "stamped (a line after it, each time another), joined (all in one line).",
        ("exchange", "minimal", "converted-text", "strange", "none", "banner", "stamped", "joined"),
    )
    echo_body: str = _switch(
        "text",
        "Whose body comes back as sent in the answer to the write itself: text bodies, always, never "
        "(microsoft-graph-docs#8215).",
        ("text", "always", "never"),
    )
    transaction_status: int = _switch(400, "Status of ErrorDuplicateTransactionId.", (400, 409))
    transaction_annotation: bool = _switch(
        True, "Whether ErrorDuplicateTransactionId names the event in @event.existingEventId."
    )
    transaction_after_delete: str = _switch(
        "new",
        "A transactionId whose event was deleted: new (another event), same (201 with the deleted event, nothing "
        "made), error (ErrorDuplicateTransactionId).",
        ("new", "same", "error"),
    )
    transaction_after_edit: str = _switch(
        "same",
        "An identical retry after the event was changed: same (201, event as it is now), error.",
        ("same", "error"),
    )
    transaction_same: str = _switch(
        "whole",
        "What a request under a used transactionId must repeat to be the same one: whole (its whole body), times "
        "(subject, start and end only), nothing (201 with the event of the first, whatever the body).",
        ("whole", "times", "nothing"),
    )
    transaction_memory_seconds: float = _switch(31_536_000.0, "How long a transactionId is remembered; 0: never.")
    page_size: int = _switch(10, "Items a page when $top is absent.")
    page_cap: int = _switch(1000, "Most items a page, whatever $top says.")
    page_overlap: bool = _switch(
        False, "Whether the last item of a page comes again as the first of the next (microsoft-graph-docs#16500)."
    )
    next_link_origin: str = _switch("", "The origin that every @odata.nextLink names; empty: the one that was asked.")
    next_link_ring: bool = _switch(
        False, "Whether the second page's @odata.nextLink leads back to the first, without end (sdk-dotnet#3070)."
    )
    strict_id_format: bool = _switch(
        True, "Whether an id in the other format than the request's IdType is malformed (400)."
    )
    deleted_items_by_id: bool = _switch(
        False, "Whether an event that its user deleted is still found by its immutable id."
    )
    copy_carries_tag: bool = _switch(True, "Whether a copy that a user makes carries extended properties.")
    occurrences_carry_tag: bool = _switch(
        False, "Whether the occurrences of a series show its master's extended properties."
    )
    overlap_conflict: bool = _switch(
        True, "Whether a PATCH that another write overtook is refused with 409 (only with latency)."
    )
    background_bumps: int = _switch(0, "How often Exchange changes an event's changeKey by itself after a write.")
    background_bump_delay_ms: float = _switch(0.0, "How long after the write, and after each other.")
    iana_in_bodies: str = _switch(
        "listed",
        "IANA names in start.timeZone and end.timeZone: listed (the documented hundred), all, none.",
        ("listed", "all", "none"),
    )
    zones_refused_in_bodies: str = _switch(
        "",
        "Zone names, comma-separated, that start and end may not have though Prefer may: the zones of a write can be "
        "a smaller subset.",
    )
    answer_zone: str = _switch(
        "preferred",
        "The zone of the times in the answer to a write: preferred (that of Prefer, else UTC), sent (that of the "
        "write: microsoft-graph-docs-contrib#8645), mailbox (the mailbox's setting).",
        ("preferred", "sent", "mailbox"),
    )
    default_reminder_minutes: int = _switch(15, "reminderMinutesBeforeStart of an event that is made without one.")
    code_style: str = _switch(
        "documented",
        "How error codes are spelt: documented, camel (first letter small), bare (without Error at the front).",
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
        200, "Status of a batch in which a request was throttled; the responses are in it all the same.", (200, 424)
    )
    retry_after_seconds: float = _switch(1.0, "Retry-After of the sandbox's own 429 for concurrency.")
    concurrent_limit: int = _switch(4, "Requests of one app in flight on one mailbox.")
    request_limit: int = _switch(10_000, "Requests of one app on one mailbox within request_window_seconds.")
    request_window_seconds: float = _switch(600.0, "The window of request_limit.")
    upload_limit_bytes: int = _switch(
        150_000_000, "Bytes of bodies of one app for one mailbox within upload_window_seconds."
    )
    upload_window_seconds: float = _switch(300.0, "The window of upload_limit_bytes.")
    app_request_limit: int = _switch(130_000, "Requests of one app on all mailboxes within app_window_seconds.")
    app_window_seconds: float = _switch(10.0, "The window of app_request_limit.")
    no_roles_code: str = _switch(
        "ErrorAccessDenied",
        "Code of the 403 for a token without any role.",
        ("ErrorAccessDenied", "NoPermissionsInAccessToken"),
    )
    no_roles_status: int = _switch(403, "Status of that refusal if its code is NoPermissionsInAccessToken.", (403, 401))
    token_lifetime_seconds: int = _switch(3599, "expires_in of new tokens.")
    token_valid_seconds: float = _switch(
        0.0, "How long a new token is valid indeed, whatever expires_in says; 0: as long as it says."
    )
    token_refresh_seconds: int = _switch(0, "refresh_in of new tokens; 0: none is told.")
    token_length: int = _switch(1500, "Characters of an access token, as long as a real one.")
    log_size: int = _switch(1000, "How many requests the log keeps.")

    def change(self, values: dict[str, Any]) -> None:
        """Sets the given switches, all or none. Raises ValueError for an unknown one or a wrong value."""
        known = {each.name: each for each in fields(self)}
        checked: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"no switch {name!r}; there are {', '.join(sorted(known))}")
            checked[name] = _fit(name, value, known[name].default, known[name].metadata["choices"])
        for name, value in checked.items():
            setattr(self, name, value)

    def describe(self) -> dict[str, dict[str, Any]]:
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
