"""Collectors: one that a test scripts, in a thread of its own, and the real one as a process."""

import asyncio
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from fakes.free_ports import free_port


@dataclass(slots=True)
class Posted:
    """One export request. headers: names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Reply:
    """status 0: the connection is closed without an answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0.0
    """Seconds until it is sent."""


class Collector:
    """Answers with the next of `replies`, the last one for ever; keeps what it got."""

    def __init__(self, *replies: Reply, port: int = 0) -> None:
        self.replies = list(replies) or [Reply()]
        self.posted: list[Posted] = []
        self.released = threading.Event()
        """Ends all waiting of `Reply.after`."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                reply = collector.replies.pop(0) if len(collector.replies) > 1 else collector.replies[0]
                fields = {name.lower(): value for name, value in self.headers.items()}
                collector.posted.append(Posted(self.path, fields, body))
                collector.released.wait(reply.after)
                if not reply.status:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in {**reply.headers, "content-length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Tests read the log of Mimic, not ours."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def spans(self) -> list[Any]:
        """All spans that came, as protobuf has them."""
        requests = [ExportTraceServiceRequest.FromString(posted.body) for posted in self.posted]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def __enter__(self) -> "Collector":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@dataclass(frozen=True, slots=True)
class Exported:
    """One span of the real collector's file. start, end: seconds of Unix time."""

    service: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    start: float
    end: float
    attributes: dict[str, Any]
    failed: bool
    events: list[str]
    links: list[tuple[str, str]]


class Otelcol:
    """The real collector with an OTLP receiver and a file that the test reads."""

    def __init__(self, program: str, folder: Path) -> None:
        self.port = free_port()
        self.file = folder / "spans.jsonl"
        config = folder / "otelcol.yaml"
        config.write_text(
            f"""
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{self.port}"}}}}}}}}
exporters: {{file: {{path: "{self.file}", flush_interval: 20ms}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
"""
        )
        self._log = (folder / "otelcol.log").open("wb")
        self._process = subprocess.Popen(
            [program, "--config", str(config)], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def text(self) -> str:
        """All that it has written."""
        return self.file.read_text("utf-8") if self.file.exists() else ""

    def spans(self) -> list[Exported]:
        """All that it has got so far."""
        lines = [line for line in self.text().splitlines(keepends=True) if line.endswith("\n")]
        return [span for line in lines for span in _exported(json.loads(line))]

    async def until(self, found: Callable[[list[Exported]], bool], seconds: float = 10.0) -> list[Exported]:
        """Wait until the spans are those that the test waits for. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while not found(spans := self.spans()):
            assert self._process.poll() is None, "the collector has ended"
            if time.monotonic() > until:
                raise TimeoutError(f"only {[span.name for span in spans]} came in {seconds} s")
            await asyncio.sleep(0.02)
        return spans

    async def trace(self, trace_id: str, *names: str) -> dict[str, Exported]:
        """The spans of a trace by their names, once all that are named have come."""
        spans = await self.until(lambda spans: set(names) <= {span.name for span in spans if span.trace_id == trace_id})
        found = [span for span in spans if span.trace_id == trace_id]
        assert len(found) == len({span.name for span in found}), "a name stands twice"
        return {span.name: span for span in found}

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()


@contextmanager
def otelcol(program: str, folder: Path) -> Iterator[Otelcol]:
    """A real collector that accepts connections."""
    made = Otelcol(program, folder)
    try:
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", made.port), 1).close()
                break
            except OSError:
                assert time.monotonic() < until, (folder / "otelcol.log").read_text()
                time.sleep(0.05)
        yield made
    finally:
        made.close()


def _exported(request: dict[str, Any]) -> Iterator[Exported]:
    for resource in request["resourceSpans"]:
        about = _attributes(resource["resource"].get("attributes", []))
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                yield Exported(
                    service=about["service.name"],
                    trace_id=span["traceId"],
                    span_id=span["spanId"],
                    parent_id=span.get("parentSpanId", ""),
                    name=span["name"],
                    kind=span["kind"],
                    start=int(span["startTimeUnixNano"]) / 1e9,
                    end=int(span["endTimeUnixNano"]) / 1e9,
                    attributes=_attributes(span.get("attributes", [])),
                    failed=span.get("status", {}).get("code") == 2,
                    events=[event["name"] for event in span.get("events", [])],
                    links=[(link["traceId"], link["spanId"]) for link in span.get("links", [])],
                )


def _attributes(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    return {pair["key"]: next(iter(pair["value"].values()), None) for pair in pairs}
