"""Core's feed: registers the connector of `schemas/core` with Kafka Connect and keeps it running."""

import json
import time
from dataclasses import dataclass
from typing import Any, Final

import httpx

from sandbox.core.database import FOLDER, CoreDatabase
from sandbox.servers.connect.api import ConnectApi
from sandbox.servers.process import ServerFailedError

CONNECTOR: Final[dict[str, Any]] = json.loads((FOLDER / "debezium-connector.json").read_text(encoding="utf-8"))
TOPICS: Final[dict[str, Any]] = json.loads((FOLDER / "topics.json").read_text(encoding="utf-8"))
SLOT: Final[str] = CONNECTOR["config"]["slot.name"]

_WITHIN_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Feed:
    """The connector between a database and the topics. The Kafka Connect at `connect` runs it."""

    connect: ConnectApi
    core: CoreDatabase

    def start(self) -> None:
        """Registers the connector, restarts it where it has failed, and returns when it captures changes.

        Raises ServerFailedError if it does not capture within a minute, and httpx.HTTPError if Connect refuses it.
        """
        self.connect.put_connector(CONNECTOR)
        self.wait()

    def wait(self) -> None:
        """Waits until the connector captures changes. Raises ServerFailedError if it does not within a minute.

        A failed task is restarted (see `mend`).
        """
        deadline = time.monotonic() + _WITHIN_SECONDS
        while self.states() != ["RUNNING", "RUNNING"] or not self.core.captured_by(SLOT):
            self.mend()
            if time.monotonic() > deadline:
                raise ServerFailedError(f"the connector does not capture changes: its states are {self.states()}")
            time.sleep(0.05)

    def mend(self) -> bool:
        """Restarts the connector and its task where they have failed. Returns whether anything had failed.

        Everyone who runs Connect must automate this: a task that needs a schema while the registry is unavailable
        fails, and Connect never restarts it by itself. Raises httpx.HTTPError.
        """
        if "FAILED" not in self.states():
            return False
        self.connect.restart_failed(CONNECTOR["name"])
        return True

    def keep(self, every: float) -> None:
        """Calls `mend` every `every` seconds, for ever. Continues if Connect is unavailable."""
        while True:
            try:
                if self.mend():
                    print("a failed task was restarted", flush=True)
            except httpx.HTTPError as error:
                print(f"Connect did not restart the failed task: {error}", flush=True)
            time.sleep(every)

    def states(self) -> list[str]:
        """Returns the states of the connector and its task, as `ConnectApi.states` does."""
        return self.connect.states(CONNECTOR["name"])
