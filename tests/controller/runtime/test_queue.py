"""The work queue and the room for restarts, on a clock of our own."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mimic_operator.reconcile.reconciler import Slots
from mimic_operator.runtime.faults import Fault, fault_of
from mimic_operator.runtime.kinds import Key
from mimic_operator.runtime.queue import Backoff, Outcome, WorkQueue

A, B, C = (Key("team", name) for name in "abc")


async def work(queue: WorkQueue, done: Callable[[], bool], workers: int = 1) -> None:
    running = asyncio.create_task(queue.run(workers))
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def queue_of(turn: Callable[[Key], Awaitable[float | None]], outcomes: list[Outcome], now: list[float]) -> WorkQueue:
    return WorkQueue(turn, lambda: now[0], Backoff(lambda: 1.0), outcomes.append)


async def test_a_key_that_is_added_often_has_one_turn():
    outcomes: list[Outcome] = []

    async def turn(key: Key) -> None:
        return None

    queue = queue_of(turn, outcomes, [0.0])
    for key in (A, B, A, A):
        queue.add(key)
    await work(queue, queue.idle)
    assert [outcome.key for outcome in outcomes] == [A, B]


async def test_a_key_that_changes_during_its_turn_has_another_and_never_two_at_once():
    outcomes: list[Outcome] = []
    at_once: list[int] = []
    running = [0]

    async def turn(key: Key) -> None:
        running[0] += 1
        at_once.append(running[0])
        if len(at_once) == 1:
            queue.add(A)
        await asyncio.sleep(0)
        running[0] -= 1

    queue = queue_of(turn, outcomes, [0.0])
    queue.add(A)
    await work(queue, lambda: len(outcomes) == 2 and queue.idle(), workers=3)
    assert at_once == [1, 1]


@pytest.mark.parametrize(
    ("fault", "seconds"), [(Fault("conflict", "x"), 0.5), (Fault("throttled", "x", retry_after=7.0), 7.0)]
)
async def test_a_failed_key_comes_back_after_its_time(fault: Fault, seconds: float):
    outcomes: list[Outcome] = []
    faults, now = [fault], [0.0]

    async def turn(key: Key) -> None:
        if faults:
            raise faults.pop()

    queue = queue_of(turn, outcomes, now)
    queue.add(A)
    await work(queue, lambda: len(outcomes) == 1)
    now[0] = seconds - 0.01
    assert queue.idle()
    now[0] = seconds
    queue.add(B)  # wakes the worker
    await work(queue, lambda: len(outcomes) == 3)
    assert outcomes[0].reason == fault.reason
    assert sorted(outcome.key for outcome in outcomes[1:]) == [A, B]


async def test_a_defect_is_counted_and_ends_nobody_elses_care(caplog: pytest.LogCaptureFixture):
    outcomes: list[Outcome] = []

    async def turn(key: Key) -> None:
        if key == A:
            raise ZeroDivisionError

    queue = queue_of(turn, outcomes, [0.0])
    queue.add(A)
    queue.add(B)
    await work(queue, queue.idle)
    assert [(outcome.key, outcome.reason) for outcome in outcomes] == [(A, "internal"), (B, "")]
    assert "Reconciling team/a failed with a defect" in caplog.text


def test_the_age_is_that_of_the_key_that_waits_longest():
    async def turn(key: Key) -> None:
        return None

    now = [10.0]
    queue = queue_of(turn, [], now)
    assert queue.age() == 0.0
    queue.add(A)
    now[0] = 13.0
    queue.add(B)
    assert queue.age() == 3.0


def test_waits_twice_as_long_each_time_up_to_five_minutes():
    backoff = Backoff(lambda: 1.0)
    assert [backoff(failures) for failures in (1, 2, 3, 20)] == [0.5, 1.0, 2.0, 300.0]
    assert Backoff(lambda: 0.0)(3) == 1.0


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, "absent"), (409, "conflict"), (410, "gone"), (422, "invalid"), (429, "throttled"), (403, "forbidden")],
)
def test_faults_by_status(status: int, reason: str):
    assert fault_of(status, {"message": "m"}, None, "get x").reason == reason


def test_a_conflict_names_the_fields():
    path = ".spec.template.metadata.labels.mimic.dev/inject"
    answer = {"message": "m", "details": {"causes": [{"reason": "FieldManagerConflict", "field": path}]}}
    assert fault_of(409, answer, None, "apply x").fields == (path,)
    assert fault_of(429, {"details": {"retryAfterSeconds": 3}}, None, "apply x").retry_after == 3.0


def test_nothing_restarts_before_everything_was_looked_at_once():
    woken: list[Key] = []
    slots = Slots(2, woken.append)
    slots.hold(A, 1, waits=True)
    assert slots.free() == 0
    slots.start()
    assert (slots.free(), woken) == (1, [A])


def test_who_waits_is_woken_in_turn_when_another_is_done():
    woken: list[Key] = []
    slots = Slots(1, woken.append, open=True)
    slots.hold(A, 1, waits=False)
    slots.hold(B, 0, waits=True)
    slots.hold(C, 0, waits=True)
    assert woken == []
    slots.hold(A, 0, waits=False)
    assert woken == [B]
    slots.hold(B, 0, waits=False)
    assert woken == [B, C]


async def test_turns_that_never_wait_leave_time_for_others():
    """The renewal of the Lease, for one."""
    outcomes: list[Outcome] = []
    seen: list[int] = []

    async def turn(key: Key) -> None:
        return None

    queue = queue_of(turn, outcomes, [0.0])
    for number in range(100):
        queue.add(Key("team", str(number)))
    running = asyncio.create_task(queue.run(1))
    while not queue.idle():
        await asyncio.sleep(0)
        seen.append(len(outcomes))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(seen) > 90


async def test_fault_08_timers_of_one_key_do_not_multiply():
    """A key that is never settled and often changed: each change processed it once more, and each made a timer."""
    outcomes: list[Outcome] = []
    now = [0.0]

    async def never_settled(key: Key) -> float:
        return 2.0

    queue = queue_of(never_settled, outcomes, now)
    for number in range(60):
        now[0] = number / 100
        queue.add(A)
        await work(queue, lambda wanted=number + 1: len(outcomes) == wanted)  # type: ignore[misc]
    del outcomes[:]
    for step in range(100, 2100, 5):
        now[0] = step / 100
        queue.add(B)  # wakes the worker
        await work(queue, queue.idle)
    assert [outcome.key for outcome in outcomes].count(A) == 10


async def test_the_earliest_time_of_a_key_wins():
    outcomes: list[Outcome] = []
    now = [0.0]

    async def turn(key: Key) -> None:
        return None

    queue = queue_of(turn, outcomes, now)
    queue.add_after(A, 10.0)
    queue.add_after(A, 3.0)
    queue.add_after(A, 7.0)
    for second, wanted in ((2.0, 0), (3.0, 1), (7.0, 1), (10.0, 1)):
        now[0] = second
        queue.add(B)
        await work(queue, queue.idle)
        assert [outcome.key for outcome in outcomes].count(A) == wanted
