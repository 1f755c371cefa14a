"""Core's API, the source of truth. Anything but a whole, well-formed 200 is a failed read."""

from typing import Any, Final
from urllib.parse import quote

import orjson

from consumer.domain.errors import CoreUnavailableError
from consumer.domain.job import Job
from consumer.domain.row import job_of
from consumer.http import Answer, Http, NoAnswerError

TIMEOUT_SECONDS: Final = 30.0


class CoreApi:
    """Reads jobs from Core; see ``schemas/core-api.yaml``."""

    def __init__(self, url: str, token: str, http: Http) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._http = http

    async def job(self, site_id: str, job_id: str) -> Job | None:
        """One job with its workers; ``None`` if Core has no such job.

        Raises:
            CoreUnavailableError: a failed read.
            InvalidRecordError: the row states something impossible.
        """
        path = f"/sites/{quote(site_id, safe='')}/jobs/{quote(job_id, safe='')}"
        answer = await self._get(path)
        if answer.status == 404:
            return None
        row = _document(answer)
        if row.get("job_id") != job_id or row.get("site_id") != site_id:
            raise CoreUnavailableError("Core's API answered with another job")
        return job_of(row)

    async def _get(self, path: str) -> Answer:
        try:
            answer = await self._http.request("GET", self._url + path, headers=self._headers)
        except NoAnswerError as error:
            raise CoreUnavailableError(f"Core's API: {error}") from None
        if answer.status not in (200, 404):
            raise CoreUnavailableError(f"Core's API: HTTP {answer.status}")
        return answer


def _document(answer: Answer) -> dict[str, Any]:
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        raise CoreUnavailableError("Core's API answered with broken JSON") from None
    if not isinstance(document, dict):
        raise CoreUnavailableError("Core's API answered with something that is no object")
    return document
