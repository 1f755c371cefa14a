"""Core's API, the source of truth. Anything but a whole, well-formed answer of Core itself is a failed read."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final
from urllib.parse import quote, urlencode

from consumer import json_reader
from consumer.core.schedule import Page, Roster, rosters
from consumer.domain.errors import CoreUnavailableError
from consumer.domain.job import Job
from consumer.domain.row import job_of
from consumer.domain.window import Window
from consumer.foreign import ForeignAnswers
from consumer.http import Answer, Http, NoAnswerError
from consumer.retry_after import retry_after
from consumer.unusable import Found, ignore

TIMEOUT_SECONDS: Final = 30.0
_EMPTY_PAGES: Final = 100
"""More in a row are not a schedule: it would be read for ever."""
_PROBLEM: Final = "application/problem+json"
_JOB_FIELDS: Final = frozenset(("job_id", "site_id", "revision", "status", "starts_at", "ends_at", "workers"))
"""Without one of these, a job would read as unscheduled or as nobody's, and its events would be deleted."""


class CoreApi:
    """Reads jobs from Core; see ``schemas/core-api.yaml``."""

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        http: Http,
        foreign: ForeignAnswers | None = None,
        found: Found = ignore,
        on_answer: Callable[[bool], None] = lambda _usable: None,
    ) -> None:
        """
        Args:
            url: of the API.
            token: called for every request, and once more after a 401, because its file may have been rotated.
            http: the connections.
            foreign: where answers that are not Core's are counted.
            found: called for each row and worker that is left out.
            on_answer: called after each question, with whether its answer was usable.
        """
        self._url = url.rstrip("/")
        self._token = token
        self._http = http
        self._foreign = foreign or ForeignAnswers(lambda _: None, time.monotonic)
        self._found = found
        self._on_answer = on_answer

    async def job(self, site_id: str, job_id: str) -> Job | None:
        """One job with its workers; ``None`` if Core says that it has no such job.

        Only a problem document with ``"code": "job_not_found"`` and this job's id says so: a 404 of an ingress, or of
        a framework for an unknown route, is a failed read.

        Raises:
            CoreUnavailableError: a failed read.
            InvalidRecordError: the row states something impossible.
        """
        path = f"/sites/{quote(site_id, safe='')}/jobs/{quote(job_id, safe='')}"
        with self._judged():
            answer = await self._get(path)
            if answer.status == 404:
                problem = _problem(answer)
                if problem is not None and problem.get("code") == "job_not_found" and problem.get("job_id") == job_id:
                    return None
                raise self._not_cores(path, answer)
            row = self._document(path, answer)
            if not row.keys() >= _JOB_FIELDS:
                raise self._not_cores(path, answer)
            if row["job_id"] != job_id or row["site_id"] != site_id:
                raise CoreUnavailableError("Core's API answered with another job")
        return job_of(row)

    async def schedule(self, site_id: str, window: Window) -> AsyncIterator[Roster]:
        """What Core wants in each mailbox of a site in the window, in the order of the addresses.

        Raises, while it is read:
            CoreUnavailableError: a failed read; what came before it says nothing about what is missing.
        """
        with self._judged():
            async with aclosing(rosters(site_id, self._pages(site_id, window), self._found)) as listed:
                async for roster in listed:
                    yield roster

    async def _pages(self, site_id: str, window: Window) -> AsyncIterator[Page]:
        span = {"from": window.start.isoformat(), "to": window.end.isoformat()}
        cursors = {""}
        cursor: str | None = ""
        empty = 0
        while cursor is not None:
            query = urlencode(span | ({"cursor": cursor} if cursor else {}))
            path = f"/sites/{quote(site_id, safe='')}/schedule?{query}"
            with self._judged():
                page = Page.of(self._document(path, await self._get(path)))
            yield page
            cursor = page.next_cursor
            empty = 0 if page.workers else empty + 1
            if empty > _EMPTY_PAGES:
                raise CoreUnavailableError("Core's schedule goes on without workers")
            if cursor in cursors:
                raise CoreUnavailableError("Core's schedule repeats a page")
            cursors.add(cursor or "")

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Report whether an answer was usable."""
        try:
            yield
        except CoreUnavailableError:
            self._on_answer(False)
            raise
        self._on_answer(True)

    async def _get(self, path: str) -> Answer:
        """A 200 or a 404. Raises ``CoreUnavailableError`` for anything else."""
        token = self._token()
        answer = await self._send(path, token)
        if answer.status == 401 and (newer := self._token()) != token:
            answer = await self._send(path, newer)
        if answer.status not in (200, 404):
            raise self._failed(path, answer)
        return answer

    async def _send(self, path: str, token: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}", "Accept": f"application/json, {_PROBLEM}"}
        try:
            return await self._http.request("GET", self._url + path, headers=headers)
        except NoAnswerError as error:
            raise CoreUnavailableError(f"Core's API: {error}") from None

    def _document(self, path: str, answer: Answer) -> dict[str, Any]:
        if answer.status != 200:
            raise self._failed(path, answer)
        try:
            document = json_reader.loads(answer.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise self._not_cores(path, answer)
        return document

    def _failed(self, path: str, answer: Answer) -> CoreUnavailableError:
        """Core's own refusal, or the answer of somebody else."""
        if _problem(answer) is None:
            return self._not_cores(path, answer)
        wait = retry_after(answer.headers, own=True)
        return CoreUnavailableError(f"Core's API: HTTP {answer.status}{_hint(answer)}", retry_after=wait)

    def _not_cores(self, path: str, answer: Answer) -> CoreUnavailableError:
        what = self._foreign.saw("core", self._url + path, answer)
        wait = retry_after(answer.headers, own=False)
        return CoreUnavailableError(f"Core's API: {what}{_hint(answer)}", retry_after=wait, foreign=True)


def _hint(answer: Answer) -> str:
    if answer.status in (401, 403):
        return ": is CALSYNC_CORE_API_TOKEN or its file the right one?"
    return ": check CALSYNC_CORE_API_URL, and the site's id in the sites file" if answer.status == 404 else ""


def _problem(answer: Answer) -> dict[str, Any] | None:
    """The problem document (RFC 9457) of an answer; ``None`` if it has none."""
    if answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() != _PROBLEM:
        return None
    try:
        document = json_reader.loads(answer.body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
