"""Every port of the store at once, for tests of one store as a whole."""

from typing import Protocol

from consumer.sync.lane_store import LaneStore
from consumer.sync.operator_store import OperatorStore, PartitionStore, StatusStore
from consumer.sync.routing_store import RoutingStore
from consumer.sync.run_store import RunStore
from consumer.sync.sweep_store import SchedulerStore, SweepStore


class Store(
    RunStore, RoutingStore, LaneStore, SweepStore, SchedulerStore, OperatorStore, PartitionStore, StatusStore, Protocol
):
    """Every port of the store."""
