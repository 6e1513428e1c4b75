"""The queue and its thread: nothing waits, nothing is lost uncounted, and the exit keeps its deadline."""

import logging
import threading
import time
from collections.abc import Iterator

import pytest

from mimic_proxy.telemetry.tracing.export import Counts, Pipeline
from mimic_proxy.telemetry.tracing.settings import Batching

SOON = 5.0
"""Seconds within which a thread has certainly done what it was woken for."""


class Collector:
    """Takes batches as told; `gate` holds it back."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.trouble: str | None = None
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Semaphore(0)
        self.done = threading.Semaphore(0)

    def send(self, batch: list[int]) -> str | None:
        self.asked.release()
        self.gate.wait(4 * SOON)
        self.batches.append(batch)
        try:
            if self.error is not None:
                raise self.error
            return self.trouble
        finally:
            self.done.release()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.gate.set()


def pipeline(collector: Collector, *, delay: float = 60.0, queue: int = 10, batch: int = 2) -> Pipeline[int]:
    return Pipeline(collector.send, Batching(delay, queue, batch))


def test_a_full_batch_does_not_wait_for_the_delay(collector: Collector):
    made = pipeline(collector)
    made.put(1)
    made.put(2)
    assert collector.done.acquire(timeout=SOON)
    assert collector.batches == [[1, 2]]
    assert made.shutdown(SOON)
    assert made.counts() == Counts(2, 0, 0, 0)


def test_a_batch_that_is_not_full_goes_after_the_delay(collector: Collector):
    made = pipeline(collector, delay=0.01)
    made.put(1)
    assert collector.done.acquire(timeout=SOON)
    assert collector.batches == [[1]]
    made.shutdown(SOON)


def test_what_is_left_goes_at_the_stop_in_batches(collector: Collector):
    made = pipeline(collector, batch=3)
    made.put(1)
    made.put(2)
    assert made.shutdown(SOON)
    assert collector.batches == [[1, 2]]


def test_a_full_queue_drops_its_oldest_and_counts_it(collector: Collector):
    collector.gate.clear()
    made = pipeline(collector, queue=4, batch=2)
    made.put(1)
    made.put(2)
    assert collector.asked.acquire(timeout=SOON), "the first batch is under way"
    for number in range(3, 13):
        made.put(number)
    assert made.counts() == Counts(0, 0, 6, 4)
    collector.gate.set()
    assert made.shutdown(SOON)
    assert [number for batch in collector.batches for number in batch] == [1, 2, 9, 10, 11, 12]
    assert made.counts() == Counts(6, 0, 6, 0)


def test_no_put_waits_for_a_collector_that_hangs(collector: Collector):
    collector.gate.clear()
    made = pipeline(collector, queue=100)
    began = time.perf_counter()
    for number in range(10_000):
        made.put(number)
    assert time.perf_counter() - began < SOON
    assert made.counts().queued == 100
    assert made.counts().dropped >= 10_000 - 100 - 2
    made.shutdown(0.01)


def test_the_exit_keeps_its_deadline_whatever_the_collector_does(collector: Collector):
    collector.gate.clear()
    made = pipeline(collector)
    for number in range(5):
        made.put(number)
    assert collector.asked.acquire(timeout=SOON)
    began = time.perf_counter()
    assert not made.shutdown(0.1)
    assert time.perf_counter() - began < SOON
    counts = made.counts()
    assert (counts.dropped, counts.queued) == (3, 0), "two are with the collector, nobody knows"
    made.put(6)
    assert made.counts().dropped == 4


def test_at_the_stop_the_first_failure_is_the_last(collector: Collector):
    made = pipeline(collector, batch=100, queue=1000)
    collector.trouble = "refused"
    for number in range(99):
        made.put(number)
    assert made.shutdown(SOON)
    assert (len(collector.batches), made.counts()) == (1, Counts(0, 99, 0, 0))


def test_whoever_sends_is_told_of_the_stop_and_of_the_end(collector: Collector):
    told: list[str] = []
    made = Pipeline(
        collector.send,
        Batching(60.0, 10, 2),
        hurry=lambda: told.append("hurry"),
        close=lambda: told.append(threading.current_thread().name),
    )
    assert made.shutdown(SOON)
    assert told == ["hurry", "mimic traces"]


@pytest.mark.parametrize("error", [None, RuntimeError("a secret")])
def test_failures_are_told_once_and_their_end_too(
    collector: Collector, caplog: pytest.LogCaptureFixture, error: Exception | None
):
    made = pipeline(collector, batch=1)
    with caplog.at_level(logging.INFO, "mimic.tracing"):
        collector.trouble, collector.error = "it is closed", error
        for number in range(5):
            made.put(number)
            assert collector.done.acquire(timeout=SOON)
        collector.trouble = collector.error = None
        for number in range(5):
            made.put(number)
            assert collector.done.acquire(timeout=SOON)
        assert made.shutdown(SOON)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert ("it is closed" in caplog.text) is (error is None)
    assert "secret" not in caplog.text
    assert made.counts() == Counts(5, 5, 0, 0)


def test_nothing_is_lost_uncounted_while_the_thread_takes(collector: Collector):
    made = pipeline(collector, queue=50, batch=7)
    for number in range(6000):
        made.put(number)
    assert made.shutdown(SOON)
    counts = made.counts()
    assert counts.exported == sum(map(len, collector.batches))
    assert counts.exported + counts.dropped == 6000
