"""Ticker, writes and batch: what they bundle happens, in order, and one fault does not spread."""

import logging
from collections.abc import Callable

import pytest

from mimic_proxy.relay.loop import MOST, PERIOD_SECONDS, CoalescedWrites, DeferredWork, Ticker


class Later:
    """Keeps what was to be called."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, delay: float, callback: Callable[[], None]) -> None:
        self.waiting.append((delay, callback))

    def run(self) -> None:
        waiting, self.waiting = self.waiting, []
        for _, callback in waiting:
            callback()


class Running:
    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        self.act = act
        self.ticks = 0

    def tick(self) -> None:
        self.ticks += 1
        self.act()

    def drain(self) -> None:
        raise AssertionError("nobody drains here")


# ---- the ticker


def test_the_pulse_beats_while_something_runs_and_stands_still_without() -> None:
    later = Later()
    ticker = Ticker(later)
    first, second = Running(), Running()
    ticker.add(first)
    ticker.add(second)
    assert [delay for delay, _ in later.waiting] == [PERIOD_SECONDS]
    later.run()
    ticker.discard(first)
    later.run()
    assert (first.ticks, second.ticks, len(ticker)) == (1, 2, 1)
    ticker.discard(second)
    later.run()
    assert (later.waiting, second.ticks) == ([], 2)
    ticker.add(first)
    assert len(later.waiting) == 1


def test_an_exchange_may_end_or_begin_others_while_the_pulse_looks() -> None:
    later = Later()
    ticker = Ticker(later)
    others = [Running() for _ in range(5)]
    ending = Running(lambda: ticker.discard(ending))

    def begin_others() -> None:
        for other in others:
            ticker.add(other)

    beginning = Running(begin_others)
    ticker.add(ending)
    ticker.add(beginning)
    later.run()
    assert len(ticker) == 6
    assert len(later.waiting) == 1, "there is one ticker"


def test_a_fault_in_one_exchange_stops_no_other_s_timers(caplog: pytest.LogCaptureFixture) -> None:
    later = Later()
    ticker = Ticker(later)

    def break_down() -> None:
        raise RuntimeError("broken")

    broken, sound = Running(break_down), Running()
    ticker.add(broken)
    ticker.add(sound)
    with caplog.at_level(logging.ERROR, "mimic.relay"):
        later.run()
        later.run()
    assert sound.ticks == 2
    assert "fault in a timer" in caplog.text


def test_the_last_end_is_told_however_it_came() -> None:
    """The stop waits for it."""
    told: list[int] = []
    later = Later()
    ticker = Ticker(later)
    ticker.when_empty = lambda: told.append(len(ticker))

    def break_down() -> None:
        raise RuntimeError("broken")

    first, second = Running(), Running(break_down)
    ticker.add(first)
    ticker.add(second)
    ticker.discard(first)
    assert told == []
    later.run()
    assert told == [0]


def test_discarding_twice_is_the_same_as_once() -> None:
    ticker = Ticker(Later())
    ticker.discard(Running())
    assert len(ticker) == 0


# ---- the writes


class Socket:
    """What the writes needs of a transport."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        self.written: list[bytes] = []
        self.closing = False
        self.act = act

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def write(self, data: bytes) -> None:
        if self.closing:
            raise RuntimeError("uvloop raises here")
        self.written.append(data)
        self.act()


class Soon:
    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []

    def __call__(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def run(self) -> None:
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()


def test_writes_of_a_turn_go_out_at_its_end_in_order() -> None:
    soon, one, two = Soon(), Socket(), Socket()
    writes = CoalescedWrites(soon)
    writes.write(one, b"1")  # type: ignore[arg-type]
    writes.write(two, b"2")  # type: ignore[arg-type]
    writes.write(one, b"3")  # type: ignore[arg-type]
    assert (one.written, len(soon.callbacks)) == ([], 1)
    soon.run()
    assert (one.written, two.written) == ([b"1", b"3"], [b"2"])
    writes.write(one, b"4")  # type: ignore[arg-type]
    soon.run()
    assert one.written == [b"1", b"3", b"4"]


def test_who_flushes_before_closing_loses_nothing() -> None:
    soon, one = Soon(), Socket()
    writes = CoalescedWrites(soon)
    writes.write(one, b"1")  # type: ignore[arg-type]
    writes.flush()
    one.closing = True
    writes.write(one, b"2")  # type: ignore[arg-type]
    soon.run()
    soon.run()
    assert one.written == [b"1"]


def test_a_write_that_causes_another_keeps_both() -> None:
    """A full socket pauses the other side in the same call; that may write."""
    soon, two = Soon(), Socket()
    writes = CoalescedWrites(soon)
    one = Socket(lambda: writes.write(two, b"caused"))  # type: ignore[arg-type]
    writes.write(one, b"1")  # type: ignore[arg-type]
    soon.run()
    soon.run()
    assert two.written == [b"caused"]


def test_a_socket_that_raises_costs_no_other_its_bytes(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio raises for a write behind the end of file, uvloop for one on a closed handle."""

    def refuse() -> None:
        raise RuntimeError("Cannot call write() after write_eof()")

    soon, one, two = Soon(), Socket(refuse), Socket()
    writes = CoalescedWrites(soon)
    writes.write(one, b"1")  # type: ignore[arg-type]
    writes.write(two, b"2")  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        soon.run()
    assert (two.written, one.closing) == ([b"2"], True)
    assert "write_eof" in caplog.text


# ---- the batch


def test_work_is_done_in_order_when_there_is_enough_of_it_or_time_is_up() -> None:
    later, done = Later(), list[int]()
    batch = DeferredWork(later)
    for number in range(MOST - 1):
        batch.add(lambda number=number: done.append(number), False)  # type: ignore[misc]
    assert (done, len(later.waiting)) == ([], 1)
    batch.add(lambda: done.append(-1), False)
    assert done == [*range(MOST - 1), -1]
    batch.add(lambda: done.append(-2), False)
    later.run()
    assert done[-1] == -2


def test_urgent_work_is_done_at_once_behind_what_waits() -> None:
    later, done = Later(), list[str]()
    batch = DeferredWork(later)
    batch.add(lambda: done.append("first"), False)
    batch.add(lambda: done.append("urgent"), True)
    assert done == ["first", "urgent"]
    later.run()
    assert done == ["first", "urgent"]


def test_urgent_work_alone_asks_for_no_timer() -> None:
    later, done = Later(), list[str]()
    DeferredWork(later).add(lambda: done.append("urgent"), True)
    assert (done, later.waiting) == (["urgent"], [])


def test_a_fault_in_one_piece_of_work_loses_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """The observation of one exchange must not cost those of sixty others."""
    later, done = Later(), list[str]()
    batch = DeferredWork(later)

    def break_down() -> None:
        raise RuntimeError("broken")

    batch.add(lambda: done.append("before"), False)
    batch.add(break_down, False)
    batch.add(lambda: done.append("after"), False)
    with caplog.at_level(logging.ERROR):
        later.run()
    assert done == ["before", "after"]
    assert "broken" in caplog.text
