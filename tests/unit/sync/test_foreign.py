"""For how long a mailbox may get a proxy's pages instead of Graph's answers before it is parked."""

import pytest

from consumer.domain.mailbox import Mailbox
from consumer.sync.foreign import _MAILBOXES, FOREIGN_SECONDS, FOREIGN_TRIES, Foreign

BOX = Mailbox("acme", "ann@example.com")


@pytest.mark.parametrize("every", [60.0, 300.0])
def test_a_mailbox_is_parked_after_an_hour_and_twenty_tries_while_others_are_served(every: float) -> None:
    foreign, now, tries = Foreign(), 0.0, 0
    while not foreign.failed(BOX, now, served=now - 1):
        now += every
        tries += 1
    assert tries >= FOREIGN_TRIES
    assert FOREIGN_SECONDS <= now - every < FOREIGN_SECONDS + FOREIGN_TRIES * every


def test_tries_while_no_other_mailbox_is_served_do_not_count() -> None:
    foreign = Foreign()
    assert not any(foreign.failed(BOX, 60.0 * number, served=30.0) for number in range(1000))
    # Others are served again: tries count only from now on.
    parked = [foreign.failed(BOX, 60_000.0 + 60 * number, served=60_000.0 + 60 * number - 1) for number in range(200)]
    assert parked.index(True) * 60 >= FOREIGN_SECONDS


def test_an_answer_clears_the_count() -> None:
    foreign = Foreign()
    for number in range(1000):
        assert not foreign.failed(BOX, 300.0 * number, served=300.0 * number - 1)
        if number % 12 == 11:
            foreign.answered(BOX)


def test_a_bounded_number_of_mailboxes_is_remembered() -> None:
    foreign = Foreign()
    for number in range(_MAILBOXES + 100):
        foreign.failed(Mailbox("acme", f"{number}"), 0.0, served=0.0)
    assert len(foreign._tries) == _MAILBOXES
