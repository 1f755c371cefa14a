"""Decodes a record, and first fetches its schema from the registry if needed."""

import asyncio
import math
from typing import Final

from consumer.domain.errors import TransientError
from consumer.kafka.decode import Decoded, Decoder, SchemaNeededError
from consumer.kafka.record import Record
from consumer.kafka.registry import Registry
from consumer.kafka.waiting import Backoff, Wait

_SCHEMA_HINT: Final = "check CALSYNC_SCHEMA_REGISTRY_URL and CALSYNC_SCHEMA_REGISTRY_USER_INFO, and the registry itself"


class RevokedError(Exception):
    """The record's partition was revoked. Its new owner reads the record again."""


async def decode(
    decoder: Decoder, registry: Registry, record: Record, wait: Wait | None = None, *, patience: float = math.inf
) -> Decoded:
    """Decode a record, and fetch its schema if needed. While the registry does not answer, this waits.

    Args:
        decoder, registry: what decodes the record, and where its schema comes from.
        record: what to decode.
        wait: where failures are noted.
        patience: after this many seconds without an answer, the registry's error is raised.

    Raises:
        TransientError: the registry has not answered for ``patience`` seconds.
        RevokedError: the record's partition was revoked before its schema could be read.
        UndecodableError: the bytes are not a change event.
        InvalidRecordError: the record can be read, but its values are impossible.
    """
    monotonic = asyncio.get_running_loop().time
    wait = wait or Wait(record, monotonic, Backoff())
    give_up_at = monotonic() + patience
    while record.epoch.live:
        try:
            return decoder.decode(record)
        except SchemaNeededError as needed:
            try:
                await registry.fetch(needed.schema_id)
            except TransientError as error:
                if monotonic() >= give_up_at:
                    raise
                reason = f"schema {needed.schema_id}: {error}"
                await asyncio.sleep(wait.failed("schema", reason, _SCHEMA_HINT))
    raise RevokedError
