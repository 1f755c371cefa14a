"""Graph's requests on mailboxes: which are allowed, how many at once, and what each does."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from sandbox.graph import errors, events, limits
from sandbox.graph.errors import Answer, GraphError, LostAnswerError
from sandbox.graph.fault import Fault
from sandbox.graph.faults import Faults
from sandbox.graph.listing import listing, view
from sandbox.graph.odata import query
from sandbox.graph.payload import Body
from sandbox.graph.prefer import Preferences, preferences
from sandbox.graph.render import shape
from sandbox.graph.routes import Route, route
from sandbox.graph.stats import LogLine
from sandbox.graph.world import Event, Mailbox, Span, Token, Usage, World

_NEEDED = {
    "create": ("Calendars.ReadWrite",),
    "update": ("Calendars.ReadWrite",),
    "delete": ("Calendars.ReadWrite",),
    "get": ("Calendars.ReadWrite", "Calendars.Read"),
    "list": ("Calendars.ReadWrite", "Calendars.Read"),
    "view": ("Calendars.ReadWrite", "Calendars.Read"),
    "timezone": ("MailboxSettings.Read", "MailboxSettings.ReadWrite"),
}
CUSTOM_ZONE = "Customized Time Zone"
_OTHER = Route("other", "")
_MISTYPED = "A supported MIME type could not be found that matches the content type of the response."


@dataclass(slots=True, eq=False)
class Call:
    """One request to Graph, alone or inside a batch. `path` is raw and starts after /v1.0.

    `payload` is the body's bytes, or its JSON inside a batch. `origin` is the origin that the request named.
    """

    method: str
    path: str
    query: str
    origin: str
    authorization: str
    prefer: str
    if_match: str | None
    content_type: str
    client_request_id: str
    request_id: str
    arrived: float
    code_style: str = "documented"
    payload: Any = None
    batched: bool = False
    untagged: bool = False
    route: Route = _OTHER
    token: Token | None = None
    mailbox: Mailbox | None = None
    usage: Usage | None = None
    seen: int | None = None
    written: list[Event] = field(default_factory=list)

    def refused(self, error: GraphError) -> Answer:
        return error.answer(self.request_id, self.client_request_id, self.code_style)

    @property
    def upload(self) -> int:
        """The size of the body in bytes."""
        if not self.payload:
            return 0
        return len(self.payload if isinstance(self.payload, bytes) else orjson.dumps(self.payload))


class Graph:
    """Answers the requests on mailboxes of one world."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world = world
        self.faults = faults
        self._operations: dict[str, Callable[[Call, Mailbox, Preferences], Answer]] = {
            "create": self._create,
            "update": self._update,
            "delete": self._delete,
            "get": self._get,
            "list": self._list,
            "view": self._view,
            "timezone": self._settings,
        }

    @property
    def instant(self) -> bool:
        """Whether every request is answered at once: no latency, no fault."""
        return not self.faults and not self.world.switches.latency_ms

    async def run(self, call: Call) -> Answer:
        """Answers one request, with latency and faults. Raises LostAnswerError if it gets no answer."""
        refused = self.begin(call)
        if refused is not None:
            return refused
        try:
            if self.world.switches.latency_ms:
                await asyncio.sleep(self.world.switches.latency_ms / 1000)
            mailbox = _found(call.mailbox)
            fault = self.faults.strike(call.route.operation, mailbox.tenant.id, mailbox.address)
            if fault is None:
                answer = self._apply(call)
            else:
                call.untagged = fault.kind == "untagged"
                answer = await self.faults.suffer(fault, _soon(self._apply, call), _told(call, mailbox))
        except LostAnswerError:
            self._note(call, Answer(0))
            raise
        finally:
            self._leave(call)
        return self._note(call, answer)

    def run_now(self, call: Call) -> Answer:
        """Answers one request at once."""
        return self.begin(call) or self.finish(call)

    def begin(self, call: Call) -> Answer | None:
        """Admits a request and returns None; `finish` must follow. If the request is refused, returns the answer."""
        try:
            call.route = route(call.method, call.path)
            call.token = token = self.authenticate(call.authorization)
            call.mailbox = mailbox = _mailbox(token, call.route.user)
            usage = mailbox.usage.get(token.app.client_id)
            if usage is None:
                usage = mailbox.usage[token.app.client_id] = Usage()
            app = self.world.apps.get(token.app.client_id)
            if app is None:
                app = self.world.apps[token.app.client_id] = Span()
            call.usage = usage
            limits.enter(usage, app, self.world.switches, self.world.now(), call.arrived, call.upload)
        except GraphError as error:
            return self._note(call, call.refused(error))
        if call.route.operation == "update" and call.route.item is not None:
            event = mailbox.events.get(call.route.item) or mailbox.by_regular_id.get(call.route.item)
            call.seen = None if event is None else event.writes
        return None

    def finish(self, call: Call) -> Answer:
        """Carries out a request that was admitted."""
        try:
            return self._note(call, self._apply(call))
        finally:
            self._leave(call)

    def authenticate(self, authorization: str) -> Token:
        """Returns the token of an Authorization header. Raises GraphError (401)."""
        scheme, _, text = authorization.partition(" ")
        token = self.world.tokens.get(text.strip()) if scheme.lower() == "bearer" else None
        if token is not None and token.expires > self.world.now():
            return token
        message = "Lifetime validation failed, the token is expired."
        if token is None:
            message = "Access token validation failure. Invalid token." if text else "Access token is empty."
        raise GraphError(401, "InvalidAuthenticationToken", message)

    def _leave(self, call: Call) -> None:
        if call.usage is not None:
            limits.leave(call.usage)

    def _note(self, call: Call, answer: Answer) -> Answer:
        address = None if call.mailbox is None else call.mailbox.address
        self.world.stats.note(
            LogLine(
                call.arrived,
                call.method,
                call.path,
                address,
                call.route.operation,
                answer.status,
                call.batched,
            )
        )
        return answer

    def _apply(self, call: Call) -> Answer:
        mailbox = _found(call.mailbox)
        try:
            self._admit(call, mailbox)
            preferred = preferences(call.prefer)
            answer = preferred.confirm(self._operations[call.route.operation](call, mailbox, preferred))
        except GraphError as error:
            return call.refused(error)
        if self.world.switches.background_bumps:
            for event in call.written:
                events.bump_later(self.world, event)
        return answer

    def _admit(self, call: Call, mailbox: Mailbox) -> None:
        roles = call.token.roles if call.token is not None else ()
        if not roles and self.world.switches.no_roles_code == "NoPermissionsInAccessToken":
            raise GraphError(
                self.world.switches.no_roles_status,
                "NoPermissionsInAccessToken",
                "The token contains no permissions, or permissions can not be understood.",
            )
        if not any(role in roles for role in _NEEDED[call.route.operation]):
            raise errors.access_denied()
        match mailbox.state:
            case "no-licence":
                raise errors.not_enabled()
            case "unknown":
                raise errors.invalid_user(call.route.user)
            case "policy-blocked":
                raise GraphError(403, "ErrorAccessDenied", errors.RAOP)
            case "access-denied":
                raise errors.access_denied()
            case "moving":
                raise errors.move_in_progress(mailbox.guid)
            case "info-stale" if call.route.operation == "timezone" and call.route.user.lower() != mailbox.guid:
                raise errors.info_stale()
            case "over-quota" if call.route.operation in ("create", "update"):
                raise errors.quota_exceeded()

    def _create(self, call: Call, mailbox: Mailbox, preferred: Preferences) -> Answer:
        calendar = _calendar(mailbox, call.route.calendar) or mailbox.calendar
        event, changes = events.create(self.world, mailbox, calendar, _json(call))
        if call.untagged:
            self.world.unindex(event)
            event.properties.clear()
        call.written.append(event)
        return Answer(201, self._written(event, mailbox, preferred, changes))

    def _update(self, call: Call, mailbox: Mailbox, preferred: Preferences) -> Answer:
        event = self._find(call, mailbox, preferred)
        events.check_match(event, call.if_match)
        overtaken = call.seen is not None and call.seen != event.writes
        if overtaken and call.if_match is None and self.world.switches.overlap_conflict:
            raise errors.irresolvable_conflict(409)
        changes = events.update(self.world, event, _json(call))
        call.written.append(event)
        return Answer(200, self._written(event, mailbox, preferred, changes))

    def _delete(self, call: Call, mailbox: Mailbox, preferred: Preferences) -> Answer:
        event = self._find(call, mailbox, preferred)
        events.check_match(event, call.if_match)
        events.delete(self.world, event)
        return Answer(204)

    def _get(self, call: Call, mailbox: Mailbox, preferred: Preferences) -> Answer:
        asked = query(call.query)
        event = self._find(call, mailbox, preferred)
        return Answer(200, shape(asked.select, asked.expand, preferred).entity(event))

    def _list(self, call: Call, mailbox: Mailbox, preferred: Preferences) -> Answer:
        calendar = _calendar(mailbox, call.route.calendar)
        return Answer(200, listing(self.world, mailbox, calendar, query(call.query), preferred, self._url(call)))

    def _view(self, call: Call, mailbox: Mailbox, preferred: Preferences) -> Answer:
        calendar = _calendar(mailbox, call.route.calendar) or mailbox.calendar
        return Answer(200, view(self.world, mailbox, calendar, query(call.query), preferred, self._url(call)))

    def _settings(self, call: Call, mailbox: Mailbox, _preferred: Preferences) -> Answer:
        context = f"{mailbox.context}/mailboxSettings"
        document: dict[str, Any]
        if call.route.item is None:
            document = {"@odata.context": context, **_mailbox_settings(mailbox)}
        elif call.route.item.lower() == "timezone":
            document = {"@odata.context": f"{context}/timeZone", "value": mailbox.time_zone}
        else:
            raise GraphError(400, "BadRequest", f"Resource not found for the segment '{call.route.item}'.")
        return Answer(200, orjson.dumps(document))

    def _find(self, call: Call, mailbox: Mailbox, preferred: Preferences) -> Event:
        event = events.find(self.world, mailbox, call.route.item or "", immutable=preferred.immutable)
        calendar = _calendar(mailbox, call.route.calendar)
        if calendar is not None and event.calendar != calendar:
            raise errors.item_not_found()
        return event

    def _url(self, call: Call) -> str:
        """Returns the start of a nextLink."""
        return f"{self.world.switches.next_link_origin or call.origin}/v1.0{call.path}"

    def _written(self, event: Event, mailbox: Mailbox, preferred: Preferences, changes: dict[str, Any]) -> bytes:
        """Returns the event as the answer to a write, with times in the zone that the switch selects."""
        wanted = {"sent": event.start_zone, "mailbox": mailbox.time_zone}.get(self.world.switches.answer_zone)
        if wanted is not None:
            preferred = preferred.within(wanted)
        return shape(None, None, preferred).entity(event, self._echo(changes))

    def _echo(self, changes: dict[str, Any]) -> Body | None:
        body: Body | None = changes.get("body")
        echo = self.world.switches.echo_body
        if body is None or echo == "never" or (echo == "text" and body.kind != "text"):
            return None
        return body


def _mailbox(token: Token, user: str) -> Mailbox:
    """Returns the mailbox of an address, an alias or an object id, in the token's own tenant."""
    tenant, name = token.tenant, user.lower()
    mailbox = tenant.mailboxes.get(name) or tenant.by_guid.get(name) or tenant.aliases.get(name)
    if mailbox is None:
        raise errors.invalid_user(user)
    return mailbox


def _found(mailbox: Mailbox | None) -> Mailbox:
    if mailbox is None:
        raise AssertionError("a request must be admitted before it is applied")
    return mailbox


def _calendar(mailbox: Mailbox, wanted: str | None) -> str | None:
    """Returns the calendar's id. None is the whole mailbox. Raises GraphError (404)."""
    if wanted is None:
        return None
    if wanted == "":
        return mailbox.calendar
    if wanted not in mailbox.calendars:
        raise errors.item_not_found()
    return wanted


def _json(call: Call) -> Any:
    if "json" not in call.content_type.lower():
        raise errors.unreadable(_MISTYPED)
    if not isinstance(call.payload, bytes):
        return call.payload
    try:
        return orjson.loads(call.payload)
    except orjson.JSONDecodeError as error:
        raise GraphError(
            400, "BadRequest", "Unable to read JSON request payload. Please ensure it is valid."
        ) from error


def _soon(apply: Callable[[Call], Answer], call: Call) -> Callable[[], Any]:
    async def act() -> Answer:
        return apply(call)

    return act


def _told(call: Call, mailbox: Mailbox) -> Callable[[Fault], Answer]:
    return lambda fault: call.refused(fault.error(mailbox.address, mailbox.guid))


def _mailbox_settings(mailbox: Mailbox) -> dict[str, Any]:
    zone: dict[str, Any] = {"name": mailbox.time_zone}
    if mailbox.time_zone == CUSTOM_ZONE:
        zone = {
            "@odata.type": "#microsoft.graph.customTimeZone",
            "bias": -200,
            "name": CUSTOM_ZONE,
            "standardOffset": {
                "time": "02:00:00.0000000",
                "dayOccurrence": 4,
                "dayOfWeek": "sunday",
                "month": 5,
                "year": 0,
            },
            "daylightOffset": {
                "daylightBias": -100,
                "time": "02:00:00.0000000",
                "dayOccurrence": 2,
                "dayOfWeek": "sunday",
                "month": 10,
                "year": 0,
            },
        }
    return {
        "archiveFolder": f"AAMkAD{mailbox.part}ARCHIVE=",
        "timeZone": mailbox.time_zone,
        "delegateMeetingMessageDeliveryOptions": "sendToDelegateOnly",
        "dateFormat": "yyyy-MM-dd",
        "timeFormat": "HH:mm",
        "userPurpose": "user",
        "language": {"locale": "en-GB", "displayName": "English (United Kingdom)"},
        "workingHours": {
            "daysOfWeek": ["monday", "tuesday", "wednesday", "thursday", "friday"],
            "startTime": "08:00:00.0000000",
            "endTime": "17:00:00.0000000",
            "timeZone": zone,
        },
    }
