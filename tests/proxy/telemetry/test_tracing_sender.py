"""The way to a collector: what is sent, what is repeated, what is told."""

import gzip
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fakes.collector import Collector, Reply
from fakes.free_ports import free_port
from mimic_proxy.telemetry.tracing.export import Sender
from mimic_proxy.telemetry.tracing.settings import OTLP

PATIENT = 20.0
"""Timeout of a sender that is not to reach it, and far less than what a collector asks for or takes in these tests."""
FOREVER = 60.0

Make = Callable[..., Sender]


@pytest.fixture
def sender() -> Iterator[Make]:
    """Makes senders to a collector's URL."""
    made = []

    def make(url: str, **more: Any) -> Sender:
        made.append(Sender(OTLP(f"{url}/v1/traces", **{"timeout": PATIENT, **more}), "1.2.3"))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_batch_is_posted_as_protobuf_with_the_headers_that_were_set(sender: Make):
    with Collector() as collector:
        assert sender(collector.url, headers=(("x-key", "k"),)).send(b"spans") is None
    (posted,) = collector.posted
    assert (posted.path, posted.body) == ("/v1/traces", b"spans")
    assert posted.headers["content-type"] == "application/x-protobuf"
    assert (posted.headers["x-key"], posted.headers["user-agent"]) == ("k", "mimic-proxy/1.2.3")


def test_a_batch_is_compressed_if_asked_for(sender: Make):
    with Collector() as collector:
        sender(collector.url, gzip=True).send(b"spans" * 100)
    (posted,) = collector.posted
    assert posted.headers["content-encoding"] == "gzip"
    assert gzip.decompress(posted.body) == b"spans" * 100


def test_the_connection_is_kept(sender: Make):
    with Collector() as collector:
        made = sender(collector.url)
        assert [made.send(b"1"), made.send(b"2")] == [None, None]
    assert len(collector.posted) == 2


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_the_collector_asks_to_repeat_is_repeated(sender: Make, status: int):
    with Collector(Reply(status), Reply(200)) as collector:
        assert sender(collector.url).send(b"spans") is None
    assert [posted.body for posted in collector.posted] == [b"spans", b"spans"]


def test_it_waits_as_long_as_the_collector_asks(sender: Make):
    with Collector(Reply(429, {"retry-after": "1"}), Reply(200)) as collector:
        began = time.monotonic()
        assert sender(collector.url).send(b"spans") is None
    assert 1.0 <= time.monotonic() - began < PATIENT


@pytest.mark.parametrize("asked", ["60", "99999999999999999999", "Wed, 21 Oct 2099 07:28:00 GMT", "nonsense", "-1"])
def test_it_waits_no_longer_than_its_timeout(sender: Make, asked: str):
    with Collector(Reply(503, {"retry-after": asked})) as collector:
        began = time.monotonic()
        assert sender(collector.url, timeout=0.8).send(b"spans") == "the collector answered with status 503"
    assert time.monotonic() - began < PATIENT


@pytest.mark.parametrize("status", [301, 400, 401, 404, 500])
def test_a_refusal_is_told_and_not_repeated(sender: Make, status: int):
    with Collector(Reply(status, {"location": "http://elsewhere.example/"})) as collector:
        assert sender(collector.url).send(b"spans") == f"the collector answered with status {status}"
    assert len(collector.posted) == 1


def test_a_collector_that_is_not_there_is_told(sender: Make):
    trouble = sender(f"http://127.0.0.1:{free_port()}", timeout=0.3).send(b"spans")
    assert trouble is not None
    assert "Connection refused" in trouble


def test_a_collector_that_never_answers_is_given_up(sender: Make):
    with Collector(Reply(200, after=FOREVER)) as collector:
        began = time.monotonic()
        assert sender(collector.url, timeout=0.2).send(b"spans") == "the collector did not answer within 0.2 s"
        assert time.monotonic() - began < PATIENT


def test_a_collector_that_takes_no_connection_is_given_up(sender: Make):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        trouble = sender(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2).send(b"spans")
    assert trouble is not None


def test_a_connection_that_broke_is_tried_again(sender: Make):
    with Collector(Reply(0), Reply(200)) as collector:
        assert sender(collector.url).send(b"spans") is None
    assert len(collector.posted) == 2


def test_after_the_stop_no_pause_is_waited_for(sender: Make):
    with Collector(Reply(503, {"retry-after": f"{FOREVER:.0f}"})) as collector:
        made = sender(collector.url, timeout=2 * FOREVER)
        made.stop()
        began = time.monotonic()
        assert made.send(b"spans") is not None
    assert time.monotonic() - began < PATIENT


def test_no_header_is_told_even_if_it_cannot_be_sent(sender: Make):
    trouble = sender("http://127.0.0.1:1", timeout=0.2, headers=(("x-key", "hidden\nvalue"),)).send(b"spans")
    assert trouble is not None
    assert "hidden" not in trouble
