"""An exchange brought as far as a test wants it: one function for each place where one can be interrupted."""

from collections.abc import Callable

from fakes.caller import CHAT_BODY, STREAM_BODY
from fakes.replies import DONE, delta
from fakes.world import FORM, UPLOAD_PATH, Call, World
from mimic_proxy.relay.admission import Breaker, Budget, Slots

LONG_EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 70_000


def world() -> World:
    """One slot, a budget, a breaker and heartbeats, so that whatever can be left behind is counted."""
    services = {"slots": Slots(1, 2), "budget": Budget(1 << 22), "breaker": Breaker(3, 30.0)}
    return World(services=services, heartbeat_after=20.0)


def reading_the_body(world: World) -> Call:
    call = world.arrive(length=len(CHAT_BODY))
    call.send(CHAT_BODY[:10])
    return call


def parsing_the_body(world: World) -> Call:
    return world.call(b'{"model":"m"}' + b" " * (1 << 20))


def queued(world: World) -> Call:
    world.services.slots.take(lambda: None)
    return world.call()


def waiting_for_a_token(world: World) -> Call:
    world.tokens.held = None
    return world.call()


def invited_to_send(world: World) -> Call:
    """A 100 was sent, the body is still to come."""
    fields = [(b"content-type", b"application/json"), (b"expect", b"100-continue")]
    return world.arrive(length=len(CHAT_BODY), fields=fields)


def dialling(world: World) -> Call:
    world.pool.forget_all()
    return world.call()


def sent(world: World) -> Call:
    return world.call()


def uploading(world: World) -> Call:
    call = world.upload()
    call.send(b"--b\r\n")
    return call


def upload_held_back(world: World) -> Call:
    call = uploading(world)
    call.connection.take_no_more()
    return call


def upload_dialling(world: World) -> Call:
    world.pool.forget_all()
    return uploading(world)


def upload_answered_early(world: World) -> Call:
    call = uploading(world)
    call.connection.head(413, [(b"content-length", b"10")], b"12345")
    return call


def upload_sent(world: World) -> Call:
    call = world.arrive(UPLOAD_PATH, length=5, fields=FORM)
    call.send(b"--b--")
    call.end()
    return call


def head_of_a_stream(world: World) -> Call:
    return world.streaming()


def held_comment(world: World) -> Call:
    return world.streaming(b": hello\n\n")


def streaming(world: World) -> Call:
    return world.streaming(delta(role="assistant"), delta("one"))


def half_an_event(world: World) -> Call:
    return world.streaming(delta("one"), delta("two")[:20])


def overlong_event(world: World) -> Call:
    return world.streaming(delta("one"), LONG_EVENT)


def after_a_heartbeat(world: World) -> Call:
    call = world.call(STREAM_BODY)
    world.advance(20.0)
    return call


def late_answer(world: World) -> Call:
    """A heartbeat began the stream; then the backend turned out not to stream."""
    call = after_a_heartbeat(world)
    call.connection.head(500, [(b"content-length", b"100")], b'{"error"')
    return call


def body_of_an_answer(world: World) -> Call:
    call = world.call()
    call.connection.head(200, [(b"content-length", b"100")], b'{"choices"')
    return call


def stalled_caller(world: World) -> Call:
    call = streaming(world)
    call.take_no_more()
    return call


def error_in_a_stream(world: World) -> Call:
    return world.streaming(delta("one"), b'data: {"error":{"message":"m"}}\n\n')


def after_done(world: World) -> Call:
    call = world.streaming(delta("one", finish="stop"))
    call.connection.receive(DONE)
    return call


Stage = Callable[[World], Call]

BEFORE_THE_HEAD: tuple[Stage, ...] = (
    reading_the_body,
    parsing_the_body,
    queued,
    waiting_for_a_token,
    invited_to_send,
    dialling,
    sent,
    uploading,
    upload_held_back,
    upload_dialling,
    upload_sent,
    head_of_a_stream,
    held_comment,
)
IN_AN_EVENT_STREAM: tuple[Stage, ...] = (streaming, half_an_event, after_a_heartbeat, late_answer, stalled_caller)
INSIDE_A_BODY: tuple[Stage, ...] = (overlong_event, body_of_an_answer, upload_answered_early)
"""Nothing of ours can be said any more."""
EVERY_STAGE: tuple[Stage, ...] = (*BEFORE_THE_HEAD, *IN_AN_EVENT_STREAM, *INSIDE_A_BODY, error_in_a_stream, after_done)
