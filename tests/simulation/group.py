"""A consumer group: a silent replica loses its partitions to the others, and learns that when it wakes."""

import asyncio
from collections.abc import Callable
from typing import Final

from tests.simulation.world import Log, Replica

SESSION_SECONDS: Final = 10.0
"""After this time without a heartbeat, a member is out of the group."""


class Group:
    """Shares the partitions among the running replicas."""

    def __init__(self, log: Log, start: Callable[[str], Replica]) -> None:
        """``start`` makes a replica without partitions, by name."""
        self._log = log
        self._start = start
        self._started = 0
        self.members: list[Replica] = []
        self.replicas: list[Replica] = []
        """All replicas that were ever started."""

    def join(self) -> Replica:
        """A new replica, which takes its share."""
        self._started += 1
        replica = self._start(f"replica-{self._started}")
        process = replica.process
        stop = process.on_kill

        def killed() -> None:
            stop()
            self._expel_later(replica)

        process.on_kill = killed
        process.on_freeze = lambda: self._expel_later(replica)
        process.on_thaw = lambda: self._thawed(replica)
        self.replicas.append(replica)
        self.members.append(replica)
        self._share()
        return replica

    @property
    def running(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.process.runs]

    def _expel_later(self, replica: Replica) -> None:
        asyncio.get_running_loop().call_later(SESSION_SECONDS, self._expel, replica)

    def _expel(self, replica: Replica) -> None:
        if replica in self.members and not replica.process.runs:
            self.members.remove(replica)
            self._share()

    def _thawed(self, replica: Replica) -> None:
        """The replica's first poll reports that it is out of the group: it gives up its partitions and joins again."""
        if replica in self.members:
            return

        async def rejoin() -> None:
            await asyncio.sleep(0.2)
            for partition in list(replica.epochs):
                replica.lose(partition)
            self.members.append(replica)
            self._share()

        replica.process.spawn(rejoin())

    def _share(self) -> None:
        """Divides the partitions among the members. A member keeps its partitions if that is fair."""
        members = self.members
        if not members:
            return
        for partition in range(self._log.partitions):
            owner = members[partition % len(members)]
            if self._log.epochs.get(partition) is owner.epochs.get(partition, object()):
                continue
            for member in members:
                if partition in member.epochs:
                    member.lose(partition)
            owner.take(partition)
