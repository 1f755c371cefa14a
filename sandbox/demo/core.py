"""A client of a running Core: it does what planners do, and reads the whole schedule."""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import httpx

from sandbox.core.document import load
from sandbox.core.schedule import Schedule
from sandbox.demo.company import Worker
from sandbox.stack import SiteSpec


class CoreControl:
    """A client of the sandbox's Core at `url`. When a method returns, its change is on the topic.

    Raises httpx.HTTPStatusError if Core refuses. Close the client, or use it as an asynchronous context manager.
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=f"{url}/_sandbox", timeout=30)
        self.records = 0
        """The number of records that this client has put on the topic."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def put_site(self, site: SiteSpec) -> None:
        await self._change("PUT", f"/sites/{site.site_id}", {"name": site.name, "timezone": site.timezone})

    async def put_worker(self, worker: Worker) -> None:
        """Adds a worker or changes a worker's calendar email."""
        document = {"site_id": worker.site_id, "calendar_email": worker.calendar_email}
        await self._change("PUT", f"/workers/{worker.worker_id}", document)

    async def add_job(self, job: dict[str, Any]) -> None:
        """Adds a job, given as columns of `calendar_job`, with the ids of its `workers`."""
        await self._change("POST", "/jobs", job)

    async def change_job(self, job_id: str, **columns: Any) -> None:
        """Changes columns in one change. `workers` is a list of ids."""
        await self._change("PATCH", f"/jobs/{job_id}", columns)

    async def assign(self, job_id: str, *workers: Worker) -> None:
        """Replaces the workers of a job."""
        await self.change_job(job_id, workers=[worker.worker_id for worker in workers])

    async def reschedule(self, job_id: str, times: Sequence[datetime]) -> None:
        """Moves a job to (start, end)."""
        starts_at, ends_at = times
        await self.change_job(job_id, starts_at=starts_at.isoformat(), ends_at=ends_at.isoformat())

    async def delete_job(self, job_id: str) -> None:
        await self._change("DELETE", f"/jobs/{job_id}")

    async def schedule(self) -> Schedule:
        """Returns Core's whole database as it is now."""
        answer = (await self._client.get("/schedule")).raise_for_status()
        return load(Schedule(lambda: datetime.now(UTC)), answer.json())

    async def _change(self, method: str, path: str, document: dict[str, Any] | None = None) -> None:
        answer = await self._client.request(method, path, json=document)
        if answer.is_error:
            message = f"{method} {path}: {answer.status_code} {answer.text}"
            raise httpx.HTTPStatusError(message, request=answer.request, response=answer)
        # A deletion's record is followed by its tombstone.
        self.records += sum(2 if change["op"] == "d" else 1 for change in answer.json()["changes"])
