"""Pulse, outbox and batch: what they bundle happens, in order, and one fault does not spread."""

import logging
from collections.abc import Callable

import pytest

from mimic_proxy.relay.batch import MOST, Batch
from mimic_proxy.relay.outbox import Outbox
from mimic_proxy.relay.pulse import PERIOD_SECONDS, Pulse


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


# ---- the pulse


def test_the_pulse_beats_while_something_runs_and_stands_still_without() -> None:
    later = Later()
    pulse = Pulse(later)
    first, second = Running(), Running()
    pulse.add(first)
    pulse.add(second)
    assert [delay for delay, _ in later.waiting] == [PERIOD_SECONDS]
    later.run()
    pulse.discard(first)
    later.run()
    assert (first.ticks, second.ticks, len(pulse)) == (1, 2, 1)
    pulse.discard(second)
    later.run()
    assert (later.waiting, second.ticks) == ([], 2)
    pulse.add(first)
    assert len(later.waiting) == 1


def test_an_exchange_may_end_or_begin_others_while_the_pulse_looks() -> None:
    later = Later()
    pulse = Pulse(later)
    others = [Running() for _ in range(5)]
    ending = Running(lambda: pulse.discard(ending))

    def begin_others() -> None:
        for other in others:
            pulse.add(other)

    beginning = Running(begin_others)
    pulse.add(ending)
    pulse.add(beginning)
    later.run()
    assert len(pulse) == 6
    assert len(later.waiting) == 1, "there is one pulse"


def test_a_fault_in_one_exchange_stops_no_other_s_timers(caplog: pytest.LogCaptureFixture) -> None:
    later = Later()
    pulse = Pulse(later)

    def break_down() -> None:
        raise RuntimeError("broken")

    broken, sound = Running(break_down), Running()
    pulse.add(broken)
    pulse.add(sound)
    with caplog.at_level(logging.ERROR, "mimic.relay"):
        later.run()
        later.run()
    assert sound.ticks == 2
    assert "fault in a timer" in caplog.text


def test_the_last_end_is_told_however_it_came() -> None:
    """The stop waits for it."""
    told: list[int] = []
    later = Later()
    pulse = Pulse(later)
    pulse.when_empty = lambda: told.append(len(pulse))

    def break_down() -> None:
        raise RuntimeError("broken")

    first, second = Running(), Running(break_down)
    pulse.add(first)
    pulse.add(second)
    pulse.discard(first)
    assert told == []
    later.run()
    assert told == [0]


def test_discarding_twice_is_the_same_as_once() -> None:
    pulse = Pulse(Later())
    pulse.discard(Running())
    assert len(pulse) == 0


# ---- the outbox


class Socket:
    """What the outbox needs of a transport."""

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
    outbox = Outbox(soon)
    outbox.write(one, b"1")  # type: ignore[arg-type]
    outbox.write(two, b"2")  # type: ignore[arg-type]
    outbox.write(one, b"3")  # type: ignore[arg-type]
    assert (one.written, len(soon.callbacks)) == ([], 1)
    soon.run()
    assert (one.written, two.written) == ([b"1", b"3"], [b"2"])
    outbox.write(one, b"4")  # type: ignore[arg-type]
    soon.run()
    assert one.written == [b"1", b"3", b"4"]


def test_who_flushes_before_closing_loses_nothing() -> None:
    soon, one = Soon(), Socket()
    outbox = Outbox(soon)
    outbox.write(one, b"1")  # type: ignore[arg-type]
    outbox.flush()
    one.closing = True
    outbox.write(one, b"2")  # type: ignore[arg-type]
    soon.run()
    soon.run()
    assert one.written == [b"1"]


def test_a_write_that_causes_another_keeps_both() -> None:
    """A full socket pauses the other side in the same call; that may write."""
    soon, two = Soon(), Socket()
    outbox = Outbox(soon)
    one = Socket(lambda: outbox.write(two, b"caused"))  # type: ignore[arg-type]
    outbox.write(one, b"1")  # type: ignore[arg-type]
    soon.run()
    soon.run()
    assert two.written == [b"caused"]


def test_a_socket_that_raises_costs_no_other_its_bytes(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio raises for a write behind the end of file, uvloop for one on a closed handle."""

    def refuse() -> None:
        raise RuntimeError("Cannot call write() after write_eof()")

    soon, one, two = Soon(), Socket(refuse), Socket()
    outbox = Outbox(soon)
    outbox.write(one, b"1")  # type: ignore[arg-type]
    outbox.write(two, b"2")  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        soon.run()
    assert (two.written, one.closing) == ([b"2"], True)
    assert "write_eof" in caplog.text


# ---- the batch


def test_work_is_done_in_order_when_there_is_enough_of_it_or_time_is_up() -> None:
    later, done = Later(), list[int]()
    batch = Batch(later)
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
    batch = Batch(later)
    batch.add(lambda: done.append("first"), False)
    batch.add(lambda: done.append("urgent"), True)
    assert done == ["first", "urgent"]
    later.run()
    assert done == ["first", "urgent"]


def test_urgent_work_alone_asks_for_no_timer() -> None:
    later, done = Later(), list[str]()
    Batch(later).add(lambda: done.append("urgent"), True)
    assert (done, later.waiting) == (["urgent"], [])


def test_a_fault_in_one_piece_of_work_loses_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """The observation of one exchange must not cost those of sixty others."""
    later, done = Later(), list[str]()
    batch = Batch(later)

    def break_down() -> None:
        raise RuntimeError("broken")

    batch.add(lambda: done.append("before"), False)
    batch.add(break_down, False)
    batch.add(lambda: done.append("after"), False)
    with caplog.at_level(logging.ERROR):
        later.run()
    assert done == ["before", "after"]
    assert "broken" in caplog.text
