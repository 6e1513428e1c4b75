from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mimic_proxy.relay.admission import Budget, Slots


def nobody() -> None:
    raise AssertionError("a caller that was granted a slot at once is not called")


class Caller:
    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.calls = 0
        self.then: Callable[[], None] = lambda: None

    def granted(self) -> None:
        self.calls += 1
        self.then()


def test_grants_up_to_the_limit_then_queues_then_refuses() -> None:
    slots = Slots(limit=2, queue_limit=1)

    assert [slots.take(nobody), slots.take(nobody)] == ["granted", "granted"]
    assert slots.take(Caller(slots).granted) == "queued"
    assert slots.take(Caller(slots).granted) == "full"
    assert (slots.in_use, slots.waiting) == (2, 1)


def test_gives_a_slot_to_the_oldest_waiter() -> None:
    slots = Slots(limit=1, queue_limit=3)
    slots.take(nobody)
    callers = [Caller(slots) for _ in range(3)]
    for caller in callers:
        slots.take(caller.granted)

    slots.leave(callers[0].granted)
    slots.give()

    assert [caller.calls for caller in callers] == [0, 1, 0]
    assert (slots.in_use, slots.waiting) == (1, 1)


def test_leaving_twice_or_after_the_grant_changes_nothing() -> None:
    slots = Slots(limit=1, queue_limit=1)
    slots.take(nobody)
    caller = Caller(slots)
    slots.take(caller.granted)
    slots.give()

    slots.leave(caller.granted)
    slots.leave(caller.granted)

    assert (slots.in_use, slots.waiting, caller.calls) == (1, 0, 1)


def test_no_limit_never_queues() -> None:
    slots = Slots(limit=0, queue_limit=0)

    assert {slots.take(nobody) for _ in range(10_000)} == {"granted"}
    slots.give()
    assert slots.in_use == 9_999


def test_no_queue_refuses_at_once() -> None:
    slots = Slots(limit=1, queue_limit=0)
    slots.take(nobody)

    assert slots.take(nobody) == "full"


def test_a_long_queue_of_waiters_that_give_back_at_once_is_served_without_recursion() -> None:
    slots = Slots(limit=1, queue_limit=5_000)
    slots.take(nobody)
    callers = [Caller(slots) for _ in range(5_000)]
    for caller in callers:
        caller.then = slots.give
        slots.take(caller.granted)

    slots.give()

    assert [caller.calls for caller in callers] == [1] * 5_000
    assert (slots.in_use, slots.waiting) == (0, 0)


def test_a_newcomer_does_not_overtake_the_queue() -> None:
    slots = Slots(limit=1, queue_limit=3)
    slots.take(nobody)
    first, second, newcomer = Caller(slots), Caller(slots), Caller(slots)
    taken: list[str] = []

    def give_back_and_come_again() -> None:
        slots.give()
        taken.append(slots.take(newcomer.granted))

    first.then = give_back_and_come_again
    slots.take(first.granted)
    slots.take(second.granted)

    slots.give()

    assert taken == ["queued"]
    assert (second.calls, newcomer.calls) == (1, 0)


def test_refuses_to_count_wrong() -> None:
    slots = Slots(limit=1, queue_limit=2)
    with pytest.raises(RuntimeError, match="nobody had taken"):
        slots.give()
    slots.take(nobody)
    caller = Caller(slots)
    slots.take(caller.granted)
    with pytest.raises(ValueError, match="already"):
        slots.take(caller.granted)


class AgainstAPlainList(RuleBasedStateMachine):
    """Any order of coming, leaving and giving back, compared with a list."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(limit=2, queue_limit=3)
        self.running = 0
        self.queue: list[Caller] = []
        self.called: list[Caller] = []

    @rule()
    def come(self) -> None:
        caller = Caller(self.slots)
        caller.then = lambda: self.called.append(caller)
        expected = "granted" if self.running < 2 else "queued" if len(self.queue) < 3 else "full"
        assert self.slots.take(caller.granted) == expected
        if expected == "granted":
            self.running += 1
        elif expected == "queued":
            self.queue.append(caller)

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.slots.leave(self.queue.pop(data.draw(st.integers(0, len(self.queue) - 1))).granted)

    @precondition(lambda self: self.running)
    @rule()
    def give(self) -> None:
        self.called.clear()
        self.slots.give()
        if self.queue:
            assert self.called == [self.queue.pop(0)]
        else:
            self.running -= 1

    @invariant()
    def counts_agree(self) -> None:
        assert (self.slots.in_use, self.slots.waiting) == (self.running, len(self.queue))


TestAgainstAPlainList = AgainstAPlainList.TestCase
TestAgainstAPlainList.settings = settings(max_examples=40, stateful_step_count=30)


def test_a_budget_is_taken_whole_or_not_at_all() -> None:
    budget = Budget(10)

    assert budget.take(6)
    assert not budget.take(5)
    assert budget.take(4)
    assert budget.held == 10
    budget.give(6)
    assert budget.take(5)


def test_a_budget_without_a_limit_takes_anything() -> None:
    budget = Budget(0)

    assert budget.take(1 << 40)
    budget.give(1 << 40)
    assert budget.held == 0


def test_a_budget_gets_no_more_back_than_was_taken() -> None:
    budget = Budget(10)
    budget.take(3)

    with pytest.raises(RuntimeError, match="more was given back"):
        budget.give(4)


def test_more_slots_let_in_who_waits_and_fewer_turn_nobody_out() -> None:
    slots = Slots(1, 5)
    let_in: list[int] = []
    assert slots.take(lambda: None) == "granted"
    for number in range(3):
        slots.take(lambda number=number: let_in.append(number))
    slots.resize(3, 5)
    assert (let_in, slots.in_use, slots.waiting) == ([0, 1], 3, 1)
    slots.resize(1, 0)
    assert (slots.in_use, slots.waiting) == (3, 1)
    assert slots.take(lambda: None) == "full"
    slots.resize(0, 0)
    assert (let_in, slots.in_use, slots.waiting) == ([0, 1, 2], 4, 0)


def test_another_budget_leaves_what_is_taken() -> None:
    budget = Budget(10)
    assert budget.take(8)
    budget.resize(5)
    assert not budget.take(1)
    budget.give(8)
    assert budget.take(5)
