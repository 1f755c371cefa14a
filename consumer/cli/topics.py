"""Topics, as commands read them: from a point to their ends."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from consumer.kafka.config import Config, checked_properties, client_config
from consumer.kafka.offset_range import OffsetRange
from consumer.kafka.record import Record
from consumer.settings import Settings

REGISTRY_WAIT_SECONDS: Final = 30.0
"""How long a command waits for the schema registry."""


async def records(topic: OffsetRange) -> AsyncIterator[Record]:
    while batch := await asyncio.to_thread(topic.read):
        for record in batch:
            yield record


def client_properties(settings: Settings) -> Config:
    """How to reach the brokers. Raises ``ConfigurationError``."""
    brokers = settings.kafka_bootstrap_servers
    return client_config(brokers, checked_properties(settings.kafka_config_file, brokers))
