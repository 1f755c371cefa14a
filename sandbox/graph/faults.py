"""The faults in use, and the answers of struck requests. If several faults match, the one set first strikes."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from sandbox.graph.errors import Answer, LostAnswerError, OmittedAnswerError, retry_header
from sandbox.graph.fault import Fault, read
from sandbox.graph.fault_kinds import REDIRECTS

_NO_BACKEND = b"<html><body><h1>404 Not Found</h1></body></html>"
_PAGE = b"<html><body>Please sign in to the network.</body></html>"


class Faults:
    """The faults in use. `closing` is set when the sandbox stops, and ends every wait."""

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
        """Sets a fault from its JSON form. Raises ValueError if that is not a valid fault."""
        self._count += 1
        fault = read(f"f{self._count}", document)
        self._faults[fault.id] = fault
        return fault

    def remove(self, fault_id: str) -> None:
        """Removes a fault and releases what it holds. Raises KeyError if there is no such fault."""
        self._faults.pop(fault_id).release()

    def clear(self) -> None:
        for fault_id in list(self._faults):
            self.remove(fault_id)

    def list(self) -> list[dict[str, Any]]:
        return [fault.document() for fault in self._faults.values()]

    def strike(self, operation: str, tenant: str | None, mailbox: str | None) -> Fault | None:
        """Returns the fault that strikes this request, if any, and lowers its `times`."""
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
        """Returns the answer that a struck request gets.

        `act` applies the request, `spoken` returns the fault as an answer. Raises LostAnswerError if the request gets
        no answer.
        """
        if (fault.when == "after" and fault.kind not in ("hold", "slow", "late")) or fault.kind == "untagged":
            await act()
        if fault.kind == "hold":
            answer = await act()
            fault.hit()
            await self._pause(fault, fault.hold_seconds)
            return answer
        fault.hit()
        if fault.delay_seconds:
            await self._pause(fault, fault.delay_seconds)
        match fault.kind:
            case "slow":
                await self._pause(fault, fault.hold_seconds)
                return await act()
            case "late":
                self._act_later(fault, act)
            case "timeout" | "cut":
                raise LostAnswerError(fault.hold_seconds if fault.kind == "timeout" else 0)
            case "empty-503":
                return Answer(503, b"", retry_header(fault.retry_after), content_type="text/plain")
            case "omitted":
                raise OmittedAnswerError
            case "empty" | "page" | "proxy-page":
                return _page(fault)
            case kind if kind in REDIRECTS:
                return Answer(int(kind), b"", {"Location": fault.location}, content_type="text/plain")
        return spoken(fault)

    async def hang(self, seconds: float) -> None:
        """Waits, but at most until the sandbox stops."""
        await _either(self.closing, asyncio.Event(), seconds)

    async def _pause(self, fault: Fault, seconds: float) -> None:
        fault.waiting += 1
        try:
            await _either(self.closing, fault.gate, seconds)
        finally:
            fault.waiting -= 1

    def _act_later(self, fault: Fault, act: Callable[[], Awaitable[Answer]]) -> None:
        async def later() -> None:
            await self._pause(fault, fault.hold_seconds)
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


def _page(fault: Fault) -> Answer:
    """Returns the answer that a proxy or an ingress sends in Graph's place."""
    if fault.kind == "proxy-page":
        return Answer(200, _PAGE, content_type="text/html")
    headers = retry_header(fault.retry_after)
    if fault.kind == "empty":
        return Answer(fault.status or 400, b"", headers, content_type="text/plain")
    return Answer(fault.status or 404, _NO_BACKEND, headers, content_type="text/html")
