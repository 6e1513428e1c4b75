"""What has ended is freed at once: a circle of objects would stay until a full collection, with all that it holds."""

import gc
from collections.abc import Callable, Iterator

import pytest

from fakes import stages
from fakes.replies import COMPLETION, DONE
from fakes.stages import EVERY_STAGE, Stage
from fakes.world import Call, World
from mimic_proxy.relay.exchange import Exchange


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    # What is there already grows old, so that the youngest generation holds what a test makes.
    gc.collect(0)
    yield
    gc.enable()


def exchanges() -> int:
    return sum(isinstance(one, Exchange) for one in gc.get_objects(generation=0))


def leave(call: Call) -> None:
    call.leave()


def drain(call: Call) -> None:
    call.exchange.drain()


def lose(call: Call) -> None:
    held = [one for one in call.world.pool.connections if one.listener is not None]
    if held:
        held[0].lose()
    if not call.over:
        call.leave()


def complete(call: Call) -> None:
    held = [one for one in call.world.pool.connections if one.listener is not None]
    if held and held[0].answered:
        held[0].receive(DONE, ended=True)
    elif held and call.complete:
        held[0].answer(200, COMPLETION)
    if not call.over:
        call.leave()


def forget(world: World) -> None:
    """What the fakes keep for asserts."""
    world.calls.clear()
    world.pool.connections.clear()
    world.pool.dials.clear()
    world.offloaded.clear()
    world.services.slots.give() if world.services.slots.in_use else None


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("stage", EVERY_STAGE, ids=lambda stage: stage.__name__)
@pytest.mark.parametrize("end", [leave, drain, lose, complete], ids=lambda end: end.__name__)
def test_an_exchange_that_has_ended_is_freed_without_a_collection(stage: Stage, end: Callable[[Call], None]) -> None:
    before = exchanges()
    world = stages.world()
    call = stage(world)
    end(call)
    if not call.over:
        world.advance(10_000.0)
    assert call.over
    forget(world)
    del call
    assert exchanges() == before
