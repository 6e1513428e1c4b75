"""The table of states, held against the exchange: what a state allows is handled, all else raises in the fakes."""

from collections.abc import Callable
from typing import Any

import pytest

import fakes.stages as stages
from fakes.caller import CHAT_BODY
from fakes.envelope import dialect
from fakes.ports import Composer, report
from fakes.replies import COMPLETION
from fakes.stages import Stage
from fakes.world import Call, World
from mimic_proxy.dialects.base import Translated
from mimic_proxy.errors import InvalidRequest, UpstreamBadResponse, UpstreamUnreachable
from mimic_proxy.http.headers import read_response, response_names
from mimic_proxy.relay.delivery import Ending
from mimic_proxy.relay.ports import Composed
from mimic_proxy.relay.states import EVENTS, WAITS_FOR, State
from mimic_proxy.relay.upstream_request import NO_FIELDS, Understood
from mimic_proxy.tokens.token import AccessToken

ALL_EVENTS = sorted(set().union(*EVENTS.values()))


def of_a_gateway(world: World) -> None:
    for name, value in {"translates": True, "dialect": dialect(), "composer": Composer()}.items():
        setattr(world.services, name, value)


def gathering(world: World) -> Call:
    of_a_gateway(world)
    call = world.call()
    call.connection.head(200, [(b"content-type", b"application/json"), (b"content-length", b"100")], b'{"data"')
    return call


def translating(world: World) -> Call:
    of_a_gateway(world)
    call = world.call()
    call.connection.answer(200, b'{"data":{"content":{"content":"' + b"x" * 1_100_000 + b'"}}}')
    return call


def composing(world: World) -> Call:
    of_a_gateway(world)
    return world.call(b'{"model":"e","input":["a","b"]}', b"/v1/embeddings")


def ended(world: World) -> Call:
    call = world.call()
    call.connection.answer(200, COMPLETION)
    return call


def waiting_for_an_upload_s_slot(world: World) -> Call:
    world.services.slots.take(lambda: None)
    return stages.uploading(world)


IN: dict[State, Stage] = {
    State.RECEIVING: stages.reading_the_body,
    State.PARSING: stages.parsing_the_body,
    State.QUEUED: waiting_for_an_upload_s_slot,
    State.TOKEN: stages.waiting_for_a_token,
    State.DIALLING: stages.dialling,
    State.UPLOADING: stages.uploading,
    State.SENT: stages.sent,
    State.GATHERING: gathering,
    State.TRANSLATING: translating,
    State.COMPOSING: composing,
    State.HEAD: stages.held_comment,
    State.STREAMING: stages.streaming,
    State.AFTER_DONE: stages.after_done,
    State.ENDED: ended,
}
WHAT: dict[str, Callable[[Call], tuple[Any, ...]]] = {
    "caller_data": lambda call: (CHAT_BODY[10:12],),
    "caller_writable": lambda call: (False,),
    "connected": lambda call: (call.world.pool.keep(),),
    "not_connected": lambda call: (UpstreamUnreachable("It cannot be reached.", error_type="connect"),),
    "token_lapsed": lambda call: (None,),
    "token_ready": lambda call: (None,),
    "request_parsed": lambda call: (Understood(NO_FIELDS),),
    "response_translated": lambda call: (Ending.with_body("answer", 200, b"{}", reusable=True),),
    "composed": lambda call: (Composed(Translated(200, b"{}"), [], None),),
    "upstream_received": lambda call: (
        None if call.exchange.record.head else read_response(204, [], response_names(own_cors=False)),
        b"",
        False,
    ),
    "upstream_lost": lambda call: (UpstreamBadResponse("It was lost.", error_type="reset"),),
    "upstream_writable": lambda call: (False,),
    "reject": lambda call: (InvalidRequest("It is no HTTP."),),
}


def brought_to(state: State) -> Call:
    world = stages.world()
    call = IN[state](world)
    assert call.state is state
    return call


def test_every_state_has_its_row() -> None:
    assert list(EVENTS) == list(WAITS_FOR) == list(IN) == list(State)


@pytest.mark.parametrize("event", ALL_EVENTS)
@pytest.mark.parametrize("state", State)
def test_each_event_is_handled_where_the_table_allows_it_and_raises_elsewhere(state: State, event: str) -> None:
    call = brought_to(state)
    if event == "token_ready" and event in EVENTS[state]:
        call.exchange._attempt.token = (
            call.world.tokens.next if isinstance(call.world.tokens.next, AccessToken) else None
        )
    what = WHAT.get(event, lambda call: ())(call)
    if event == "connected" and event in EVENTS[state]:
        (call.exchange._attempt.connection,) = what
    if event in EVENTS[state]:
        report(call.exchange, event, *what)
        return
    with pytest.raises(AssertionError, match=f"{event} while"):
        report(call.exchange, event, *what)


@pytest.mark.parametrize("state", [state for state in State if state is not State.ENDED])
def test_from_every_state_the_end_is_reached_and_everything_given_back(state: State) -> None:
    call = brought_to(state)
    held = call.world.services.slots.in_use if state is State.QUEUED else 0
    report(call.exchange, "drain")
    assert call.state is State.ENDED
    assert len(call.observations) == 1
    call.world.run_offloaded()
    assert call.world.services.slots.in_use == held
    assert call.world.services.budget.held == 0
