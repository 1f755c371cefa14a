"""The calls that wait for an HTTP request: a queue for each mailbox, and whose turn it is."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from consumer.domain.errors import TransientError
from consumer.graph.batch import BATCH_SIZE
from consumer.graph.call import Call


class Queues:
    """The waiting calls of one app, by mailbox. A mailbox's calls are in one HTTP request at a time.

    Somebody awaits each call, so the callers' bounds hold here too.
    """

    def __init__(self, may_go: Callable[[Call], bool]) -> None:
        """``may_go``: whether a call may still be sent; if not, it has failed."""
        self._may_go = may_go
        self._waiting: dict[str, deque[Call]] = {}
        self._ready: deque[str] = deque()
        self._flying: set[str] = set()
        self._suspects: set[str] = set()
        """Mailboxes whose last request failed."""

    def __bool__(self) -> bool:
        """Whether a mailbox's calls could be sent now."""
        return bool(self._ready)

    def add(self, call: Call) -> None:
        """Put the call behind the others of its mailbox."""
        queue = self._waiting.setdefault(call.address, deque())
        queue.append(call)
        if len(queue) == 1 and call.address not in self._flying:
            self._ready.append(call.address)

    def add_first(self, call: Call) -> None:
        """Put a call that has been sent, and has not landed, before the others of its mailbox."""
        self._waiting.setdefault(call.address, deque()).appendleft(call)

    def take(self) -> list[Call]:
        """The next calls to travel together; a suspect mailbox travels alone, so that it delays nobody."""
        calls: list[Call] = []
        while self._ready and len(calls) < BATCH_SIZE:
            address = self._ready[0]
            suspect = address in self._suspects
            if suspect and calls:
                break
            self._ready.popleft()
            queue = self._waiting[address]
            while queue and len(calls) < BATCH_SIZE:
                call = queue.popleft()
                if self._may_go(call):
                    calls.append(call)
            if not queue:
                del self._waiting[address]
            if calls and calls[-1].address == address:
                self._flying.add(address)
            elif queue:
                self._ready.append(address)
            if suspect and calls:
                break
        return calls

    def land(self, addresses: Iterable[str], sent: Sequence[Call]) -> None:
        """End an HTTP request for calls of these mailboxes, of which ``sent`` left."""
        for call in sent:
            if not call.reply.done():
                continue  # it waits to be sent once more, with a new token
            failed = not call.reply.cancelled() and call.reply.exception()
            if isinstance(failed, TransientError) and not failed.tenant_wide:
                self._suspects.add(call.address)
            else:
                self._suspects.discard(call.address)
        for address in addresses:
            self._flying.discard(address)
            if self._waiting.get(address):
                self._ready.append(address)
