"""The network to the store: latency, lost calls and answers, and a store that is down, read-only or loses data."""

import asyncio
import copy
import inspect
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final

from consumer.domain.errors import StoreUnavailableError
from consumer.sync.grant import Grant
from consumer.sync.lease import Lease
from tests.fakes.store import MemoryStore
from tests.simulation.process import Process, current, in_world

READS: Final = frozenset(
    {"list_parked", "paused", "born", "time", "linked", "holders", "events_of", "dirty", "coming", "events", "ping"}
)
"""Calls that a store still answers when it refuses writes."""
SLOW_SECONDS: Final = 4.0
"""Less than the client's timeout (5 s), so that no call fails because of it."""


class FaultyStore:
    """The store port over a network. Scripts run in the world, even if their caller is dead or frozen by then."""

    def __init__(self, store: MemoryStore, random: Random) -> None:
        self.whole = store
        """The store itself, without the network."""
        self.random = random
        self.latency = 0.002
        """Seconds each way, at most."""
        self.lost_calls = 0.0
        """The probability that a call fails before its script ran."""
        self.lost_answers = 0.0
        """The probability that a call fails after its script ran."""
        self.unavailable = False
        self.refuses_writes = False
        self.refuses_renewals = False
        self.is_slow = False
        """Scripts take up to ``SLOW_SECONDS``."""
        self.forgot_at = float("-inf")
        """On the monotonic clock."""

    def __getattr__(self, name: str) -> Any:
        script = getattr(self.whole, name)
        if not inspect.iscoroutinefunction(script):
            return script

        async def call(*arguments: Any, **options: Any) -> Any:
            return await self._call(name, script, arguments, options)

        return call

    def forget(self) -> None:
        """FLUSHALL."""
        self.whole.forget()
        self.forgot_at = asyncio.get_running_loop().time()

    def snapshot(self) -> MemoryStore:
        """The present contents of the store, to be restored later: those of a replica of it, or of its last save."""
        clock = self.whole.clock
        return copy.deepcopy(self.whole, {id(clock): clock})

    def roll_back(self, snapshot: MemoryStore) -> None:
        """A failover to a replica that lagged, or a restart from an older save."""
        self.whole.roll_back(snapshot)
        self.forgot_at = asyncio.get_running_loop().time()

    def holds(self, lease: Lease) -> bool:
        """Whether the store agrees that this run has the mailbox."""
        held = self.whole._held(lease)
        return held is not None and held.until > asyncio.get_running_loop().time()

    def heal(self) -> None:
        """Ends all faults."""
        self.latency = 0.002
        self.lost_calls = self.lost_answers = 0.0
        self.unavailable = self.refuses_writes = self.refuses_renewals = self.is_slow = False

    async def _call(
        self, name: str, script: Callable[..., Coroutine[Any, Any, Any]], arguments: Any, options: Any
    ) -> Any:
        process = current()
        if process is not None and process.state == "ended":
            raise asyncio.CancelledError
        sent = asyncio.get_running_loop().time()
        # The caller has its own copy of the lease: only an answer that arrives extends it.
        copies = [copy.copy(each) if isinstance(each, Lease) else each for each in arguments]
        answer = await in_world(self._exchange(process, name, script, copies, options))
        for own, theirs in zip(arguments, copies, strict=True):
            if isinstance(own, Lease) and name == "renew":
                own.lost = theirs.lost
                if answer:
                    own.renewed_at = sent  # the caller does not know when the script ran
        if isinstance(answer, Grant):
            answer.lease.renewed_at = sent
        return answer

    async def _exchange(
        self,
        process: Process | None,
        name: str,
        script: Callable[..., Coroutine[Any, Any, Any]],
        arguments: Any,
        options: Any,
    ) -> Any:
        await asyncio.sleep(self.random.uniform(0.0, SLOW_SECONDS if self.is_slow else self.latency))
        if process is not None:
            process.reach("store before")
        if self._loses(self.lost_calls):
            raise StoreUnavailableError("Redis: no connection")
        if (self.refuses_writes and name not in READS) or (self.refuses_renewals and name == "renew"):
            raise StoreUnavailableError("Redis: READONLY")
        answer = await script(*arguments, **options)
        if process is not None:
            process.reach("store after")
        await asyncio.sleep(self.random.uniform(0.0, self.latency))
        if self._loses(self.lost_answers):
            raise StoreUnavailableError("Redis: the connection was lost")
        return answer

    def _loses(self, share: float) -> bool:
        return self.unavailable or self.random.random() < share
