"""Traces: sent if the environment asks for them and OpenTelemetry is installed, and otherwise nothing at all."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest
from structlog.testing import capture_logs

from consumer.ops import tracing
from consumer.tracing import SPANS

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.fixture(autouse=True)
def no_tracer_left() -> Iterator[None]:
    yield
    SPANS.tracer = None


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_without_a_wish_for_traces_there_are_none(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "import_module", pytest.fail)
    with capture_logs() as lines:
        tracing.start(environment)()
    assert (lines, SPANS.tracer) == ([], None)
    with SPANS.span("run", site="acme"):
        SPANS.ended("record", 0.0)


def test_nothing_of_opentelemetry_is_imported_before_it_is_asked_for() -> None:
    script = "import sys, consumer.ops.tracing; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


def test_a_missing_package_is_reported_and_the_service_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(tracing, "import_module", missing)
    with capture_logs() as lines:
        tracing.start(ENDPOINT)()
    [line] = lines
    assert (line["log_level"], line["event"]) == ("warning", "traces are not sent: OpenTelemetry is not installed")
    assert "core-calendar-sync[otel]" in line["hint"]
    assert SPANS.tracer is None


@pytest.mark.parametrize(
    "unsupported", [{"OTEL_TRACES_EXPORTER": "zipkin"}, {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}]
)
def test_other_protocols_are_reported(unsupported: dict[str, str]) -> None:
    with capture_logs() as lines:
        tracing.start(unsupported)()
    assert [line["event"] for line in lines] == ["traces are not sent: only OTLP over HTTP is supported"]


def test_spans_are_nested_and_hold_no_content_of_errors() -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(memory))
    SPANS.tracer = tracing.Traces(provider)

    def fail() -> None:
        with SPANS.span("run", site="acme", records=["1:2"]):
            with SPANS.span("graph request", operation="create", odd="ann@acme.example"):
                pass
            raise KeyError("Boiler, flat 3")

    with pytest.raises(KeyError):
        fail()
    SPANS.ended("record", time.time() - 5, partition=1)
    request, run, record = memory.get_finished_spans()
    assert request.parent.span_id == run.context.span_id
    assert dict(request.attributes) == {"calsync.operation": "create", "calsync.odd": "[address]"}
    assert dict(run.attributes) == {"calsync.site": "acme", "calsync.records": ("1:2",)}
    assert (run.status.is_ok, run.status.description, run.events) == (False, "KeyError", ())
    assert "Boiler" not in run.to_json()
    assert 5e9 <= record.end_time - record.start_time < 6e9


class Hanging:
    """A provider whose collector never answers."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def get_tracer(self, _name: str) -> None:
        """There is none."""

    def force_flush(self, _milliseconds: int = 0) -> None:
        self.released.wait(30)

    def shutdown(self) -> None:
        self.released.wait(30)


def test_a_collector_that_never_answers_does_not_delay_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.trace")
    provider = Hanging()
    monkeypatch.setattr(tracing, "_provider", lambda _environment: provider)
    monkeypatch.setattr(tracing, "_END_SECONDS", 0.05)
    before = set(threading.enumerate())
    end = tracing.start(ENDPOINT)
    started = time.monotonic()
    end()
    assert time.monotonic() - started < 15
    left = set(threading.enumerate()) - before
    provider.released.set()
    assert [thread.daemon for thread in left] == [True], "the process can end"


class Collector(BaseHTTPRequestHandler):
    """Keeps what is sent to it."""

    received: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        self.received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


SCRIPT = """
import os
from consumer.ops import tracing
from consumer.tracing import SPANS
end = tracing.start(os.environ)
with SPANS.span("sweep", site="acme"):
    pass
end()
assert SPANS.tracer is None
"""


def test_spans_reach_a_collector() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
            "PYTHONPATH": ":".join(sys.path),
        }
        ran = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=False, timeout=60)
        collector.shutdown()
    assert ran.returncode == 0
    [(path, body)] = Collector.received
    assert path == "/v1/traces"
    for expected in (b"core-calendar-sync", b"sweep", b"calsync.site", b"acme"):
        assert expected in body
