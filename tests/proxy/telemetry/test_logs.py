"""Log lines: whole, in order, in batches, and without what does not belong there."""

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.observations import exchange
from mimic_proxy.telemetry.logs import (
    LONGEST_TEXT,
    ExchangeLog,
    LineWriter,
    LogFormat,
    configure,
    exchange_console,
    exchange_json,
    record_console,
    record_json,
    written_to,
)
from mimic_proxy.telemetry.observation import Attempt, Outcome, Trace

NOON = datetime(2026, 3, 1, 12, 0, 0, 250000, UTC).timestamp()


class Clockwork:
    """`call_later` by hand."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        self.due.append((seconds, callback))

    def run(self) -> None:
        due, self.due = self.due, []
        for _, callback in due:
            callback()


class Sink:
    """Takes what a writer's thread writes; `lines` waits for it."""

    def __init__(self) -> None:
        self.written = b""
        self._changed = threading.Condition()

    def __call__(self, data: bytes) -> None:
        with self._changed:
            self.written += data
            self._changed.notify_all()

    def lines(self, count: int) -> list[bytes]:
        """All that came, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.written.count(b"\n") >= count, 10)
            return self.written.splitlines()


def broken(data: bytes) -> None:
    raise BrokenPipeError


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def clockwork() -> Clockwork:
    return Clockwork()


def exchange_log(writer: LineWriter, clockwork: Clockwork, level: int = logging.INFO) -> ExchangeLog:
    """The clock stands at the end of the usual exchange."""
    return ExchangeLog(
        writer, level=level, style="json", clock=lambda: 100.25, wall=lambda: NOON, later=clockwork.later
    )


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


def record(message: str, *arguments: object, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "mimic", "msg": message, "args": arguments, "created": NOON, **extra})
    made.levelno, made.levelname = level, logging.getLevelName(level)
    return made


def test_an_exchange_is_one_json_line():
    line = exchange_json(NOON, exchange(stream=True, events=7, first_chunk_seconds=0.1, input_tokens=11))
    assert json.loads(line) == {
        "time": "2026-03-01T12:00:00.250Z",
        "level": "INFO",
        "logger": "mimic.exchange",
        "message": "chat completed",
        "request_id": "req-1",
        "operation": "chat",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "outcome": "completed",
        "duration_seconds": 0.25,
        "request_bytes": 120,
        "response_bytes": 480,
        "attempts": 1,
        "model": "small",
        "stream": True,
        "upstream_head_seconds": 0.2,
        "first_chunk_seconds": 0.1,
        "events": 7,
        "upstream_status": 200,
        "input_tokens": 11,
    }


def test_an_exchange_on_the_console_leaves_out_what_is_usual():
    line = exchange_console(NOON, exchange(status=504, outcome="timeout", timer="first_byte", upstream_status=None))
    assert b"WARNING POST /v1/chat/completions 504 timeout 0.250s timer=first_byte model=small id=req-1" in line


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (
            {"outcome": "upstream_error", "error_code": "upstream_unreachable", "message": "Refused."},
            "chat upstream_error: Refused.",
        ),
        (
            {"outcome": "upstream_error", "upstream_status": 503},
            "chat upstream_error: The backend answered with status 503.",
        ),
        (
            {"outcome": "upstream_error", "error_frame": True},
            "chat upstream_error: The backend reported an error inside its stream.",
        ),
        ({"outcome": "client_disconnect"}, "chat client_disconnect"),
    ],
)
def test_the_line_of_a_failed_call_says_why_and_where_it_went(seen: dict[str, object], message: str):
    line = json.loads(exchange_json(NOON, exchange(**seen), "models.example.com:443"))
    assert (line["message"], line["upstream_host"]) == (message, "models.example.com:443")
    on_console = exchange_console(NOON, exchange(**seen), "models.example.com:443").decode()
    assert ("host=models.example.com:443" in on_console) is (seen["outcome"] == "upstream_error")
    assert str(seen.get("message", "")) in on_console


def test_a_line_holds_trace_and_trouble_where_there_are_some():
    lost = Attempt(100.0, 0.1, 401, 0.05, "unauthorized", "unauthorized")
    seen = exchange(
        trace=Trace("a" * 32, "b" * 16, "c" * 16),
        attempts=2,
        earlier=(lost,),
        retried="unauthorized",
        heartbeats=3,
        upstream_request_id="up-1",
        overhead_seconds=0.0012345678,
    )
    line = json.loads(exchange_json(NOON, seen))
    assert (line["trace_id"], line["span_id"]) == ("a" * 32, "b" * 16)
    assert (line["retries"], line["heartbeats"], line["upstream_request_id"]) == (1, 3, "up-1")
    assert line["overhead_seconds"] == 0.001235


def test_the_console_tells_the_trace_of_what_failed():
    trace = Trace("a" * 32, "b" * 16, "c" * 16)
    assert b"trace=" not in exchange_console(NOON, exchange(trace=trace))
    assert b" trace=" + b"a" * 32 in exchange_console(NOON, exchange(trace=trace, outcome="timeout"))


@given(st.text(max_size=LONGEST_TEXT * 2), st.text(max_size=LONGEST_TEXT * 2), st.sampled_from([*get_args(Outcome)]))
def test_a_line_stays_one_short_line_whatever_a_caller_sent(path: str, model: str, outcome: Outcome):
    seen = exchange(path=path, model=model, outcome=outcome)
    in_json, on_console = exchange_json(NOON, seen), exchange_console(NOON, seen)
    assert json.loads(in_json)["outcome"] == outcome
    assert in_json.index(b"\n") == len(in_json) - 1
    assert on_console.decode()[:-1].isprintable()
    assert len(on_console) < 20 * LONGEST_TEXT


@pytest.mark.parametrize("obeyed", ["\x7f", "\x85", "\x9b31m", "\u2028", "\u202e", "\u2066"])
def test_a_json_line_shows_what_a_terminal_would_obey(obeyed: str):
    name = f"m{obeyed}é"
    record = logging.makeLogRecord({"msg": name})
    for line in (exchange_json(0.0, exchange(model=name)), record_json(record)):
        assert obeyed[0].encode() not in line
        assert "é".encode() in line
        assert name in json.loads(line).values()


def test_lines_of_exchanges_wait_for_one_batch(sink: Sink, clockwork: Clockwork):
    log = exchange_log(LineWriter(sink), clockwork)
    for _ in range(3):
        log.write(exchange())
    assert sink.written == b""
    assert [seconds for seconds, _ in clockwork.due] == [0.1]
    clockwork.run()
    assert len(sink.lines(3)) == 3
    log.write(exchange())
    assert len(clockwork.due) == 1


def test_a_full_batch_does_not_wait(sink: Sink, clockwork: Clockwork):
    log = exchange_log(LineWriter(sink), clockwork)
    count = 65536 // len(exchange_json(NOON, exchange())) + 1
    for _ in range(count):
        log.write(exchange())
    assert 65536 <= len(b"".join(sink.lines(count))) + count < 66536


@pytest.mark.parametrize("outcome", ["upstream_error", "timeout", "token_error", "internal_error"])
def test_a_fault_is_written_at_once_with_what_waited(sink: Sink, clockwork: Clockwork, outcome: Outcome):
    log = exchange_log(LineWriter(sink), clockwork)
    log.write(exchange())
    log.write(exchange(outcome=outcome))
    assert [json.loads(line)["level"] for line in sink.lines(2)] == ["INFO", "WARNING"]


def test_the_level_holds_for_exchanges_too(sink: Sink, clockwork: Clockwork):
    writer = LineWriter(sink)
    quiet = exchange_log(writer, clockwork, logging.WARNING)
    quiet.write(exchange())
    quiet.write(exchange(outcome="timeout"))
    assert [json.loads(line)["outcome"] for line in sink.lines(1)] == ["timeout"]
    silent = exchange_log(writer, clockwork, logging.ERROR)
    silent.write(exchange(outcome="timeout"))
    assert writer.drain()
    assert len(sink.lines(1)) == 1
    assert clockwork.due == []


def test_a_line_carries_the_time_at_which_its_call_ended(sink: Sink, clockwork: Clockwork):
    """Not that of the batch in which it was written."""
    log = exchange_log(LineWriter(sink), clockwork)
    log.write(exchange(started=99.0, duration_seconds=0.5))
    log.write(exchange(outcome="timeout"))
    assert [json.loads(line)["time"] for line in sink.lines(2)] == [
        "2026-03-01T11:59:59.500Z",
        "2026-03-01T12:00:00.250Z",
    ]


def test_a_sink_that_is_gone_costs_lines_and_no_exchange(clockwork: Clockwork):
    writer = LineWriter(broken)
    exchange_log(writer, clockwork).write(exchange(outcome="timeout"))
    assert writer.drain()
    assert writer.lost == 1


def test_a_sink_that_takes_nothing_makes_nobody_wait_and_costs_the_lines_beyond_a_bound(clockwork: Clockwork):
    stuck, freed, taken = threading.Event(), threading.Event(), []

    def wait(data: bytes) -> None:
        stuck.set()
        freed.wait(30)
        taken.append(data)

    writer = LineWriter(wait)
    log = exchange_log(writer, clockwork)
    log.write(exchange(outcome="timeout"))
    assert stuck.wait(10)
    length = len(exchange_json(NOON, exchange(outcome="timeout")))
    for _ in range(4194304 // length + 50):
        log.write(exchange(outcome="timeout"))
    assert 50 <= writer.lost <= 52
    assert not writer.drain(0.01)
    freed.set()
    assert writer.drain(10)
    assert sum(map(len, taken)) <= 4194304
    before = writer.lost
    log.write(exchange(outcome="timeout"))
    assert writer.drain(10)
    assert writer.lost == before


def test_a_descriptor_gets_all_of_it_though_it_takes_a_part_at_a_time():
    """Also where another process has made it one that does not block."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = bytes(range(256)) * 4096
    with open(reading, "rb") as reader, open(writing, "wb") as stream:
        thread = threading.Thread(target=lambda: (written_to(stream)(data), stream.close()))
        thread.start()
        assert reader.read() == data
        thread.join()


def test_threads_lose_no_line(sink: Sink):
    writer = LineWriter(sink)

    def write() -> None:
        for number in range(500):
            writer.add(b"%d\n" % number)
            if number % 7 == 0:
                writer.flush()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.drain()
    assert len(sink.lines(2000)) == 2000


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize("style", get_args(LogFormat))
def test_all_of_logging_goes_to_the_writer(sink: Sink, style: LogFormat):
    configure(LineWriter(sink), level="INFO", style=style)
    logging.getLogger("mimic").info("listening on %s", "[::1]:8000", extra={"request_id": "req-1"})
    logging.getLogger("mimic").debug("unseen")
    logging.getLogger("uvicorn.error").info("unseen")
    logging.getLogger("uvicorn.error").warning("seen")
    logging.getLogger("uvicorn.access").info("unseen")
    logging.getLogger("httpx2").info("HTTP Request: POST https://auth.example.com/?key=unseen")
    lines = sink.lines(2)
    assert len(lines) == 2
    assert b"listening on [::1]:8000" in lines[0]
    assert b"unseen" not in sink.written
    if style == "json":
        assert json.loads(lines[0])["request_id"] == "req-1"


@pytest.mark.usefixtures("restored_logging")
def test_lines_of_logging_and_of_exchanges_keep_their_order(sink: Sink, clockwork: Clockwork):
    """What has ended and is not written yet comes before a record that was made later."""
    writer = LineWriter(sink)
    configure(writer, level="INFO", style="json")
    log = exchange_log(writer, clockwork)
    log.write(exchange())
    writer.settle = lambda: log.write(exchange(operation="embeddings"))
    logging.getLogger("mimic").info("after it")
    told = [json.loads(line)["message"] for line in sink.lines(3)]
    assert told == ["chat completed", "embeddings completed", "after it"]


@pytest.mark.usefixtures("restored_logging")
def test_a_shutdown_of_logging_writes_what_waits(sink: Sink, clockwork: Clockwork):
    writer = LineWriter(sink)
    configure(writer, level="INFO", style="json")
    exchange_log(writer, clockwork).write(exchange())
    logging.getLogger().handlers[0].flush()
    assert len(sink.written.splitlines()) == 1


@pytest.mark.usefixtures("restored_logging")
def test_a_log_call_that_is_wrong_costs_its_own_line_alone(sink: Sink, capfd: pytest.CaptureFixture[str]):
    """Nothing goes to the standard error stream beside the writer: whoever reads it may have stopped."""
    configure(LineWriter(sink), level="INFO", style="json")
    logging.getLogger("mimic").info("%d calls", "no number")
    line = json.loads(sink.lines(1)[0])
    assert line["level"] == "ERROR"
    assert line["message"].endswith("cannot be written (TypeError)")
    assert capfd.readouterr().err == ""


def test_a_record_in_json_holds_its_message_and_extras():
    line = json.loads(record_json(record("refresh failed: %s", "timeout", level=logging.WARNING, attempt=2)))
    assert line == {
        "time": "2026-03-01T12:00:00.250Z",
        "level": "WARNING",
        "logger": "mimic",
        "message": "refresh failed: timeout",
        "attempt": 2,
    }


def test_a_record_cannot_forge_a_line_nor_break_the_encoding():
    forged = "name\n12:00:00 ERROR forged \x1b[31m \udcff"
    assert json.loads(record_json(record(forged)))["message"].startswith("name\n12:00:00")
    assert record_json(record(forged)).count(b"\n") == 1
    assert record_console(record(forged)).count(b"\n") == 1
    assert b"\x1b" not in record_console(record(forged))


@pytest.mark.parametrize("encode", [record_json, record_console])
def test_an_unexpected_exception_is_told_with_its_traceback(encode: Callable[[logging.LogRecord], bytes]):
    try:
        raise KeyError("missing")
    except KeyError as error:
        failed = record("unexpected", level=logging.ERROR, exc_info=(type(error), error, error.__traceback__))
    assert b"KeyError: 'missing'" in encode(failed)
