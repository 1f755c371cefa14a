"""The paths of the calendar part of Graph, and the operation that each names."""

from dataclasses import dataclass
from urllib.parse import unquote

from sandbox.graph.errors import GraphError

_COLLECTIONS = {
    ("events", "GET"): "list",
    ("events", "POST"): "create",
    ("calendarview", "GET"): "view",
    ("mailboxsettings", "GET"): "timezone",
}
_ITEMS = {
    ("events", "GET"): "get",
    ("events", "PATCH"): "update",
    ("events", "DELETE"): "delete",
    ("mailboxsettings", "GET"): "timezone",
}
_RESOURCES = {"events", "calendarview", "mailboxsettings"}


@dataclass(frozen=True, slots=True)
class Route:
    """What a path names. `calendar` is None for the whole mailbox, and empty for the default calendar.

    `item` is the id of the event, or the property of the mailbox settings.
    """

    operation: str
    user: str
    calendar: str | None = None
    item: str | None = None


def route(method: str, path: str) -> Route:
    """Returns the route of a raw path below /v1.0. Raises GraphError: 400, 403 for the directory, 405."""
    segments = [unquote(each) if "%" in each else each for each in path.strip("/").split("/")]
    root = segments[0].lower()
    if root == "me":
        raise GraphError(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
    if root != "users":
        raise _unknown(segments[0])
    if len(segments) < 3 or segments[2].lower() == "outlook":  # supportedTimeZones needs User.Read.All
        raise GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
    user, rest, calendar = segments[1], segments[2:], None
    if "/" in user or user.startswith("$"):
        raise _unknown(user)  # not an address to Graph's URL parser, encoded or not (microsoft-graph-docs#10167)
    if rest[0].lower() == "calendar":
        calendar, rest = "", rest[1:]
    elif rest[0].lower() == "calendars" and len(rest) > 1:
        calendar, rest = rest[1], rest[2:]
    resource = rest[0].lower() if rest else ""
    if resource not in _RESOURCES or len(rest) > 2 or (calendar is not None and resource == "mailboxsettings"):
        raise _unknown(rest[-1] if rest else segments[-1])
    operation = (_ITEMS if len(rest) == 2 else _COLLECTIONS).get((resource, method))
    if operation is None:
        raise GraphError(405, "MethodNotAllowed", f"{method} is not allowed here.")
    return Route(operation, user, calendar, rest[1] if len(rest) == 2 else None)


def _unknown(segment: str) -> GraphError:
    return GraphError(400, "BadRequest", f"Resource not found for the segment '{segment}'.")
