"""One fault: which requests it strikes, its JSON form, and its answer.

`{"match": {"tenant", "mailbox", "operation"}, "fault": kind or status, "when", "probability", "times", "skip",
"retry_after", "hold_seconds", "delay_seconds", "status", "location"}`. Without an operation, it strikes requests on
mailboxes, alone or in a batch. It does not strike whole batches or Entra.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from sandbox.graph.entra import REFUSALS
from sandbox.graph.errors import GraphError
from sandbox.graph.fault_kinds import (
    ENTRA_OPERATIONS,
    MAILBOX_OPERATIONS,
    OPERATIONS,
    REDIRECTS,
    SILENT,
    SPOKEN,
    STATUSES,
)

_NUMBERS = ("probability", "times", "skip", "hold_seconds", "delay_seconds")


@dataclass(slots=True, eq=False)
class Fault:
    """One fault in use. `hits` counts the requests that it has struck, `waiting` those that it holds now."""

    id: str
    kind: str
    operation: str | None = None
    tenant: str | None = None
    mailbox: str | None = None
    when: str = "before"
    probability: float = 1.0
    times: int | None = None
    skip: int = 0
    retry_after: float | str | None = None
    hold_seconds: float = 120.0
    delay_seconds: float = 0.0
    status: int | None = None
    location: str = ""
    hits: int = 0
    waiting: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    struck: asyncio.Event = field(default_factory=asyncio.Event)

    def matches(self, operation: str, tenant: str | None, mailbox: str | None) -> bool:
        return (
            (operation in MAILBOX_OPERATIONS if self.operation is None else self.operation == operation)
            and self.tenant in (None, tenant)
            and self.mailbox in (None, mailbox)
        )

    def hit(self) -> None:
        self.hits += 1
        self.struck.set()
        self.struck = asyncio.Event()

    def release(self) -> int:
        """Releases the requests that are held now. Later requests are held again. Returns how many were held."""
        held = self.waiting
        self.gate.set()
        self.gate = asyncio.Event()
        return held

    async def wait(self, hits: int, seconds: float) -> bool:
        """Returns whether the fault has struck `hits` times within `seconds`."""

        async def enough() -> None:
            while self.hits < hits:
                await self.struck.wait()

        try:
            await asyncio.wait_for(enough(), seconds)
        except TimeoutError:
            return False
        return True

    def error(self, mailbox: str, guid: str) -> GraphError:
        """Returns the error that a struck request on a mailbox gets."""
        if self.kind.isdecimal():
            return GraphError(int(self.kind), "UnknownError", "", retry_after=self.retry_after)
        status, code, message = SPOKEN["gateway-timeout" if self.kind == "late" else self.kind]
        message = message.replace("{mailbox}", mailbox).replace("{guid}", guid)
        wait = 1.0 if status == 429 and self.retry_after is None else self.retry_after
        return GraphError(self.status or status, code, message, retry_after=wait)

    def document(self) -> dict[str, Any]:
        match = {"tenant": self.tenant, "mailbox": self.mailbox, "operation": self.operation}
        return {
            "id": self.id,
            "match": {name: value for name, value in match.items() if value is not None},
            "fault": self.kind,
            "when": self.when,
            "probability": self.probability,
            "times": self.times,
            "skip": self.skip,
            "retry_after": self.retry_after,
            "hold_seconds": self.hold_seconds,
            "delay_seconds": self.delay_seconds,
            "status": self.status,
            "location": self.location,
            "hits": self.hits,
            "waiting": self.waiting,
        }


def read(fault_id: str, document: dict[str, Any]) -> Fault:
    """Reads a fault from its JSON form. Raises ValueError if that is not a valid fault."""
    match = document.get("match") or {}
    known = {"match", "fault", "when", "retry_after", "status", "location", *_NUMBERS}
    unknown = [*(document.keys() - known), *(match.keys() - {"tenant", "mailbox", "operation"})]
    if unknown:
        raise ValueError(f"unknown fields of a fault: {', '.join(sorted(unknown))}")
    kind, when = _kind(document, match.get("operation")), document.get("when", "before")
    if when not in ("before", "after"):
        raise ValueError(f"when must be before or after, not {when!r}")
    fault = Fault(fault_id, kind, match.get("operation"), when=when, location=document.get("location") or "")
    fault.status, fault.retry_after = _status(document, kind), _retry_after(document)
    fault.tenant = match["tenant"].lower() if match.get("tenant") else None
    fault.mailbox = match["mailbox"].strip().lower() if match.get("mailbox") else None
    for name in _NUMBERS:
        value = document.get(name)
        if value is None:
            continue
        if type(value) not in (int, float) or value < 0:
            raise ValueError(f"{name} must be a number and not negative")
        setattr(fault, name, value)
    return fault


def _kind(document: dict[str, Any], operation: str | None) -> str:
    kind = str(document.get("fault"))
    if kind.isdecimal() and 400 <= int(kind) <= 599:
        kind = STATUSES.get(int(kind), kind)
    elif kind not in SPOKEN and kind not in SILENT and kind not in REFUSALS and kind not in REDIRECTS:
        raise ValueError(
            f"there is no fault {kind!r}; use a status from 400 to 599 or one of "
            f"{', '.join([*SPOKEN, *SILENT, *REFUSALS, *REDIRECTS])}"
        )
    if operation is not None and operation not in OPERATIONS:
        raise ValueError(f"there is no operation {operation!r}; the operations are {', '.join(OPERATIONS)}")
    if kind in REFUSALS and operation not in ENTRA_OPERATIONS:
        raise ValueError(f"{kind} works only for the operations {', '.join(ENTRA_OPERATIONS)}")
    if kind == "untagged" and operation != "create":
        raise ValueError("untagged works only for the operation create")
    if (kind in REDIRECTS) is not bool(document.get("location")):
        raise ValueError(f"{', '.join(REDIRECTS)} need a location, and no other fault takes one")
    return kind


def _status(document: dict[str, Any], kind: str) -> int | None:
    status = document.get("status")
    takes_one = kind in SPOKEN or kind in ("empty", "page")
    if status is not None and (not takes_one or type(status) is not int or not 400 <= status <= 599):
        raise ValueError("status must be 400 to 599, and only kinds with an error code, empty and page take it")
    return status


def _retry_after(document: dict[str, Any]) -> float | str | None:
    wait = document.get("retry_after")
    if wait is None or type(wait) is str or (type(wait) in (int, float) and wait >= 0):
        return wait
    raise ValueError("retry_after must be a number and not negative, or the header's text (empty: no header)")
