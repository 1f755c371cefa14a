"""The partitions that are assigned to this replica: their epochs, and the ledgers of the records read from them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from consumer.kafka.ledger import Ledger
from consumer.kafka.record import Epoch, Record


@dataclass(slots=True)
class AssignedPartition:
    """One assigned partition."""

    epoch: Epoch
    ledger: Ledger = field(default_factory=Ledger)


class AssignedPartitions:
    """The assigned partitions by number: at most as many as the topic has. Used by the Kafka thread alone."""

    def __init__(self) -> None:
        self._partitions: dict[int, AssignedPartition] = {}

    def __contains__(self, partition: int) -> bool:
        """Whether the partition is assigned."""
        return partition in self._partitions

    def __iter__(self) -> Iterator[int]:
        """The numbers of the partitions, in the order of their assignment."""
        return iter(self._partitions)

    def __len__(self) -> int:
        """How many partitions are assigned."""
        return len(self._partitions)

    def __getitem__(self, partition: int) -> AssignedPartition:
        """An assigned partition. Raises ``KeyError``."""
        return self._partitions[partition]

    def get(self, partition: int) -> AssignedPartition | None:
        """The partition, or ``None`` if it is not assigned."""
        return self._partitions.get(partition)

    @property
    def ledgers(self) -> dict[int, Ledger]:
        """The ledger of each partition."""
        return {number: partition.ledger for number, partition in self._partitions.items()}

    def add(self, partition: int, topic_id: str) -> None:
        """Begin an epoch of the partition, with an empty ledger."""
        self._partitions[partition] = AssignedPartition(Epoch(partition, topic_id))

    def drop(self, partition: int) -> None:
        """End the partition's epoch: receipts of its records mean nothing from now on."""
        dropped = self._partitions.pop(partition, None)
        if dropped is not None:
            dropped.epoch.live = False

    def restart(self, partition: int, *, keep_ledger: bool) -> None:
        """End the partition's epoch and begin another one, with the same ledger or with an empty one."""
        old = self._partitions[partition]
        old.epoch.live = False
        epoch = Epoch(partition, old.epoch.topic_id)
        self._partitions[partition] = AssignedPartition(epoch, old.ledger if keep_ledger else Ledger())

    def name_topic(self, topic_id: str) -> None:
        """Set the topic's id in every epoch."""
        for partition in self._partitions.values():
            partition.epoch.topic_id = topic_id

    def settle(self, record: Record, covered_by: int | None) -> None:
        """Take a record's receipt; see :meth:`consumer.kafka.ledger.Ledger.done`. One of an ended epoch is ignored."""
        if record.epoch.live:
            self._partitions[record.partition].ledger.done(record.offset, covered_by)

    def positions(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offset to commit for each of these partitions that has a new one; see ``Ledger.take_position``."""
        found = {}
        for number in partitions:
            partition = self._partitions.get(number)
            position = None if partition is None else partition.ledger.take_position()
            if position is not None:
                found[number] = position
        return found
