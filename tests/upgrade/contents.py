"""What the dumps hold: every kind of key, with values that the test knows."""

from datetime import UTC, datetime
from typing import Final

from consumer.domain.job import rank
from consumer.domain.link import Link
from consumer.domain.mailbox import Mailbox

APP: Final = "tenant/app"
TOPIC: Final = "calendar-jobs"
ANNA: Final = Mailbox("acme", "anna@acme.example")
BEN: Final = Mailbox("acme", "ben@acme.example")
ZOE: Final = Mailbox("acme", "zoë@acme.example")
"""Parked by hand."""
DAN: Final = Mailbox("globex", "dan@globex.example")
"""Parked, and tried hourly."""
START: Final = datetime(2099, 12, 1, 9, tzinfo=UTC)


def link(event_id: str, revision: int) -> Link:
    """A link to this event, with every field set."""
    return Link(
        event_id=event_id,
        etag=f'W/"etag{revision}=="',
        fingerprint=bytes(range(16)),
        rank=rank(revision),
        start=START,
        end=START.replace(hour=10),
        rendering=1,
        settled=b"settled",
        zone_mark=7,
    )


LINKS: Final = {
    "first": link("AAMkAGI1AAAoZCfHAAA=", 1),
    "second": link("AAMkAGI1AAAo-_fHAAA=", 2),
    "third é": link("not base64", 3),
}
