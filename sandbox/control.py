"""Driving a running sandbox from tests, the demo and end-to-end runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Secret:
    """A client secret; `expires` in epoch seconds, None: never."""

    value: str
    id: str | None = None
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox to be; `state` as docs/sandbox-graph.md lists them."""

    address: str
    state: str = "ok"
    time_zone: str = "UTC"


class GraphControl:
    """The control endpoints of the sandbox at `url`, such as `http://127.0.0.1:8080`.

    Every method raises httpx.HTTPStatusError for what the sandbox refuses; its text tells why. Close it, or use
    it as an asynchronous context manager.
    """

    def __init__(self, url: str, *, verify: Any = True) -> None:
        self.url = url.rstrip("/")
        if not self.url.startswith("https:"):
            verify = False  # or httpx would load every known authority for nothing
        self._client = httpx.AsyncClient(base_url=f"{self.url}/_sandbox", timeout=60, verify=verify)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._client.aclose()

    async def add_tenant(self, tenant: str) -> None:
        await self._ask("PUT", f"/tenants/{tenant}")

    async def remove_tenant(self, tenant: str) -> None:
        await self._ask("DELETE", f"/tenants/{tenant}")

    async def add_app(
        self,
        tenant: str,
        client_id: str,
        secrets: Sequence[Secret] | None = None,
        roles: Sequence[str] | None = None,
    ) -> Document:
        """Adds or changes an app: what is None stays. A new app has both roles the service needs, no secret."""
        document: Document = {}
        if secrets is not None:
            document["secrets"] = [asdict(each) for each in secrets]
        if roles is not None:
            document["roles"] = list(roles)
        return _object(await self._ask("PUT", f"/tenants/{tenant}/apps/{client_id}", document))

    async def remove_app(self, tenant: str, client_id: str) -> None:
        await self._ask("DELETE", f"/tenants/{tenant}/apps/{client_id}")

    async def add_mailboxes(self, tenant: str, mailboxes: Iterable[Mailbox | str]) -> None:
        """Adds mailboxes, or sets the state and time zone of those there are."""
        wanted = [Mailbox(each) if isinstance(each, str) else each for each in mailboxes]
        document = {"mailboxes": [asdict(each) for each in wanted]}
        await self._ask("PUT", f"/tenants/{tenant}/mailboxes", document)

    async def add_many_mailboxes(self, tenant: str, pattern: str, count: int, *, time_zone: str = "UTC") -> None:
        """Adds `count` mailboxes; `{n}` in the pattern becomes 1, 2, …"""
        document = {"pattern": pattern, "count": count, "time_zone": time_zone}
        await self._ask("PUT", f"/tenants/{tenant}/mailboxes", document)

    async def set_mailbox(
        self, tenant: str, address: str, *, state: str | None = None, time_zone: str | None = None
    ) -> None:
        document = _given({"state": state, "time_zone": time_zone})
        await self._ask("PUT", f"/tenants/{tenant}/mailboxes/{quote(address, safe='')}", document)

    async def tenants(self) -> Document:
        return _object(await self._ask("GET", "/tenants"))

    async def revoke_tokens(self, tenant: str | None = None, app: str | None = None) -> int:
        """Tokens issued so far are refused with 401 from now on. Returns how many."""
        document = _given({"tenant": tenant, "app": app})
        return int(_object(await self._ask("POST", "/tokens/revoke", document))["revoked"])

    async def switches(self) -> Document:
        """Every switch with its value, default and meaning."""
        return _object(await self._ask("GET", "/switches"))

    async def set_switches(self, **values: Any) -> None:
        await self._ask("PUT", "/switches", values)

    async def seed(self, seed: int) -> None:
        await self._ask("POST", "/seed", {"seed": seed})

    async def set_fault(
        self,
        fault: str | int,
        *,
        operation: str | None = None,
        mailbox: str | None = None,
        tenant: str | None = None,
        when: str = "before",
        times: int | None = None,
        skip: int = 0,
        probability: float = 1.0,
        retry_after: float | None = None,
        hold_seconds: float | None = None,
    ) -> str:
        """Sets a fault and returns its id."""
        match = _given({"operation": operation, "mailbox": mailbox, "tenant": tenant})
        document = {
            "match": match,
            "fault": fault,
            "when": when,
            "times": times,
            "skip": skip,
            "probability": probability,
            "retry_after": retry_after,
            "hold_seconds": hold_seconds,
        }
        return str(_object(await self._ask("POST", "/faults", document))["id"])

    async def faults(self) -> list[Document]:
        return _objects(await self._ask("GET", "/faults"))

    async def wait_for_fault(self, fault: str, hits: int = 1, within: float = 10.0) -> None:
        """Returns once the fault has struck that often. Raises TimeoutError."""
        answer = _object(await self._ask("GET", f"/faults/{fault}/hits?at_least={hits}&timeout={within}"))
        if not answer["reached"]:
            raise TimeoutError(f"fault {fault} struck {answer['hits']} times, not {hits}")

    async def release(self, fault: str) -> int:
        """Lets go what a `hold`, `slow` or `late` fault holds now. Returns how many."""
        return int(_object(await self._ask("POST", f"/faults/{fault}/release"))["released"])

    async def remove_fault(self, fault: str) -> None:
        await self._ask("DELETE", f"/faults/{fault}")

    async def clear_faults(self) -> None:
        await self._ask("DELETE", "/faults")

    async def events(self, mailbox: str | None = None, tenant: str | None = None) -> dict[str, list[Document]]:
        """The events of each mailbox, by its address."""
        query = httpx.QueryParams(_given({"mailbox": mailbox, "tenant": tenant}))
        return {
            address: _objects(held) for address, held in _object(await self._ask("GET", f"/events?{query}")).items()
        }

    async def user_create(self, mailbox: str, event: Mapping[str, Any], *, calendar: str = "Calendar") -> Document:
        """A person adds an event, in Graph's JSON."""
        return await self._act("create", mailbox, event=dict(event), calendar=calendar)

    async def user_edit(
        self, mailbox: str, changes: Mapping[str, Any], *, event_id: str | None = None, tag: str | None = None
    ) -> Document:
        """A person changes an event; `changes` in Graph's JSON."""
        return await self._act("edit", mailbox, id=event_id, tag=tag, changes=dict(changes))

    async def user_move(
        self, mailbox: str, calendar: str, *, event_id: str | None = None, tag: str | None = None
    ) -> Document:
        """A person moves an event to the calendar of that name, made if there is none."""
        return await self._act("move", mailbox, id=event_id, tag=tag, calendar=calendar)

    async def user_copy(self, mailbox: str, *, event_id: str | None = None, tag: str | None = None) -> Document:
        """A person copies an event; the copy is returned."""
        return await self._act("copy", mailbox, id=event_id, tag=tag)

    async def user_delete(self, mailbox: str, *, event_id: str | None = None, tag: str | None = None) -> Document:
        """A person deletes an event: it is in Deleted Items."""
        return await self._act("delete", mailbox, id=event_id, tag=tag)

    async def user_restore(self, mailbox: str, *, event_id: str | None = None, tag: str | None = None) -> Document:
        """A person brings an event back from Deleted Items."""
        return await self._act("restore", mailbox, id=event_id, tag=tag)

    async def user_make_all_day(self, mailbox: str, *, event_id: str | None = None, tag: str | None = None) -> Document:
        return await self._act("all_day", mailbox, id=event_id, tag=tag)

    async def user_make_series(
        self,
        mailbox: str,
        *,
        event_id: str | None = None,
        tag: str | None = None,
        pattern: str = "weekly",
        count: int = 4,
    ) -> Document:
        """A person makes an event repeat, daily or weekly."""
        return await self._act("series", mailbox, id=event_id, tag=tag, pattern=pattern, count=count)

    async def stats(self) -> Document:
        return _object(await self._ask("GET", "/stats"))

    async def reset_stats(self) -> None:
        await self._ask("POST", "/stats/reset")

    async def log(self) -> list[Document]:
        """The last requests, oldest first, without bodies."""
        return _objects(await self._ask("GET", "/log"))

    async def record(self, *, on: bool) -> None:
        """Keeps whole requests from now on; switching on forgets what was kept before."""
        await self._ask("PUT", "/recording", {"on": on})

    async def recording(self) -> list[Document]:
        return _objects(await self._ask("GET", "/recording"))

    async def _act(self, action: str, mailbox: str, **details: Any) -> Document:
        document = _given({"action": action, "mailbox": mailbox, **details})
        return _object(await self._ask("POST", "/user-actions", document))

    async def _ask(self, method: str, path: str, document: Document | None = None) -> Any:
        answer = await self._client.request(method, path, json=document)
        if answer.is_error:
            raise httpx.HTTPStatusError(
                f"{method} {path}: {answer.status_code} {answer.text}",
                request=answer.request,
                response=answer,
            )
        return answer.json()


def _given(values: Document) -> Document:
    return {name: value for name, value in values.items() if value is not None}


def _object(answer: Any) -> Document:
    if not isinstance(answer, dict):
        raise TypeError(f"an object was expected, not {answer!r}")
    return answer


def _objects(answer: Any) -> list[Document]:
    if not isinstance(answer, list):
        raise TypeError(f"a list was expected, not {answer!r}")
    return answer
