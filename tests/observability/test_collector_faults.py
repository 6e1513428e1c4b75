"""A collector that is dead, silent, slow or full costs callers nothing, and the exit three seconds at most."""

import json
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from statistics import quantiles

import pytest

from fakes.backend import Backend
from fakes.caller import CHAT_BODY, Caller, request
from fakes.collector import Collector, Reply
from fakes.free_ports import free_port
from fakes.mimic import Mimic, running, secrets_of, settings
from fakes.replies import ok
from fakes.token_service import TokenService

CALLS = 400
QUIET_P99_SECONDS = 0.005
"""Below this a quiet run's own p99 says nothing of the next one."""
EXIT_SECONDS = 3.0 + 2.0
"""Deadline of the exporter, and what the rest of a stop takes on a busy machine."""
MORE_BYTES = 24 * 1024 * 1024
"""A full queue of 2048 spans, the exporter's modules, and the instrumentation of FastAPI."""


@contextmanager
def refused() -> Iterator[str]:
    yield f"http://127.0.0.1:{free_port()}"


@contextmanager
def silent() -> Iterator[str]:
    """The kernel accepts, nobody reads."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def answering(reply: Reply) -> Iterator[str]:
    with Collector(reply) as collector:
        yield collector.url


FAULTS = {
    "refused": refused,
    "silent": silent,
    "slow": lambda: answering(Reply(after=1.0)),
    "too many": lambda: answering(Reply(429, {"retry-after": "1"})),
    "unavailable": lambda: answering(Reply(503, {"retry-after": "3600"})),
    "failing": lambda: answering(Reply(500)),
}


@asynccontextmanager
async def serving(folder: Path, **more: str) -> AsyncIterator[Mimic]:
    os.mkdir(folder)
    async with Backend(ok()) as backend, TokenService() as tokens:
        environ = settings(backend, tokens, **{"LOG_LEVEL": "INFO", "DRAIN_TIMEOUT": "1", **more})
        async with running(environ, folder, secrets_of(tokens), stop=False) as mimic:
            yield mimic


async def durations(mimic: Mimic, calls: int) -> list[float]:
    """Seconds of so many calls, one after the other, on one connection."""
    found = []
    caller = await Caller.connect(mimic.port)
    for _ in range(calls):
        began = time.perf_counter()
        await caller.send(request(b"POST", b"/v1/chat/completions", CHAT_BODY))
        answer = await caller.response()
        found.append(time.perf_counter() - began)
        assert answer.status == 200
    caller.close()
    return found


def p99(found: list[float]) -> float:
    return quantiles(found, n=100)[98]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_bad_collector_costs_callers_nothing_and_the_exit_little(tmp_path: Path, fault: str) -> None:
    async with serving(tmp_path / "quiet") as mimic:
        quiet = p99(await durations(mimic, CALLS))
        resident = mimic.resident_bytes
    with ExitStack() as stack:
        url = stack.enter_context(FAULTS[fault]())
        traced = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "64",
        }
        async with serving(tmp_path / "traced", **traced) as mimic:
            assert p99(await durations(mimic, CALLS)) < 10 * max(quiet, QUIET_P99_SECONDS)
            await durations(mimic, 2 * CALLS)
            assert mimic.resident_bytes - resident < MORE_BYTES
            began = time.monotonic()
            await mimic.stop()
            assert time.monotonic() - began < EXIT_SECONDS
            lines = [json.loads(line) for line in mimic.log.splitlines()]
    told = [line["message"] for line in lines if line["logger"] not in ("mimic.exchange", "mimic", "mimic.tokens")]
    assert told[0].startswith("Traces go to")
    assert len(told) <= 1 + 2, told
    if fault != "slow":
        assert "Traces cannot be exported" in told[1]


async def test_a_collector_that_comes_late_gets_what_is_new(tmp_path: Path) -> None:
    port = free_port()
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    async with serving(tmp_path / "late", OTEL_EXPORTER_OTLP_TIMEOUT="0.2", **traced) as mimic:
        await durations(mimic, 5)
        until = time.monotonic() + 10
        while "cannot be exported" not in mimic.log:
            assert time.monotonic() < until
            await durations(mimic, 1)
        with Collector(port=port) as collector:
            while "exported again" not in mimic.log:
                assert time.monotonic() < until
                await durations(mimic, 1)
            await mimic.stop()
            assert {span.name for span in collector.spans} >= {"POST /v1/chat/completions", "chat m", "drain"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
    ],
)
async def test_a_wrong_variable_is_one_warning_and_everybody_is_served(tmp_path: Path, name: str, value: str) -> None:
    with Collector() as collector:
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, name: value}
        async with serving(tmp_path / "wrong", **traced) as mimic:
            await durations(mimic, 3)
            assert (await mimic.admin("/readyz")).status == 200
            await mimic.stop()
            lines = [json.loads(line) for line in mimic.log.splitlines()]
    told = [line["message"] for line in lines if line["level"] not in ("INFO", "DEBUG")]
    assert len(told) == 1, told
    assert told[0].startswith(name)
    assert bool(collector.posted) is (name != "OTEL_TRACES_EXPORTER")


def _inside(mimic: Mimic) -> tuple[str, int]:
    """What files the process has mapped, and how many threads it has (proc(5))."""
    process = Path(f"/proc/{mimic.process.pid}")
    return (process / "maps").read_text(), len(list((process / "task").iterdir()))


async def test_without_an_exporter_nothing_of_opentelemetry_is_there(tmp_path: Path) -> None:
    async with serving(tmp_path / "none") as mimic:
        mapped, threads = _inside(mimic)
        await mimic.stop()
        assert "traces" not in mimic.log.lower()
    assert "google/_upb" not in mapped
    assert threads == 2, "the event loop, and the thread that writes the log"
