"""Faults of Core's API. Tests set them, and they damage the answers to the requests that they match."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from sandbox.core.cursors import read_cursor, write_cursor

Page = dict[str, Any]
_HALF = "\ue000"
"""A placeholder for half of a surrogate pair, until the document is bytes."""
Operation = Literal["schedule", "job"]
Kind = Literal[
    "status",  # answer `status`, with `retry_after` and `location` if given
    "slow",  # answer correctly, after `seconds`
    "disconnect",  # close the connection in the middle of the answer
    "invalid_json",  # 200 with a body that is cut off
    "empty",  # a well-formed list without workers
    "cut",  # leave out the second half of the page's workers and call it the last page
    "repeat",  # `next_cursor` leads to the same page again
    "rewind",  # `next_cursor`, never the same one, leads to the first page again
    "step_back",  # the first and the last worker of the page change places
    "missing_rows",  # no worker of the page has any job
    "unusable_row",  # the page's first job ends before it starts
    "nameless_row",  # the page's first job has no job_id
    "no_worker",  # the page's first worker is null
    "half_pair",  # the first job's subject ends in half of a surrogate pair, as a JSON escape
    "bom",  # a byte-order mark before the document
]


@dataclass(slots=True)
class Fault:
    """A fault, and the requests that it strikes. None means any."""

    kind: Kind
    operation: Operation = "schedule"
    site_id: str | None = None
    job_id: str | None = None
    page: int | None = None
    """Counted from 1."""
    status: int = 500
    retry_after: int | None = None
    location: str | None = None
    seconds: float = 1.0
    times: int | None = None
    """How many more times it strikes. None: until it is cleared."""


class Faults:
    """The faults that are set. The first that matches strikes."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, document: Mapping[str, Any]) -> None:
        """Sets a fault from its JSON form. Raises ValueError if that is not a valid fault."""
        unknown = document.keys() - {field.name for field in fields(Fault)}
        if unknown or document.get("kind") not in get_args(Kind):
            raise ValueError(f"not a fault: {dict(document)!r}")
        if document.get("operation", "schedule") not in get_args(Operation):
            raise ValueError(f"operation must be {' or '.join(get_args(Operation))}")
        self._faults.append(Fault(**document))

    def clear(self) -> None:
        """Removes every fault."""
        self._faults.clear()

    def list(self) -> list[dict[str, Any]]:
        """Returns the faults in their JSON form."""
        return [asdict(fault) for fault in self._faults]

    def strike(self, operation: Operation, site_id: str, *, page: int = 1, job_id: str = "") -> Fault | None:
        """Returns the fault that strikes a request, or None. Lowers the fault's `times` by one."""
        for fault in self._faults:
            if (
                fault.operation == operation
                and fault.site_id in (None, site_id)
                and (operation == "job" or fault.page in (None, page))
                and (operation == "schedule" or fault.job_id in (None, job_id))
            ):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._faults.remove(fault)
                return fault
        return None


def spoil(fault: Fault, page: Page, cursor: str) -> Page:
    """Returns a page of the schedule with the fault's damage. `cursor` is the one that led to the page."""
    change = _SPOIL.get(fault.kind)
    return page if change is None else change(page, cursor)


def _empty(_page: Page, _cursor: str) -> Page:
    return {"workers": [], "next_cursor": None}


def _cut(page: Page, _cursor: str) -> Page:
    return {"workers": page["workers"][: len(page["workers"]) // 2], "next_cursor": None}


def _repeat(page: Page, cursor: str) -> Page:
    return {**page, "next_cursor": cursor}


def _rewind(page: Page, cursor: str) -> Page:
    number, _ = read_cursor(cursor)
    return {**page, "next_cursor": write_cursor(number + 1, None)}


def _step_back(page: Page, _cursor: str) -> Page:
    if len(page["workers"]) < 2:
        return page
    first, *middle, last = page["workers"]
    return {**page, "workers": [last, *middle, first]}


def _missing_rows(page: Page, _cursor: str) -> Page:
    return {**page, "workers": [{**worker, "jobs": []} for worker in page["workers"]]}


def _with_first_row(page: Page, change: Callable[[Page], Page]) -> Page:
    workers = [*page["workers"]]
    for place, worker in enumerate(workers):
        if worker["jobs"]:
            first, *rest = worker["jobs"]
            workers[place] = {**worker, "jobs": [change(first), *rest]}
            break
    return {**page, "workers": workers}


def _unusable_row(page: Page, _cursor: str) -> Page:
    return _with_first_row(page, lambda row: {**row, "starts_at": row["ends_at"], "ends_at": "1999-12-31T23:59:59Z"})


def _nameless_row(page: Page, _cursor: str) -> Page:
    return _with_first_row(page, lambda row: {name: value for name, value in row.items() if name != "job_id"})


def _half_pair(page: Page, _cursor: str) -> Page:
    return _with_first_row(page, broken)


def broken(row: Page) -> Page:
    """Returns the row with a placeholder at the end of its subject. `broken_bytes` makes it half a surrogate pair."""
    return {**row, "subject": f"call {_HALF}"}


def broken_bytes(body: bytes) -> bytes:
    """Replaces the placeholders of `broken` with half surrogate pairs, which no encoder writes."""
    return body.replace(_HALF.encode(), b"\\ud83d")


def _no_worker(page: Page, _cursor: str) -> Page:
    return {**page, "workers": [None, *page["workers"][1:]]}


_SPOIL: dict[Kind, Callable[[Page, str], Page]] = {
    "empty": _empty,
    "cut": _cut,
    "repeat": _repeat,
    "rewind": _rewind,
    "step_back": _step_back,
    "missing_rows": _missing_rows,
    "unusable_row": _unusable_row,
    "nameless_row": _nameless_row,
    "no_worker": _no_worker,
    "half_pair": _half_pair,
}
