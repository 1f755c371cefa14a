"""OpenTelemetry traces, if the environment asks for them. Otherwise nothing of it is imported."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any, Final

import structlog

from consumer import redaction
from consumer.tracing import SPANS, Attribute

log = structlog.get_logger(__name__)

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL: Final = "http/protobuf"
_END_SECONDS: Final = 2.0


def start(environment: Mapping[str, str]) -> Callable[[], None]:
    """Send spans to the collector that the ``OTEL_*`` variables name; nothing if they name none.

    Returns what ends it: spans that wait are sent, for at most two seconds.
    """
    if not _is_wanted(environment):
        return _nothing
    exporter, protocol = environment.get("OTEL_TRACES_EXPORTER") or "otlp", _protocol_of(environment)
    if exporter != "otlp" or protocol != _PROTOCOL:
        log.warning(
            "traces are not sent: only OTLP over HTTP is supported",
            exporter=exporter,
            protocol=protocol,
            hint="set OTEL_TRACES_EXPORTER=otlp and OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        )
        return _nothing
    try:
        provider = _provider(environment)
    except ImportError as error:
        log.warning(
            "traces are not sent: OpenTelemetry is not installed",
            missing=error.name,
            hint="install core-calendar-sync[otel], or unset the OTEL_ variables",
        )
        return _nothing
    SPANS.tracer = Traces(provider)

    def end() -> None:
        SPANS.tracer = None
        # Shutdown sends what waits (OpenTelemetry's specification). Without an answer it takes up to 40 s; the process
        # does not wait for a daemon thread.
        sending = threading.Thread(target=provider.shutdown, name="traces-end", daemon=True)
        sending.start()
        sending.join(_END_SECONDS)

    return end


class Traces:
    """:class:`consumer.tracing.Tracer` on an OpenTelemetry provider."""

    def __init__(self, provider: Any) -> None:
        self._tracer = provider.get_tracer("core-calendar-sync")
        self._failed = import_module("opentelemetry.trace").StatusCode.ERROR

    def span(self, name: str, **attributes: Attribute) -> AbstractContextManager[object]:
        """See the port."""
        return self._span(name, _cleaned(attributes))

    @contextmanager
    def _span(self, name: str, attributes: dict[str, Any]) -> Iterator[None]:
        # OpenTelemetry's own record of an exception holds its message and stack, and with them content.
        opened = self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        )
        with opened as span:
            try:
                yield
            except BaseException as error:
                span.set_status(self._failed, type(error).__name__)
                raise

    def ended(self, name: str, started_at: float, **attributes: Attribute) -> None:
        """See the port."""
        started = int(min(started_at, time.time()) * 1e9)
        self._tracer.start_span(name, attributes=_cleaned(attributes), start_time=started).end()


def _is_wanted(environment: Mapping[str, str]) -> bool:
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    return exporter != "none" and bool(exporter or any(environment.get(name) for name in _ENDPOINTS))


def _protocol_of(environment: Mapping[str, str]) -> str:
    return next((environment[name] for name in _PROTOCOLS if environment.get(name)), _PROTOCOL)


def _provider(environment: Mapping[str, str]) -> Any:
    """A provider that sends in a thread of its own. Raises ``ImportError``."""
    sdk = import_module("opentelemetry.sdk.trace")
    batches = import_module("opentelemetry.sdk.trace.export")
    otlp = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    resources = import_module("opentelemetry.sdk.resources")
    own = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": "core-calendar-sync"}
    provider = sdk.TracerProvider(resource=resources.Resource.create(own), shutdown_on_exit=False)
    # Its queue holds 2,048 spans (OTEL_BSP_MAX_QUEUE_SIZE); further ones are dropped.
    provider.add_span_processor(batches.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    return provider


def _cleaned(attributes: Mapping[str, Attribute]) -> dict[str, Any]:
    return {f"calsync.{name}": redaction.value(value) for name, value in attributes.items()}


def _nothing() -> None:
    """There is nothing to end."""
