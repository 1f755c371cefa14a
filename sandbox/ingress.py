"""An ingress in front of a stand-in: it answers in the stand-in's place, as proxies, gateways and load balancers do.

The stand-ins for Graph (with Entra), Core and the schema registry have one each. These requests control it:

| request | what it does |
|---|---|
| `POST /_sandbox/ingress` | adds a rule, answers `{"id"}` |
| `GET /_sandbox/ingress` | returns the rules with their `hits` |
| `GET /_sandbox/ingress/{id}/hits?at_least=1&timeout=10` | answers when the rule has struck that often (`reached`) |
| `DELETE /_sandbox/ingress`, `DELETE /_sandbox/ingress/{id}` | removes all rules, or one |

A rule is `{"path", "method", "status", "content_type", "headers", "body", "skip", "times", "seconds", "when"}`:

- `path`: a prefix of the path, in which `*` matches any one segment (default: every path). `method`: default any.
- `status` (default 404), `content_type` (empty: none), `headers`, `body` (text): the answer. The defaults are
  ingress-nginx's "default backend - 404".
- `skip`: how many matching requests pass first. `times`: how many are struck (default: all). `seconds`: how long the
  rule lasts.
- `when`: `before` the stand-in sees the request, or `after` it has answered. With `after`, a write is carried out and
  its answer is replaced.
"""

import asyncio
import time
from dataclasses import dataclass, field, fields
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

CONTROL = "/_sandbox/ingress"


@dataclass(slots=True, eq=False)
class Rule:
    """A rule: which requests it strikes, and what it answers. The module's docstring describes the fields."""

    path: str = "/"
    method: str | None = None
    status: int = 404
    content_type: str = "text/plain; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "default backend - 404"
    skip: int = 0
    times: int | None = None
    seconds: float | None = None
    when: str = "before"

    def check(self) -> None:
        """Raises ValueError if a value is out of range."""
        if not 200 <= self.status <= 599:
            raise ValueError(f"status must be 200 to 599, not {self.status}")
        if self.when not in ("before", "after"):
            raise ValueError(f"when must be before or after, not {self.when!r}")

    def matches(self, method: str, path: str) -> bool:
        if self.method is not None and self.method.upper() != method:
            return False
        wanted, there = self.path.split("/"), path.split("/")
        if len(there) < len(wanted):
            return False
        *whole, last = zip(wanted, there[: len(wanted)], strict=True)
        return all(w in ("*", t) for w, t in whole) and (last[0] == "*" or last[1].startswith(last[0]))


@dataclass(slots=True, eq=False)
class _Set:
    """A rule in use, with its end and its hits."""

    rule: Rule
    ends: float | None
    hits: int = 0
    struck: asyncio.Event = field(default_factory=asyncio.Event)


class Ingress:
    """The rules of one stand-in, and the middleware that applies them."""

    def __init__(self) -> None:
        self._rules: dict[str, _Set] = {}
        self._count = 0

    def add(self, **rule: Any) -> str:
        """Adds a rule and returns its id. Raises ValueError or TypeError if it is not a valid rule."""
        unknown = rule.keys() - {each.name for each in fields(Rule)}
        if unknown:
            raise ValueError(f"unknown fields of a rule: {', '.join(sorted(unknown))}")
        made = Rule(**rule)
        made.check()
        self._count += 1
        rule_id = f"i{self._count}"
        self._rules[rule_id] = _Set(made, None if made.seconds is None else time.monotonic() + made.seconds)
        return rule_id

    def clear(self) -> None:
        """Removes every rule."""
        self._rules.clear()

    def hits(self, rule_id: str) -> int:
        """Returns how often a rule has struck. Raises KeyError if there is no such rule."""
        return self._rules[rule_id].hits

    @property
    def middleware(self) -> Middleware:
        """Returns the middleware for the stand-in's application. It must be the first middleware."""

        @web.middleware
        async def ingress(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path.startswith("/_sandbox"):
                return await (self._control(request) if request.path.startswith(CONTROL) else handler(request))
            struck = self._strike(request) if self._rules else None
            if struck is None:
                return await handler(request)
            if struck.rule.when == "after":
                await handler(request)
            _note(struck)
            return _answer(struck.rule)

        return ingress

    def _strike(self, request: web.Request) -> _Set | None:
        for held in self._rules.values():
            rule = held.rule
            if held.ends is not None and time.monotonic() > held.ends:
                continue
            if rule.times == 0 or not rule.matches(request.method, request.path):
                continue
            if rule.skip:
                rule.skip -= 1
                continue
            if rule.times is not None:
                rule.times -= 1
            return held
        return None

    async def _control(self, request: web.Request) -> web.Response:
        rule_id = request.path.removeprefix(CONTROL).strip("/")
        try:
            match request.method, rule_id.split("/"):
                case "POST", [""]:
                    return _json({"id": self.add(**orjson.loads(await request.read()))})
                case "GET", [""]:
                    return _json([{"id": key, "hits": held.hits} for key, held in self._rules.items()])
                case "GET", [known, "hits"]:
                    return _json(await self._wait(known, request))
                case "DELETE", [""]:
                    self.clear()
                    return _json({})
                case "DELETE", [known]:
                    del self._rules[known]
                    return _json({})
        except LookupError:
            return _json({"error": f"there is no rule {rule_id}"}, 404)
        except (ValueError, TypeError) as error:
            return _json({"error": str(error)}, 400)
        return _json({"error": "not found"}, 404)

    async def _wait(self, rule_id: str, request: web.Request) -> dict[str, Any]:
        held, wanted = self._rules[rule_id], int(request.query.get("at_least", "1"))

        async def enough() -> None:
            while held.hits < wanted:
                await held.struck.wait()

        try:
            await asyncio.wait_for(enough(), float(request.query.get("timeout", "10")))
        except TimeoutError:
            return {"hits": held.hits, "reached": False}
        return {"hits": held.hits, "reached": True}


def _note(held: _Set) -> None:
    held.hits += 1
    held.struck.set()
    held.struck = asyncio.Event()


def _answer(rule: Rule) -> web.Response:
    headers = dict(rule.headers)
    if rule.content_type:
        headers["Content-Type"] = rule.content_type
    body = None if rule.status in (204, 304) else rule.body.encode()
    answer = web.Response(status=rule.status, body=body, headers=headers)
    if not rule.content_type:
        answer.headers.popall("Content-Type", None)
    return answer


def _json(document: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")
