"""How late the loop is."""

from collections.abc import Callable

from mimic_proxy.app.running import PERIOD_SECONDS, LagMeter


class Loop:
    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.timers.append((self.now + delay, callback))

    def ring(self, late: float) -> None:
        due, callback = self.timers.pop()
        self.now = due + late
        callback()


def test_each_timer_tells_how_late_it_was_and_sets_the_next():
    loop, told = Loop(), []
    meter = LagMeter(loop.call_later, lambda: loop.now, told.append)
    meter.start()
    for late in (0.0, 0.5, -1e-9):
        loop.ring(late)
    assert [round(seconds, 6) for seconds in told] == [0.0, 0.5, 0.0]
    assert loop.timers[0][0] == loop.now + PERIOD_SECONDS


def test_a_stopped_meter_tells_nothing_more():
    loop, told = Loop(), []
    meter = LagMeter(loop.call_later, lambda: loop.now, told.append)
    meter.start()
    meter.stop()
    loop.ring(1.0)
    assert (told, loop.timers) == ([], [])
