"""Rules for every request to Entra and Graph (docs/facts/graph.md, parts 1 to 6).

Microsoft's own description of Graph (tests/contract/graph_description.py) does not describe batches, headers, required
members, or the service's own promises. Requests are checked as the sandbox records them.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final
from urllib.parse import parse_qsl

from tzlocal.windows_tz import win_tz

Document = dict[str, Any]

TAG: Final = "String {7d0c3f5e-52a4-4c1b-9d55-0b1f5c2e9a60} Name CoreJob"
_MOST_IN_A_BATCH: Final = 20
_LONGEST_VIEW: Final = timedelta(days=1825)
_LONGEST_LINE: Final = 255
_LONGEST_BODY: Final = 32_000

_ADDRESS: Final = r"(?:[A-Za-z0-9._~!$&'()*,;=@-]|%[0-9A-F]{2})+"
_ID: Final = r"(?:[A-Za-z0-9._~=-]|%[0-9A-F]{2})+"
"""Characters that RFC 3986 allows in a path's segment, except the plus, which some servers read as a space."""
_OPERATIONS: Final = {
    "create": ("POST", re.compile(rf"/users/{_ADDRESS}/events")),
    "update": ("PATCH", re.compile(rf"/users/{_ADDRESS}/events/{_ID}")),
    "delete": ("DELETE", re.compile(rf"/users/{_ADDRESS}/events/{_ID}")),
    "get": ("GET", re.compile(rf"/users/{_ADDRESS}/events/{_ID}")),
    "find": ("GET", re.compile(rf"/users/{_ADDRESS}/events")),
    "view": ("GET", re.compile(rf"/users/{_ADDRESS}/calendarView")),
    "timezone": ("GET", re.compile(rf"/users/{_ADDRESS}/mailboxSettings/timeZone")),
}
_QUERY: Final = re.compile(r"(?:[A-Za-z0-9._~$!'()*,;:@/?=&-]|%[0-9A-F]{2})*")
_EXPAND: Final = f"singleValueExtendedProperties($filter=id eq '{TAG}')"
_FILTER: Final = re.compile(
    rf"singleValueExtendedProperties/Any\(ep: ep/id eq '{re.escape(TAG)}' and ep/value eq '(?:[^']|'')+'\)"
)
_PREFIX: Final = re.compile(
    rf"singleValueExtendedProperties/Any\(ep: ep/id eq '{re.escape(TAG)}' and startswith\(ep/value,'[a-z0-9-]+/'\)\)"
)
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,7})?(?:Z|[+-]\d\d:\d\d)")
_LOCAL_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,7})?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SITE_AND_JOB: Final = re.compile(r"[a-z0-9][a-z0-9-]*/.+", re.DOTALL)
_ALWAYS: Final = {
    "isAllDay": False,
    "showAs": "busy",
    "isReminderOn": True,
    "reminderMinutesBeforeStart": 15,
    "sensitivity": "normal",
    "importance": "normal",
}
_OWNED: Final = frozenset(("subject", "body", "start", "end", "location", *_ALWAYS))
_READABLE: Final = frozenset(
    ("id", "type", "seriesMasterId", "changeKey", "createdDateTime", *_OWNED),
)
_BATCHED: Final = frozenset(("id", "method", "url", "headers", "body"))
_AT_CREATION: Final = frozenset(("transactionId", "singleValueExtendedProperties"))


def breaches(recorded: Iterable[Document]) -> list[str]:
    """What is wrong with the recorded requests, each once, with the request that it was first seen in."""
    found: dict[str, str] = {}
    for request in recorded:
        for call, problems in chain(
            [(request, of_exchange(request))], ((each, of_call(each)) for each in calls(request))
        ):
            for problem in problems:
                found.setdefault(problem, f"{call['method']} {call['path']}: {problem}")
    return list(found.values())


def calls(request: Document) -> list[Document]:
    """The requests on mailboxes in a recorded one: itself, or those of its batch, as if each were sent alone."""
    if request["service"] != "graph":
        return []
    if request["path"] != "/$batch":
        return [request]
    body = request["body"]
    inner = body.get("requests") if isinstance(body, dict) else None
    return [_alone(each) for each in inner or () if isinstance(each, dict)]


def _alone(inner: Document) -> Document:
    path, _, query = str(inner.get("url")).partition("?")
    headers = {str(name).lower(): value for name, value in (inner.get("headers") or {}).items()}
    return {
        "method": inner.get("method"),
        "path": path,
        "query": query,
        "headers": headers,
        "body": inner.get("body"),
    }


def of_exchange(request: Document) -> Iterator[str]:
    """What is wrong with a request at the level of HTTP: its target, its credentials and its envelope."""
    if "cookie" in request["headers"]:
        yield "a cookie is sent"
    if request["service"] == "entra":
        yield from _of_entra(request)
        return
    if request["headers"].get("authorization") != "Bearer":
        yield "no bearer token"
    if request["path"] == "/$batch":
        yield from _of_batch(request)


def _of_entra(request: Document) -> Iterator[str]:
    if "authorization" in request["headers"]:
        yield "a token is sent to Entra"
    path, body = request["path"], request["body"]
    if request["method"] == "GET":
        if not path.endswith("/v2.0/.well-known/openid-configuration") and path != "/common/discovery/instance":
            yield "Entra is asked for something else than tokens"
        return
    if not path.endswith("/oauth2/v2.0/token") or not isinstance(body, dict):
        yield "no request for a token"
        return
    if body.get("grant_type") != "client_credentials" or not {"client_id", "client_secret"} <= body.keys():
        yield "no client credentials"
    if body.get("scope") != "https://graph.microsoft.com/.default":
        yield "another scope than Graph's .default"


def _of_batch(request: Document) -> Iterator[str]:
    if request["method"] != "POST" or request["query"]:
        yield "a batch is posted, without a query"
    if not _is_json(request["headers"]):
        yield "a batch without Content-Type: application/json"
    body = request["body"]
    if not isinstance(body, dict) or body.keys() != {"requests"} or not isinstance(body["requests"], list):
        yield "a batch is an object with requests"
        return
    requests = body["requests"]
    if not 1 <= len(requests) <= _MOST_IN_A_BATCH:
        yield f"a batch holds 1 to {_MOST_IN_A_BATCH} requests"
    ids = [each.get("id") for each in requests if isinstance(each, dict)]
    if not all(isinstance(each, str) and each for each in ids) or len({str(each).lower() for each in ids}) < len(
        requests
    ):
        yield "the ids within a batch are texts and unique in any case"
    for each in requests:
        if not isinstance(each, dict) or not {"id", "method", "url", "headers"} <= each.keys() <= _BATCHED:
            yield "a request within a batch has id, method, url, headers, and nothing else but a body"
        elif not str(each["url"]).startswith("/users/"):
            yield "a url within a batch is relative, below the version"
        elif not {name.lower() for name in each["headers"]} <= {"prefer", "content-type"}:
            yield "a request within a batch is authorised by the batch, and has no header but Prefer and Content-Type"


def of_call(call: Document) -> Iterator[str]:
    """What is wrong with one request on a mailbox, whether it was sent alone or within a batch."""
    method, path, body = call["method"], call["path"], call["body"]
    if call["headers"].get("prefer") != 'IdType="ImmutableId"':
        yield 'no Prefer: IdType="ImmutableId"'
    if (body is not None) is not _is_json(call["headers"]):
        yield "Content-Type: application/json belongs to a body, and to nothing else"
    operation = next(
        (name for name, (verb, form) in _OPERATIONS.items() if verb == method and form.fullmatch(path)), None
    )
    if operation is None:
        yield "no operation of the service, or an address or an id that is not encoded"
        return
    if (body is not None) is not (operation in ("create", "update")):
        yield "only events that are made or changed have a body"
    yield from _of_query(operation, call["query"])
    if operation in ("create", "update"):
        yield from _of_event(body, creation=operation == "create")


def _of_query(operation: str, query: str) -> Iterator[str]:
    asked = dict(parse_qsl(query, keep_blank_values=True))
    if "$skip" in asked or "$skiptoken" in asked:
        return  # a nextLink, in Graph's own form
    if not _QUERY.fullmatch(query):
        yield "a query with characters that must be encoded"
    if operation == "find" and "$top" in asked:
        operation = "tagged"
    names = {
        "tagged": {"$filter", "$top", "$select", "$expand"},
        "get": {"$select", "$expand"},
        "find": {"$filter", "$select", "$expand"},
        "view": {"startDateTime", "endDateTime", "$top", "$select", "$expand"},
    }.get(operation, set())
    if asked.keys() != names:
        yield f"the query of a {operation} has {', '.join(sorted(names)) or 'nothing'}"
        return
    if "$expand" in names and asked["$expand"] != _EXPAND:
        yield "$expand names our property, and nothing else"
    if "$select" in names and not {"id"} <= set(asked["$select"].split(",")) <= _READABLE:
        yield "$select names the id, and nothing that we do not need"
    if operation == "find" and not _FILTER.fullmatch(asked["$filter"]):
        yield "$filter finds one tag, its quotes doubled"
    if operation == "tagged" and not _PREFIX.fullmatch(asked["$filter"]):
        yield "$filter finds the tags of one site"
    if operation == "view":
        yield from _of_window(asked)


def _of_window(asked: dict[str, str]) -> Iterator[str]:
    if not 1 <= int(asked["$top"] if asked["$top"].isdecimal() else 0) <= 1000:
        yield "$top is 1 to 1000"
    ends = [asked["startDateTime"], asked["endDateTime"]]
    if not all(_MOMENT.fullmatch(each) for each in ends):
        yield "a window's times carry their offset"
        return
    start, end = (datetime.fromisoformat(each) for each in ends)
    if not timedelta() < end - start <= _LONGEST_VIEW:
        yield "a window ends after it starts, and within five years"


def _of_event(body: Any, *, creation: bool) -> Iterator[str]:
    if not isinstance(body, dict):
        yield "an event is an object"
        return
    expected = _OWNED | _AT_CREATION if creation else _OWNED
    if not creation and "singleValueExtendedProperties" in body:
        expected |= {"singleValueExtendedProperties"}  # an event that the service created without its tag
    if "attendees" in body:
        yield "attendees: Outlook would mail them"
    if "transactionId" in body and not creation:
        yield "transactionId is immutable: a PATCH has none"
    if body.keys() != expected:
        yield f"an event has all that we own, always, and nothing else: {', '.join(sorted(body.keys() ^ expected))}"
        return
    for name, value in _ALWAYS.items():
        if body[name] is not value and body[name] != value:
            yield f"{name} is {value}"
    yield from _of_texts(body)
    yield from _of_times(body["start"], body["end"])
    if "singleValueExtendedProperties" in body:
        yield from _of_tag(body["singleValueExtendedProperties"])
    if creation and not (isinstance(body["transactionId"], str) and body["transactionId"]):
        yield "an event is made with a transactionId"


def _of_texts(body: Document) -> Iterator[str]:
    content, location = body["body"], body["location"]
    if (
        not isinstance(content, dict)
        or content.keys() != {"contentType", "content"}
        or content["contentType"] != "html"
    ):
        yield "a body is html"
    elif not isinstance(content["content"], str) or len(content["content"]) > _LONGEST_BODY:
        yield f"a body has at most {_LONGEST_BODY} characters"
    if not isinstance(location, dict) or location.keys() != {"displayName"}:
        yield "a location is a display name"
        return
    for name, line in (("subject", body["subject"]), ("location", location["displayName"])):
        if not isinstance(line, str) or _CONTROL.search(line):
            yield f"the {name} is one line"
        elif len(line.encode("utf-16-le", "surrogatepass")) // 2 > _LONGEST_LINE:
            yield f"the {name} has at most {_LONGEST_LINE} UTF-16 units"


def _of_times(start: Any, end: Any) -> Iterator[str]:
    for each in (start, end):
        if not isinstance(each, dict) or each.keys() != {"dateTime", "timeZone"}:
            yield "a time and its zone are one unit"
            return
        if not _LOCAL_TIME.fullmatch(str(each["dateTime"])):
            yield "dateTime is a local time, without an offset"
            return
        if each["timeZone"] != "UTC" and each["timeZone"] not in win_tz:
            yield "timeZone is a Windows name or UTC"
    if start["timeZone"] != end["timeZone"]:
        yield "both ends are in one zone"
    elif end["dateTime"] < start["dateTime"]:
        yield "an event ends after it starts"


def _of_tag(properties: Any) -> Iterator[str]:
    if not isinstance(properties, list) or [each.get("id") for each in properties] != [TAG]:
        yield "an event is made with our tag, and no other property"
    elif not _SITE_AND_JOB.fullmatch(str(properties[0].get("value"))):
        yield "a tag's value is {site}/{job}"


def _is_json(headers: dict[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip() == "application/json"
