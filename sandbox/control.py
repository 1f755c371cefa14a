"""Clients that control a running sandbox (Graph, Core, the registry) from tests, the demo and end-to-end runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import orjson

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Secret:
    """A client secret. `expires` is in epoch seconds; None means never."""

    value: str
    id: str | None = None
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox to add or change. docs/sandbox-graph.md lists the values of `state`."""

    address: str
    state: str = "ok"
    time_zone: str = "UTC"


class IngressControl:
    """Controls the ingress in front of a stand-in (sandbox/ingress.py). Raises the same errors as `_Control`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """``client`` leads to the stand-in's ``/_sandbox``."""
        self._client = client

    async def answer(
        self,
        path: str = "/",
        *,
        method: str | None = None,
        status: int = 404,
        content_type: str = "text/plain; charset=utf-8",
        headers: Mapping[str, str] | None = None,
        body: str = "default backend - 404",
        skip: int = 0,
        times: int | None = None,
        seconds: float | None = None,
        when: str = "before",
    ) -> str:
        """From now on, answers requests below ``path`` in place of the stand-in. Returns the rule's id."""
        document = {
            "path": path,
            "method": method,
            "status": status,
            "content_type": content_type,
            "headers": dict(headers or {}),
            "body": body,
            "skip": skip,
            "times": times,
            "seconds": seconds,
            "when": when,
        }
        return str(_object(await _ask(self._client, "POST", "/ingress", document))["id"])

    async def wait(self, rule: str, hits: int = 1, within: float = 10.0) -> None:
        """Waits until the rule has struck ``hits`` times. Raises TimeoutError."""
        path = f"/ingress/{rule}/hits?at_least={hits}&timeout={within}"
        answer = _object(await _ask(self._client, "GET", path))
        if not answer["reached"]:
            raise TimeoutError(f"rule {rule} struck {answer['hits']} times, not {hits}")

    async def hits(self, rule: str) -> int:
        """Returns how often the rule has struck."""
        return int(_object(await _ask(self._client, "GET", f"/ingress/{rule}/hits?at_least=0"))["hits"])

    async def clear(self) -> None:
        """Removes every rule."""
        await _ask(self._client, "DELETE", "/ingress")


class _Control:
    """The control endpoints of a stand-in at `url`, such as `http://127.0.0.1:8080`.

    Every method raises httpx.HTTPStatusError if the stand-in refuses the request; the error's text says why. Close the
    client, or use it as an asynchronous context manager.
    """

    def __init__(self, url: str, *, verify: Any = True) -> None:
        self.url = url.rstrip("/")
        if not self.url.startswith("https:"):
            verify = False  # otherwise httpx would load every known authority although nothing is verified
        self._client = httpx.AsyncClient(base_url=f"{self.url}/_sandbox", timeout=60, verify=verify)
        self.ingress = IngressControl(self._client)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._client.aclose()


class RegistryControl(_Control):
    """Controls the stand-in registry, and registers schemas as a converter does."""

    async def register(self, subject: str, schema: str) -> int:
        """Registers an Avro schema and returns its id."""
        url = f"{self.url}/subjects/{quote(subject, safe='')}/versions"
        return int(_object(await _ask(self._client, "POST", url, {"schema": schema}))["id"])


class GraphControl(_Control):
    """Controls the sandbox's Graph and Entra."""

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
        """Adds or changes an app. None leaves a value as it is. A new app has the service's two roles and no secret."""
        document: Document = {}
        if secrets is not None:
            document["secrets"] = [asdict(each) for each in secrets]
        if roles is not None:
            document["roles"] = list(roles)
        return _object(await self._ask("PUT", f"/tenants/{tenant}/apps/{client_id}", document))

    async def remove_app(self, tenant: str, client_id: str) -> None:
        await self._ask("DELETE", f"/tenants/{tenant}/apps/{client_id}")

    async def add_mailboxes(self, tenant: str, mailboxes: Iterable[Mailbox | str]) -> None:
        """Adds mailboxes. For existing ones, sets the state and the time zone."""
        wanted = [Mailbox(each) if isinstance(each, str) else each for each in mailboxes]
        document = {"mailboxes": [asdict(each) for each in wanted]}
        await self._ask("PUT", f"/tenants/{tenant}/mailboxes", document)

    async def add_many_mailboxes(self, tenant: str, pattern: str, count: int, *, time_zone: str = "UTC") -> None:
        """Adds `count` mailboxes; `{n}` in the pattern becomes 1, 2, …"""
        document = {"pattern": pattern, "count": count, "time_zone": time_zone}
        await self._ask("PUT", f"/tenants/{tenant}/mailboxes", document)

    async def set_mailbox(
        self,
        tenant: str,
        address: str,
        *,
        state: str | None = None,
        time_zone: str | None = None,
        aliases: Sequence[str] | None = None,
    ) -> None:
        """Adds or changes a mailbox. None leaves a value as it is. Existing aliases stay, even if not named again."""
        document = _given({"state": state, "time_zone": time_zone, "aliases": aliases and list(aliases)})
        await self._ask("PUT", f"/tenants/{tenant}/mailboxes/{quote(address, safe='')}", document)

    async def tenants(self) -> Document:
        return _object(await self._ask("GET", "/tenants"))

    async def revoke_tokens(self, tenant: str | None = None, app: str | None = None) -> int:
        """Revokes the tokens issued so far: they get 401 from now on. Returns how many there were."""
        document = _given({"tenant": tenant, "app": app})
        return int(_object(await self._ask("POST", "/tokens/revoke", document))["revoked"])

    async def switches(self) -> Document:
        """Returns every switch with its value, default and meaning."""
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
        retry_after: float | str | None = None,
        hold_seconds: float | None = None,
        delay_seconds: float | None = None,
        status: int | None = None,
        location: str | None = None,
    ) -> str:
        """Sets a fault and returns its id. docs/sandbox-graph.md lists the kinds and the fields."""
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
            "delay_seconds": delay_seconds,
            "status": status,
            "location": location,
        }
        return str(_object(await self._ask("POST", "/faults", document))["id"])

    async def faults(self) -> list[Document]:
        return _objects(await self._ask("GET", "/faults"))

    async def wait_for_fault(self, fault: str, hits: int = 1, within: float = 10.0) -> None:
        """Waits until the fault has struck `hits` times. Raises TimeoutError."""
        answer = _object(await self._ask("GET", f"/faults/{fault}/hits?at_least={hits}&timeout={within}"))
        if not answer["reached"]:
            raise TimeoutError(f"fault {fault} struck {answer['hits']} times, not {hits}")

    async def release(self, fault: str) -> int:
        """Releases the requests that a `hold`, `slow` or `late` fault holds now. Returns how many there were."""
        return int(_object(await self._ask("POST", f"/faults/{fault}/release"))["released"])

    async def remove_fault(self, fault: str) -> None:
        await self._ask("DELETE", f"/faults/{fault}")

    async def clear_faults(self) -> None:
        await self._ask("DELETE", "/faults")

    async def events(self, mailbox: str | None = None, tenant: str | None = None) -> dict[str, list[Document]]:
        """Returns the events of each mailbox, by its address."""
        query = httpx.QueryParams(_given({"mailbox": mailbox, "tenant": tenant}))
        return {
            address: _objects(held) for address, held in _object(await self._ask("GET", f"/events?{query}")).items()
        }

    async def act(self, action: str, mailbox: str, **details: Any) -> Document:
        """Does what a person does. docs/sandbox-graph.md lists the actions and their details, including `tenant`."""
        document = _given({"action": action, "mailbox": mailbox, **details})
        return _object(await self._ask("POST", "/user-actions", document))

    async def user_create(self, mailbox: str, event: Mapping[str, Any], *, calendar: str = "Calendar") -> Document:
        """A person adds an event, in Graph's JSON."""
        return await self.act("create", mailbox, event=dict(event), calendar=calendar)

    async def user_edit(
        self, mailbox: str, changes: Mapping[str, Any], *, event_id: str | None = None, tag: str | None = None
    ) -> Document:
        """A person changes an event; `changes` in Graph's JSON."""
        return await self.act("edit", mailbox, id=event_id, tag=tag, changes=dict(changes))

    async def user_move(
        self, mailbox: str, calendar: str, *, event_id: str | None = None, tag: str | None = None
    ) -> Document:
        """A person moves an event to the calendar of that name. It is created if it does not exist."""
        return await self.act("move", mailbox, id=event_id, tag=tag, calendar=calendar)

    async def user_copy(self, mailbox: str, *, event_id: str | None = None, tag: str | None = None) -> Document:
        """A person copies an event. Returns the copy."""
        return await self.act("copy", mailbox, id=event_id, tag=tag)

    async def user_delete(self, mailbox: str, *, event_id: str | None = None, tag: str | None = None) -> Document:
        """A person deletes an event: it moves to Deleted Items."""
        return await self.act("delete", mailbox, id=event_id, tag=tag)

    async def user_restore(self, mailbox: str, *, event_id: str | None = None, tag: str | None = None) -> Document:
        """A person brings an event back from Deleted Items."""
        return await self.act("restore", mailbox, id=event_id, tag=tag)

    async def user_make_all_day(self, mailbox: str, *, event_id: str | None = None, tag: str | None = None) -> Document:
        return await self.act("all_day", mailbox, id=event_id, tag=tag)

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
        return await self.act("series", mailbox, id=event_id, tag=tag, pattern=pattern, count=count)

    async def stats(self) -> Document:
        return _object(await self._ask("GET", "/stats"))

    async def reset_stats(self) -> None:
        await self._ask("POST", "/stats/reset")

    async def log(self) -> list[Document]:
        """Returns the last requests, oldest first, without bodies."""
        return _objects(await self._ask("GET", "/log"))

    async def record(self, *, on: bool) -> None:
        """Switches the recording of whole requests, up to 32 MiB. Switching it on discards the previous recording."""
        await self._ask("PUT", "/recording", {"on": on})

    async def recording(self) -> list[Document]:
        return _objects(await self._ask("GET", "/recording"))

    async def _ask(self, method: str, path: str, document: Document | None = None) -> Any:
        return await _ask(self._client, method, path, document)


class CoreControl(_Control):
    """Controls the stand-in for Core."""

    async def put_schedule(self, document: Document) -> None:
        """Replaces Core's schedule with a dumped one (sandbox.core.document). Sends nothing to a topic."""
        await _ask(self._client, "PUT", "/schedule", document)

    async def schedule(self) -> Document:
        """Returns the whole schedule, as `put_schedule` takes it."""
        return _object(await _ask(self._client, "GET", "/schedule"))

    async def change_job(self, job_id: str, **columns: Any) -> None:
        """Changes columns of a job. The change is on the topic when this returns, if Core has one."""
        await _ask(self._client, "PATCH", f"/jobs/{quote(job_id, safe='')}", columns)

    async def set_page_size(self, workers: int) -> None:
        """Sets the number of workers on a page of the schedule."""
        await _ask(self._client, "PUT", "/page-size", {"workers": workers})

    async def set_fault(self, kind: str, **details: Any) -> None:
        """Sets a fault. sandbox.core.faults lists the kinds and the details."""
        await _ask(self._client, "POST", "/faults", {"kind": kind, **details})

    async def clear_faults(self) -> None:
        await _ask(self._client, "DELETE", "/faults")

    async def requests(self) -> dict[str, int]:
        """Returns the number of requests since the last `forget_requests`, by operation and status: `schedule 200`."""
        return dict(_object(await _ask(self._client, "GET", "/requests"))["requests"])

    async def forget_requests(self) -> None:
        await _ask(self._client, "DELETE", "/requests")


async def _ask(client: httpx.AsyncClient, method: str, path: str, document: Document | None = None) -> Any:
    body = None if document is None else orjson.dumps(document, option=orjson.OPT_UTC_Z)
    answer = await client.request(method, path, content=body)
    if answer.is_error:
        raise httpx.HTTPStatusError(
            f"{method} {path}: {answer.status_code} {answer.text}", request=answer.request, response=answer
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
