"""librdkafka's lines: each client has the service's logger, and none keeps lines that nobody fetches."""

import ast
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from consumer.kafka import librdkafka_log
from consumer.kafka.config import make
from consumer.kafka.librdkafka_log import QUIET, LibrdkafkaLog

FOLDER = Path(librdkafka_log.__file__).parent


def test_a_client_that_is_seldom_polled_keeps_no_lines_of_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(LibrdkafkaLog, "log", lambda _self, _level, line, *_: lines.append(line))
    admin = make(AdminClient, {"bootstrap.servers": "127.0.0.1:1", **QUIET})
    time.sleep(1.0)
    for _ in range(20):
        admin.poll(0)
    assert lines == []


def test_every_client_is_made_with_a_logger() -> None:
    found = 0
    for path in FOLDER.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in {"make", "Consumer", "Producer", "AdminClient"}:
                found += 1
                text = ast.get_source_segment(source, node) or ""
                assert "logger" in text or "QUIET" in text, f"{path.name}: {text}"
    assert found >= 7
