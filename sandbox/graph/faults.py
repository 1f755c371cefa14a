"""Faults that are set from outside, and what a request that one strikes gets.

A fault is `{"match": {"tenant", "mailbox", "operation"}, "fault": kind or status, "when", "probability", "times",
"skip", "retry_after", "hold_seconds"}`; the first that matches strikes. Without an operation it strikes requests
on mailboxes, single or in a batch, and neither whole batches nor Entra.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox.graph.entra import REFUSALS
from sandbox.graph.errors import Answer, GraphError, LostAnswerError
from sandbox.graph.fault_kinds import (
    ENTRA_OPERATIONS,
    MAILBOX_OPERATIONS,
    OPERATIONS,
    SILENT,
    SPOKEN,
    STATUSES,
)


@dataclass(slots=True, eq=False)
class Fault:
    """One fault that is set. `hits` counts whom it struck, `waiting` whom it holds now."""

    id: str
    kind: str
    operation: str | None = None
    tenant: str | None = None
    mailbox: str | None = None
    when: str = "before"
    probability: float = 1.0
    times: int | None = None
    skip: int = 0
    retry_after: float | None = None
    hold_seconds: float = 120.0
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
        """Lets go what is held now; what comes later is held anew. Returns how many were held."""
        held = self.waiting
        self.gate.set()
        self.gate = asyncio.Event()
        return held

    async def wait(self, hits: int, seconds: float) -> bool:
        """Whether it struck that often within that time."""

        async def enough() -> None:
            while self.hits < hits:
                await self.struck.wait()

        try:
            await asyncio.wait_for(enough(), seconds)
        except TimeoutError:
            return False
        return True

    def error(self, mailbox: str, guid: str) -> GraphError:
        """What a struck request on a mailbox is told."""
        if self.kind.isdecimal():
            return GraphError(int(self.kind), "UnknownError", "", retry_after=self.retry_after)
        status, code, message = SPOKEN["gateway-timeout" if self.kind == "late" else self.kind]
        message = message.replace("{mailbox}", mailbox).replace("{guid}", guid)
        wait = 1.0 if status == 429 and self.retry_after is None else self.retry_after
        return GraphError(status, code, message, retry_after=wait)

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
            "hits": self.hits,
            "waiting": self.waiting,
        }


class Faults:
    """The faults that are set. `closing` frees everything that hangs when the sandbox stops."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._faults: dict[str, Fault] = {}
        self._count = 0
        self._late: set[asyncio.Task[None]] = set()
        self.closing = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self._faults)

    def __getitem__(self, fault_id: str) -> Fault:
        return self._faults[fault_id]

    def add(self, document: dict[str, Any]) -> Fault:
        """Sets a fault from its JSON form. Raises ValueError if that is none."""
        self._count += 1
        fault = _read(f"f{self._count}", document)
        self._faults[fault.id] = fault
        return fault

    def remove(self, fault_id: str) -> None:
        """Raises KeyError if there is none."""
        self._faults.pop(fault_id).release()

    def clear(self) -> None:
        for fault_id in list(self._faults):
            self.remove(fault_id)

    def list(self) -> list[dict[str, Any]]:
        return [fault.document() for fault in self._faults.values()]

    def strike(self, operation: str, tenant: str | None, mailbox: str | None) -> Fault | None:
        """The fault that strikes this request, if any; it counts as struck."""
        for fault in self._faults.values():
            if fault.times == 0 or not fault.matches(operation, tenant, mailbox):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            if fault.probability < 1 and self._chance.random() >= fault.probability:
                continue
            if fault.times is not None:
                fault.times -= 1
            return fault
        return None

    async def suffer(
        self, fault: Fault, act: Callable[[], Awaitable[Answer]], spoken: Callable[[Fault], Answer]
    ) -> Answer:
        """What a struck request gets; `act` applies it, `spoken` is the fault as an answer.

        Raises LostAnswerError if it gets none.
        """
        if fault.when == "after" and fault.kind not in ("hold", "slow", "late"):
            await act()
        if fault.kind == "hold":
            answer = await act()
            fault.hit()
            await self._pause(fault)
            return answer
        fault.hit()
        match fault.kind:
            case "slow":
                await self._pause(fault)
                return await act()
            case "late":
                self._act_later(fault, act)
            case "timeout" | "cut":
                raise LostAnswerError(fault.hold_seconds if fault.kind == "timeout" else 0)
            case "empty-503":
                headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
                return Answer(503, b"", headers, content_type="text/plain")
        return spoken(fault)

    async def hang(self, seconds: float) -> None:
        """Waits, but not beyond the sandbox's end."""
        await _either(self.closing, asyncio.Event(), seconds)

    async def _pause(self, fault: Fault) -> None:
        fault.waiting += 1
        try:
            await _either(self.closing, fault.gate, fault.hold_seconds)
        finally:
            fault.waiting -= 1

    def _act_later(self, fault: Fault, act: Callable[[], Awaitable[Answer]]) -> None:
        async def later() -> None:
            await self._pause(fault)
            if not self.closing.is_set():
                await act()

        task = asyncio.create_task(later())
        self._late.add(task)
        task.add_done_callback(self._late.discard)


async def _either(first: asyncio.Event, second: asyncio.Event, seconds: float) -> None:
    waits = [asyncio.ensure_future(first.wait()), asyncio.ensure_future(second.wait())]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()


def _read(fault_id: str, document: dict[str, Any]) -> Fault:
    known = {"match", "fault", "when", "probability", "times", "skip", "retry_after", "hold_seconds"}
    match = document.get("match") or {}
    unknown = [*(document.keys() - known), *(match.keys() - {"tenant", "mailbox", "operation"})]
    if unknown:
        raise ValueError(f"a fault has no {', '.join(sorted(unknown))}")
    kind = str(document.get("fault"))
    if kind.isdecimal() and 400 <= int(kind) <= 599:
        kind = STATUSES.get(int(kind), kind)
    elif kind not in SPOKEN and kind not in SILENT and kind not in REFUSALS:
        raise ValueError(f"no fault {kind!r}; there are a status, {', '.join([*SPOKEN, *SILENT, *REFUSALS])}")
    operation = match.get("operation")
    if operation is not None and operation not in OPERATIONS:
        raise ValueError(f"no operation {operation!r}; there are {', '.join(OPERATIONS)}")
    if kind in REFUSALS and operation not in ENTRA_OPERATIONS:
        raise ValueError(f"{kind} is for the operations {', '.join(ENTRA_OPERATIONS)}")
    when = document.get("when", "before")
    if when not in ("before", "after"):
        raise ValueError("when is before or after")
    fault = Fault(fault_id, kind, operation, when=when)
    fault.tenant = match["tenant"].lower() if match.get("tenant") else None
    fault.mailbox = match["mailbox"].strip().lower() if match.get("mailbox") else None
    for name in ("probability", "times", "skip", "retry_after", "hold_seconds"):
        value = document.get(name)
        if value is None:
            continue
        if type(value) not in (int, float) or value < 0:
            raise ValueError(f"{name} is a number and not negative")
        setattr(fault, name, value)
    return fault
