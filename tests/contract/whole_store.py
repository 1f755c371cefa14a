"""Every port of the store at once, for tests of one store as a whole."""

from typing import Protocol

from consumer.sync.lane_store import LaneStore
from consumer.sync.operator_store import OperatorStore, PartitionStore, StatusStore
from consumer.sync.routing import RoutingStore
from consumer.sync.run_store import RunStore
from consumer.sync.scheduler import SchedulerStore
from consumer.sync.sweep_ports import SweepMemory, SweepRecords


class Store(
    RunStore,
    RoutingStore,
    LaneStore,
    SweepMemory,
    SweepRecords,
    SchedulerStore,
    OperatorStore,
    PartitionStore,
    StatusStore,
    Protocol,
):
    """Every port of the store."""
