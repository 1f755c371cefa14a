"""Broken texts that people paste into Outlook: a broken subject fails no mailbox and no batch."""

import asyncio
from typing import Any

import pytest

from consumer.domain.event import TAG_ID
from consumer.graph.dialect import from_json
from consumer.graph.dispatcher import Dispatcher
from consumer.http import Answer
from tests.unit.graph.test_dispatcher import GRAPH, SITE, Graph, Meter, Tokens, call

EVENT = (
    rb'{"id": "E1", "@odata.etag": "W/1", "subject": "call \ud83d", "location": {"displayName": "\ude00"},'
    rb' "body": {"content": "<p>a\ud83db</p>"}, "showAs": "busy\ud83d",'
    rb' "singleValueExtendedProperties": [{"id": "' + TAG_ID.encode() + rb'", "value": "acme/J1"}]}'
)


class Person(Graph):
    """A Graph in which a person has left half of an emoji."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body

    async def request(self, method: str, url: str, *, headers: Any = None, body: bytes | None = None) -> Answer:
        return Answer(200, {}, self.body)


async def sent(body: bytes, *addresses: str) -> list[Any]:
    target = Dispatcher(SITE, GRAPH, Person(body), Tokens(), Meter())  # type: ignore[arg-type]
    return await asyncio.gather(*(target.send(call(address)) for address in addresses))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
async def test_half_an_emoji_in_an_event_is_read_hashed_and_compared(mark: bytes) -> None:
    [body] = await sent(mark + EVENT, "a")
    event = from_json(body)
    assert event.tag == "acme/J1"
    assert event.subject == "call \\ud83d"
    assert len(event.digest()) == 16
    other = from_json((await sent(EVENT.replace(b"call \\ud83d", b"call \\ud83e"), "a"))[0])
    assert other.digest() != event.digest()
    for text in (event.subject, event.location, event.body, event.show_as):
        text.encode()


async def test_half_an_emoji_in_one_mailbox_fails_no_other_of_its_batch() -> None:
    replies = (
        b'{"responses": [{"id": "0", "status": 200, "body": ' + EVENT + b'}, {"id": "1", "status": 200, "body": {}}]}'
    )
    first, second = await sent(replies, "a", "b")
    assert from_json(first).tag == "acme/J1"
    assert second == {}
