"""What operators' commands, and the service that follows them, need of the store."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from consumer.domain.mailbox import Mailbox
from consumer.sync.parking import Parking
from consumer.sync.partition_block import Block
from consumer.sync.sweep_state import SweepState


class OperatorStore(Protocol):
    """Paused sites and parked mailboxes, for ``calsync site`` and ``mailbox``. Raises ``StoreUnavailableError``."""

    async def pause(self, site_id: str) -> None:
        """Have no replica serve the site until it is resumed."""

    async def resume(self, site_id: str) -> None:
        """Have the site served again."""

    async def paused(self) -> dict[str, float]:
        """Every paused site, and since when (Unix time)."""

    async def park(self, mailbox: Mailbox, code: str, *, hourly: bool, note: str = "") -> None:
        """Park the mailbox; ``hourly``: it is still tried every hour. One that is parked without tries stays so."""

    async def enable(self, mailbox: Mailbox) -> None:
        """Stop parking the mailbox."""

    async def list_parked(self) -> list[tuple[Mailbox, Parking]]:
        """Every parked mailbox."""


class PartitionStore(Protocol):
    """Blocked partitions and replayed dead letters, for ``calsync dead-letters``. Raises ``StoreUnavailableError``."""

    async def block(self, topic: str, partition: int, offset: int) -> None:
        """Have no replica read the partition from ``offset`` on, until it is unblocked."""

    async def unblock(self, topic: str, partition: int) -> None:
        """Have the partition read again."""

    async def blocked(self, topic: str) -> dict[int, Block]:
        """Every blocked partition of the topic."""

    async def replayed(self, topic: str) -> dict[int, int]:
        """For each partition of the dead-letter topic: the first offset that was not replayed."""

    async def remember_replayed(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Dead letters of the topic before these offsets were replayed."""


class StatusStore(Protocol):
    """Whether the store works, and what it holds, for health checks and reports. Raises ``StoreUnavailableError``."""

    async def check(self) -> None:
        """Raises ``StoreUnavailableError`` unless the store takes a write; ``ConfigurationError`` if it is too new."""

    async def born(self) -> str:
        """A mark of when this store was first used: if it changes, the store was emptied."""

    async def events(self, site_id: str) -> int:
        """The number of jobs with an event in the site's window, as the last complete sweep found it."""

    async def count_dirty(self, site_ids: Sequence[str]) -> dict[str, int]:
        """The number of assignments that wait for a sweep, of each of these sites."""

    async def sweep_states(self, site_ids: Sequence[str]) -> dict[str, SweepState]:
        """What the last sweeps found, of each of these sites."""

    async def holders(self, job_id: str) -> list[Mailbox]:
        """The mailboxes that hold an event of the job, or may."""

    async def close(self) -> None:
        """Close every connection."""
