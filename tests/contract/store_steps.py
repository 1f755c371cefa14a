"""Steps that the tests of the store share."""

from datetime import UTC, datetime
from uuid import uuid4

from consumer.domain.job import rank
from consumer.domain.link import Link
from consumer.domain.mailbox import Mailbox
from consumer.sync.grant import Grant, Intent
from consumer.sync.ranks import RankRequest
from consumer.sync.run_outcome import RunOutcome
from tests.contract.whole_store import Store

ANNA = Mailbox("acme", "anna@acme.example")
BEN = Mailbox("acme", "ben@acme.example")
APP = "tenant/app"


def link(revision: int = 1, event_id: str = "AAMkAD==") -> Link:
    start = datetime(2099, 12, 1, 9, tzinfo=UTC)
    return Link(event_id, 'W/"etag=="', b"f" * 16, rank(revision), start, start, 1)


def at(revision: int | None, offset: int, job_id: str = "J1") -> RankRequest:
    return RankRequest(job_id, None if revision is None else rank(revision), 0, offset)


async def begin(
    store: Store, mailbox: Mailbox = ANNA, *, revision: int = 1, transaction_id: str | None = "t1"
) -> Grant:
    granted = await store.begin(mailbox, APP, uuid4().hex, [Intent("J1", rank(revision), transaction_id)])
    assert isinstance(granted, Grant)
    return granted


async def linked(store: Store, mailbox: Mailbox = ANNA, revision: int = 1) -> None:
    granted = await begin(store, mailbox, revision=revision)
    assert await store.finish(granted.lease, RunOutcome(links={"J1": link(revision)}))
