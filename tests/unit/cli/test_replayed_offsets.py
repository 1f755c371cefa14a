"""The key of replayed offsets: the topic's id, never a guess."""

from types import SimpleNamespace
from typing import Any

import pytest

from consumer.cli import dead_letters
from consumer.domain.errors import TransientError

SETTINGS: Any = SimpleNamespace(kafka_bootstrap_servers="broker:9092", kafka_config_file=None, kafka_dlq_topic="dlq")


def answering(monkeypatch: pytest.MonkeyPatch, answer: str | None) -> None:
    monkeypatch.setattr(dead_letters, "TopicIdentity", lambda _config, _topic: SimpleNamespace(ask=lambda: answer))


@pytest.mark.parametrize(
    ("answer", "kept_under"), [("Y1Pop65fQFiEdBX7ihKSjA", "dlq@Y1Pop65fQFiEdBX7ihKSjA"), ("", "dlq")]
)
async def test_replayed_offsets_are_kept_under_the_topic_and_its_id(
    monkeypatch: pytest.MonkeyPatch, answer: str, kept_under: str
) -> None:
    answering(monkeypatch, answer)
    assert await dead_letters._replayed_of(SETTINGS) == kept_under


async def test_a_topic_whose_id_is_unknown_is_not_treated_as_one_without_an_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answering(monkeypatch, None)
    with pytest.raises(TransientError, match=r"id of topic dlq is not known.*run the command again"):
        await dead_letters._replayed_of(SETTINGS)
