"""`mimic-proxy quit`: asks, waits, and says what is wrong."""

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fakes.free_ports import free_port
from mimic_proxy.cli.quit import stop


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers POST /quit as its server was told; goes away after `probes` probes."""

    def do_POST(self) -> None:
        self._answer(self.server.status, self.server.body)  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        self.server.probes -= 1  # type: ignore[attr-defined]
        if self.server.probes <= 0:  # type: ignore[attr-defined]
            self.server.socket.close()
        self._answer(200, b"{}")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the test's output."""


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@contextmanager
def answering(status: int, body: bytes, probes: int = 3) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.status, server.body, server.probes = status, body, probes  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(port: int) -> tuple[bool, list[str]]:
    said: list[str] = []
    clock = Clock()
    return stop(port, say=said.append, clock=clock, sleep=clock.sleep), said


def test_nobody_there_is_told():
    ended, said = asked(free_port())
    assert not ended
    assert said[0].startswith("No Mimic answers on port")
    assert "ADMIN_PORT" in said[0]


@pytest.mark.parametrize("answer", [(404, b"{}"), (202, b"<html>"), (202, b"[]"), (202, b'{"stopping": "yes"}')])
def test_what_is_no_mimic_is_told(answer: tuple[int, bytes]):
    with answering(*answer) as port:
        ended, said = asked(port)
    assert not ended
    assert "not a Mimic" in said[0]


@pytest.mark.parametrize("within", [30, None])
def test_waits_until_nothing_answers_any_more(within: float | None):
    with answering(202, json.dumps({"stopping": True, "within_seconds": within}).encode()) as port:
        ended, said = asked(port)
    assert ended
    assert said == [f"Mimic on port {port} finishes what it has begun and ends.", "Mimic has ended."]


def test_who_stays_longer_than_promised_is_told():
    with answering(202, b'{"stopping": true, "within_seconds": 0.2}', probes=1000) as port:
        ended, said = asked(port)
    assert not ended
    assert said[-1] == "Mimic is still there after 0.2 s. A second SIGTERM ends it at once."


def test_a_port_that_takes_calls_and_breaks_off_is_no_mimic():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def break_off() -> None:
            connection, _ = listener.accept()
            connection.close()

        thread = threading.Thread(target=break_off)
        thread.start()
        ended, said = asked(port)
        thread.join()
    assert not ended
    assert said[0].startswith("No Mimic answers")
