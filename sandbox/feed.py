"""Core's feed: the connector of `schemas/core`, given to Kafka Connect and kept running."""

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
    """The connector between a database and the topics, run by the Connect that answers at `connect`."""

    connect: ConnectApi
    core: CoreDatabase

    def start(self) -> None:
        """Gives Connect the connector, or what it needs to go on, and returns when it captures.

        Raises ServerFailedError when it does not within a minute, httpx.HTTPError when Connect refuses it.
        """
        self.connect.put_connector(CONNECTOR)
        self.wait()

    def wait(self) -> None:
        """Returns when the connector captures. Raises ServerFailedError when it does not within a minute.

        A failed task is restarted, see `mend`.
        """
        deadline = time.monotonic() + _WITHIN_SECONDS
        while self.states() != ["RUNNING", "RUNNING"] or not self.core.captured_by(SLOT):
            self.mend()
            if time.monotonic() > deadline:
                raise ServerFailedError(f"the connector does not capture: {self.states()}")
            time.sleep(0.05)

    def mend(self) -> bool:
        """Restarts what has failed of the connector; tells whether anything had. Raises httpx.HTTPError.

        Whoever runs Connect must see to it: a task that needs a schema while the registry is away fails, and Connect
        never tries it again by itself.
        """
        if "FAILED" not in self.states():
            return False
        self.connect.restart_failed(CONNECTOR["name"])
        return True

    def keep(self, every: float) -> None:
        """Mends it every so many seconds, for ever. A Connect that is away is waited for."""
        while True:
            try:
                if self.mend():
                    print("a failed task was restarted", flush=True)
            except httpx.HTTPError as error:
                print(f"Connect does not take the restart: {error}", flush=True)
            time.sleep(every)

    def states(self) -> list[str]:
        """Of the connector and its task, as `ConnectApi.states` tells them."""
        return self.connect.states(CONNECTOR["name"])
