"""Whoever waits is told once, and not for ever too late."""

from typing import Any

import pytest

from fakes.loop import LoopFaults
from mimic_proxy.errors import TokenUnavailable
from mimic_proxy.tokens.source import Waiters

RESULT = TokenUnavailable("none")


def late() -> TokenUnavailable:
    return TokenUnavailable("too late")


@pytest.fixture
def waiters(scene: Any) -> Waiters:
    return Waiters(15, late, clock=lambda: scene.clock.monotonic, call_later=scene.clock.call_later)


async def test_all_are_told_once_in_the_order_they_came(scene: Any, waiters: Waiters) -> None:
    order: list[int] = []
    for number in range(100):
        waiters.add(lambda _, number=number: order.append(number))  # type: ignore[misc]
    waiters.resolve(RESULT)
    waiters.resolve(RESULT)
    assert (len(waiters), order) == (0, [])
    await scene.turn()
    await scene.clock.advance(60)
    assert order == list(range(100))


async def test_one_that_leaves_is_not_told_even_if_an_answer_is_on_its_way(scene: Any, waiters: Waiters) -> None:
    early, between, stays = scene.caller(), scene.caller(), scene.caller()
    for caller in (early, between, stays):
        waiters.add(caller)
    waiters.leave(early)
    waiters.resolve(RESULT)
    waiters.leave(between)
    await scene.turn()
    assert (early.told, between.told, stays.told) == ([], [], [RESULT])
    waiters.leave(stays)


async def test_each_waits_as_long_as_it_may(scene: Any, waiters: Waiters) -> None:
    first, second = scene.caller(), scene.caller()
    waiters.add(first)
    await scene.clock.advance(10)
    waiters.add(second)
    await scene.clock.advance(4.9)
    assert first.told == []
    await scene.clock.advance(0.1)
    assert [str(error) for error in first.told] == ["too late"]
    assert (second.told, len(waiters)) == ([], 1)
    await scene.clock.advance(10)
    assert [str(error) for error in second.told] == ["too late"]


async def test_one_that_waits_again_is_told_again(scene: Any, waiters: Waiters) -> None:
    caller = scene.caller()
    waiters.add(caller)
    waiters.resolve(RESULT)
    waiters.leave(caller)
    waiters.add(caller)
    await scene.turn()
    assert (caller.told, len(waiters)) == ([], 1)
    waiters.resolve(RESULT)
    await scene.turn()
    assert caller.told == [RESULT]


async def test_an_older_answer_does_not_reach_one_that_waits_anew(scene: Any, waiters: Waiters) -> None:
    told: list[object] = []

    def wait_anew(result: object) -> None:
        told.append(result)
        waiters.add(wait_anew)

    waiters.add(wait_anew)
    waiters.resolve(RESULT)
    waiters.resolve(late())
    await scene.turn()
    assert (told, len(waiters)) == ([RESULT], 1)


async def test_one_that_fails_harms_no_other(scene: Any, waiters: Waiters, loop_faults: LoopFaults) -> None:
    failures: list[object] = []
    loop_faults(lambda _, context: failures.append(context["exception"]))

    def fail(_: object) -> None:
        raise RuntimeError("broken")

    caller = scene.caller()
    waiters.add(fail)
    waiters.add(caller)
    waiters.resolve(RESULT)
    await scene.turn()
    assert (len(failures), caller.told) == (1, [RESULT])
