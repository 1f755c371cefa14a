"""The part of Kafka Connect's REST API that one connector needs."""

from collections.abc import Mapping
from typing import Any

import httpx


class ConnectApi:
    """The API at `url`, such as `http://127.0.0.1:8083`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def answers(self) -> bool:
        """Returns whether the worker has read its topics and knows its connectors."""
        try:
            return httpx.get(f"{self.url}/connectors", timeout=5).is_success
        except httpx.TransportError:
            return False

    def put_connector(self, document: Mapping[str, Any]) -> None:
        """Creates or changes a connector: `{"name", "config"}`. Raises httpx.HTTPError."""
        self._ask("PUT", f"/connectors/{document['name']}/config", document["config"])

    def restart_failed(self, name: str) -> None:
        """Restarts a connector and its tasks where they have failed. Raises httpx.HTTPError."""
        self._ask("POST", f"/connectors/{name}/restart?includeTasks=true&onlyFailed=true")

    def states(self, name: str) -> list[str]:
        """Returns the states (RUNNING, FAILED, …) of the connector, then of its tasks.

        The list is empty if Connect does not know the connector or does not answer.
        """
        try:
            status = self._ask("GET", f"/connectors/{name}/status")
        except httpx.HTTPError:
            return []
        return [status["connector"]["state"], *(task["state"] for task in status["tasks"])]

    def _ask(self, method: str, path: str, document: Any = None) -> Any:
        answer = httpx.request(method, f"{self.url}{path}", json=document, timeout=30)
        if answer.is_error:
            raise httpx.HTTPStatusError(f"{method} {path}: {answer.text}", request=answer.request, response=answer)
        return answer.json() if answer.content else None
