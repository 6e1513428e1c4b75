"""The states of a caller's connection: each is reached, each goes where the table says, and nowhere else."""

from collections.abc import Awaitable, Callable

import pytest

from fakes.caller import chat, request
from fakes.replies import COMPLETION
from fakes.transport import App, Line, turn
from fakes.world import World
from mimic_proxy.relay.protocol import NEXT

UPLOAD = request(b"POST", b"/v1/unknown", b"x" * 100)


async def idle(line: Line) -> None:
    await line.read(chat())
    line.world.pool.connections[0].answer(200, COMPLETION)
    await turn()


async def discarding(line: Line) -> None:
    line.app.reads_body = False
    await line.read(UPLOAD[:-50])


async def lost(line: Line) -> None:
    line.transport.lose()


STAGES: dict[str, Callable[[Line], Awaitable[None]]] = {
    "new": lambda line: turn(),
    "idle": idle,
    "head": lambda line: line.read(b"POST /v1"),
    "body": lambda line: line.read(chat()[:-5]),
    "answering": lambda line: line.read(chat()),
    "discarding": discarding,
    "closing": lambda line: line.read(b"nonsense\r\n\r\n"),
    "lost": lost,
}


def test_every_state_stands_in_the_table_and_is_reached() -> None:
    assert set(NEXT) == set(STAGES) == {state for following in NEXT.values() for state in following} | {"new"}


@pytest.mark.parametrize("stage", STAGES)
async def test_each_stage_is_the_state_that_it_says(stage: str) -> None:
    line = Line(World(), app=App())
    await STAGES[stage](line)
    assert line.protocol.state == stage


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("event", ["data", "end of file", "loss", "stop", "time", "head known"])
async def test_any_event_in_any_state_leads_where_the_table_says(stage: str, event: str) -> None:
    world = World()
    line = Line(world, app=App())
    await STAGES[stage](line)
    before = line.protocol.state
    match event:
        case "data":
            await line.read(b"x" * 10)
        case "head known":
            await line.read(chat())
        case "end of file":
            line.end()
        case "loss":
            line.transport.lose()
        case "stop":
            line.protocol.shutdown()
        case "time":
            for _ in range(40):
                await line.advance(5.0)
    after = line.protocol.state
    reachable, step = {before}, {before}
    while step:
        step = {follower for one in step for follower in NEXT[one]} - reachable
        reachable |= step
    assert after in reachable
    if event in ("end of file", "loss") and not (event == "end of file" and stage == "lost"):
        assert after == "lost"
    await turn()


async def test_what_the_table_does_not_have_raises() -> None:
    line = Line(World())
    with pytest.raises(AssertionError, match="cannot go from new to body"):
        line.protocol._enter("body")
