"""The adapters have all methods of the ports, and no others."""

import inspect
from typing import Any

import pytest

from consumer.store.store import RedisStore
from consumer.sync import dirty_marks, lane_store, operator_store, routing_store, run_store, sweep_store
from tests.fakes.store import MemoryStore

MODULES = (dirty_marks, lane_store, operator_store, routing_store, run_store, sweep_store)
PORTS: list[type[Any]] = [
    member
    for module in MODULES
    for _, member in inspect.getmembers(module, inspect.isclass)
    if member.__module__ == module.__name__
]
MOST_METHODS = 8
BUILDERS = {"connect"}


def methods(kind: type[Any]) -> dict[str, Any]:
    return {name: member for name, member in inspect.getmembers(kind, inspect.isroutine) if not name.startswith("_")}


PROMISED = {name: method for port in PORTS for name, method in methods(port).items()}


def parameters(method: Any) -> list[tuple[str, Any]]:
    return [(each.name, each.kind) for each in inspect.signature(method).parameters.values()]


def test_every_public_method_of_the_adapter_belongs_to_a_port() -> None:
    assert set(methods(RedisStore)) - BUILDERS == set(PROMISED)


@pytest.mark.parametrize("adapter", [RedisStore, MemoryStore])
def test_each_adapter_has_every_method_of_the_ports(adapter: type[Any]) -> None:
    offered = methods(adapter)
    for name, method in PROMISED.items():
        assert parameters(offered[name]) == parameters(method), name


@pytest.mark.parametrize("port", PORTS)
def test_a_port_has_few_methods_of_its_own(port: type[Any]) -> None:
    assert len([name for name in vars(port) if not name.startswith("_")]) <= MOST_METHODS


@pytest.mark.parametrize("port", PORTS)
def test_ports_with_a_method_in_common_agree_on_it(port: type[Any]) -> None:
    for name, method in methods(port).items():
        assert inspect.signature(method) == inspect.signature(PROMISED[name]), name
