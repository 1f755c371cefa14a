"""Changes: the newest state of one job on its way to one mailbox."""

from dataclasses import dataclass, field

from consumer.domain.compare import Cause
from consumer.domain.job import State
from consumer.domain.link import Memory
from consumer.sync.receipts import ChangeResult, Receipt


@dataclass(frozen=True, slots=True)
class SweepView:
    """What a sweep saw of an assignment. It is out of date if what Redis has about it has changed since."""

    basis: Memory | None
    """What Redis had about it when the sweep read the mailbox."""
    event_ids: tuple[str, ...] | None
    """Every event with the assignment's tag. ``None``: the view shows none, and nothing looked further."""
    cause: Cause
    """Why the sweep repairs it."""
    forced: bool = False
    """Core was asked for the state once more: it wins over a newer one in Redis, unless that is recent."""


@dataclass(slots=True)
class Change:
    """A job's state waiting in a lane, with every receipt that led to it."""

    job_id: str
    state: State
    receipt: Receipt
    committed_at: float | None = None
    """Unix time of the commit in Core's database; ``None`` for snapshots, which have no latency."""
    sweep_view: SweepView | None = None
    """What a sweep saw of its event; ``None`` for a record's change, which trusts the link."""
    older: list[Receipt] = field(default_factory=list)
    """Receipts of states that this one superseded in the queue, and that its own receipt does not cover."""
    transaction_id: str | None = None
    """The transactionId of a create that was sent, and of which the store may know nothing. The next run looks for the
    event, and creates it with this id if there is none."""
    failing_since: float | None = None
    """Since when, on the monotonic clock, it is not done although other work of its app is; ``None`` at first."""

    def __post_init__(self) -> None:
        self.receipt.rank = self.state.rank

    @property
    def live(self) -> bool:
        """Whether this replica still answers for any of its records."""
        return self.receipt.live or any(receipt.live for receipt in self.older)

    def merge(self, other: "Change") -> "Change":
        """The newer of the two, with the receipts that are still owed, and with what is known of the older one."""
        newer, older = (other, self) if other.replaces(self) else (self, other)
        for receipt in (older.receipt, *older.older):
            # A later record of the same partition covers it, so a job costs the memory of one record in any outage.
            if not newer.receipt.cover(receipt):
                newer.older.append(receipt)
        if older.state.rank == newer.state.rank:
            newer.sweep_view = newer.sweep_view or older.sweep_view
        newer.transaction_id = newer.transaction_id or older.transaction_id
        if older.failing_since is not None:
            newer.failing_since = min(older.failing_since, newer.failing_since or older.failing_since)
        return newer

    def replaces(self, present: "Change") -> bool:
        """Whether this change, which came later, replaces ``present``.

        Of two equal states, the later is kept if its record covers the other's. So a table that is read again many
        times while Graph is unavailable costs one record a job.
        """
        if self.state.rank == present.state.rank:
            return self.receipt.covers(present.receipt)
        return self.state.rank > present.state.rank

    def records_owed(self) -> list[Receipt]:
        """The receipts that stand for records, the one of the newest state first. A sweep's receipt has no record."""
        owed = [receipt for receipt in (self.receipt, *self.older) if receipt.record is not None]
        return sorted(owed, key=lambda receipt: receipt.rank, reverse=True)

    def done(self, result: ChangeResult) -> None:
        """End a part of every receipt."""
        behind: ChangeResult = result if result in {"handed_over", "skipped"} else "superseded"
        for receipt in (self.receipt, *self.older):
            if result == "outranked":
                # Only a sweep can ask Core again. A record's state is older than the newest one known: superseded.
                receipt.part_done("outranked" if receipt.record is None else "superseded")
            else:
                receipt.part_done(result if receipt is self.receipt else behind)
