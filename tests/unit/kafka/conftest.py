"""What a registry does not know is asked for a second time at once here."""

import pytest

from consumer.kafka import registry


@pytest.fixture(autouse=True)
def no_wait_for_followers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_AGAIN_SECONDS", 0.0)
