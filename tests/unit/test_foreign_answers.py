"""Foreign answers in the log: each kind once a minute with its number, and no more kinds remembered than a hundred."""

import pytest
from structlog.testing import capture_logs

from consumer.foreign import _KINDS, LOG_SECONDS, ForeignAnswers
from consumer.http import Answer

PAGE = Answer(404, {"Content-Type": "Text/HTML; charset=utf-8"}, b"default backend - 404: s3cret")


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def foreign(now: list[float]) -> ForeignAnswers:
    return ForeignAnswers(lambda _part: None, lambda: now[0])


def test_a_kind_is_logged_once_a_minute_with_its_number_and_without_its_body(
    foreign: ForeignAnswers, now: list[float]
) -> None:
    with capture_logs() as logs:
        texts = [foreign.saw("core", "https://core.example/s3cret?token=s3cret", PAGE) for _ in range(3)]
        now[0] += LOG_SECONDS
        foreign.saw("core", "https://core.example/", PAGE)
    assert set(texts) == {"HTTP 404 text/html from core.example, which is not an answer of core"}
    assert [line["count"] for line in logs] == [1, 3]
    assert "s3cret" not in f"{logs}"


def test_the_kind_that_was_logged_longest_ago_is_forgotten_first(foreign: ForeignAnswers, now: list[float]) -> None:
    for number in range(_KINDS + 1):
        foreign.saw("graph", f"https://{number}.example/", PAGE)
        now[0] += 0.1
    with capture_logs() as logs:
        foreign.saw("graph", f"https://{_KINDS}.example/", PAGE)
        foreign.saw("graph", "https://2.example/", PAGE)
        assert logs == []
        foreign.saw("graph", "https://0.example/", PAGE)
    assert [line["host"] for line in logs] == ["0.example"]
