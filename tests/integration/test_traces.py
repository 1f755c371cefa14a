"""Traces of the real service, as a collector gets them."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.company import Company, eventually


@contextmanager
def collector(received: list[bytes]) -> Iterator[str]:
    """The URL of a collector that keeps what is sent to it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def test_records_runs_requests_and_sweeps_are_traced_without_content(company: Company) -> None:
    trace_pb2 = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    received: list[bytes] = []
    company.publish(company.generate(workers=2, jobs=2))
    subject = "Planted boiler inspection"
    jobs = list(company.schedule.jobs.values())
    company.publish([change for job in jobs for change in company.schedule.change_job(job.job_id, subject=subject)])
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    with collector(received) as url:
        service = await company.start(OTEL_EXPORTER_OTLP_ENDPOINT=url, CALSYNC_SWEEP_INTERVAL_SECONDS="1")
        await company.consumed()

        async def swept() -> bool:
            return "site swept" in service.process.log.read_text()

        await eventually(swept, "a site is swept")
        await asyncio.to_thread(service.process.stop)
    requests = [trace_pb2.ExportTraceServiceRequest.FromString(body) for body in received]
    spans = [
        span
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {span.name for span in spans} == {"record", "run", "graph request", "sweep"}
    values = [str(attribute.value) for span in spans for attribute in span.attributes]
    assert not any(planted in value for value in values for planted in ("lanted", "@", "eyJ"))
    assert not any(b"lanted" in body for body in received)
    runs = {span.span_id for span in spans if span.name == "run"}
    creates = [span for span in spans if span.name == "graph request" and "create" in str(span.attributes)]
    assert creates
    assert all(span.parent_span_id in runs for span in creates)
