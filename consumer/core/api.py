"""Core's API, the source of truth. Anything but a whole, well-formed 200 is a failed read."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from urllib.parse import quote, urlencode

from consumer.core.schedule import Page, Roster, rosters
from consumer.domain.errors import CoreUnavailableError
from consumer.domain.job import Job
from consumer.domain.row import job_of
from consumer.domain.window import Window
from consumer.http import Answer, Http, NoAnswerError
from consumer.json_reader import loads
from consumer.unusable import Found, ignore

TIMEOUT_SECONDS: Final = 30.0
_EMPTY_PAGES: Final = 100
"""So many in a row are no schedule: it would be read for ever."""


class CoreApi:
    """Reads jobs from Core; see ``schemas/core-api.yaml``."""

    def __init__(self, url: str, token: str | Callable[[], str], http: Http, found: Found = ignore) -> None:
        """``token`` is asked for with each request, since its file may be rotated; ``found`` is called for each row and
        worker that is left out."""
        self._url = url.rstrip("/")
        self._token = token
        self._http = http
        self._found = found

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

    def schedule(self, site_id: str, window: Window) -> AsyncIterator[Roster]:
        """What Core wants in each mailbox of a site in the window, in the order of the addresses.

        Raises, while it is read:
            CoreUnavailableError: a failed read; what came before it tells nothing of what is missing.
        """
        return rosters(site_id, self._pages(site_id, window), self._found)

    async def _pages(self, site_id: str, window: Window) -> AsyncIterator[Page]:
        span = {"from": window.start.isoformat(), "to": window.end.isoformat()}
        cursors = {""}
        cursor: str | None = ""
        empty = 0
        while cursor is not None:
            query = urlencode(span | ({"cursor": cursor} if cursor else {}))
            answer = await self._get(f"/sites/{quote(site_id, safe='')}/schedule?{query}")
            if answer.status != 200:
                raise _failed(answer)
            page = Page.of(_document(answer))
            yield page
            cursor = page.next_cursor
            empty = 0 if page.workers else empty + 1
            if empty > _EMPTY_PAGES:
                raise CoreUnavailableError("Core's schedule goes on without workers")
            if cursor in cursors:
                raise CoreUnavailableError("Core's schedule repeats a page")
            cursors.add(cursor or "")

    async def _get(self, path: str) -> Answer:
        token = self._token if isinstance(self._token, str) else self._token()
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        try:
            answer = await self._http.request("GET", self._url + path, headers=headers)
        except NoAnswerError as error:
            raise CoreUnavailableError(f"Core's API: {error}") from None
        if answer.status not in (200, 404):
            raise _failed(answer)
        return answer


def _failed(answer: Answer) -> CoreUnavailableError:
    hint = ": does CALSYNC_CORE_API_TOKEN hold?" if answer.status in (401, 403) else ""
    return CoreUnavailableError(f"Core's API: HTTP {answer.status}{hint}")


def _document(answer: Answer) -> dict[str, Any]:
    try:
        document = loads(answer.body)
    except ValueError:
        raise CoreUnavailableError("Core's API answered with broken JSON") from None
    if not isinstance(document, dict):
        raise CoreUnavailableError("Core's API answered with something that is no object")
    return document
