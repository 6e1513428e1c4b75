"""Exchanges under any order of events: none raises, each ends once, and nothing is left behind."""

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fakes.caller import CHAT_BODY, STREAM_BODY
from fakes.envelope import dialect
from fakes.ports import Composer, Composition, Connection, access_token
from fakes.replies import COMPLETION, DONE, JSON_FIELDS, SSE_FIELDS, delta, event
from fakes.stages import LONG_EVENT
from fakes.world import FORM, UPLOAD_PATH, Call, World
from mimic_proxy.dialects.base import Translated
from mimic_proxy.errors import TokenUnavailable, UpstreamAuthFailed, UpstreamBadResponse
from mimic_proxy.relay.admission import Breaker, Budget, Slots
from mimic_proxy.relay.states import State

LARGE_BODY = b'{"model":"m","stream":true}' + b" " * (1 << 20)
ASKING = (b"expect", b"100-continue")
REQUESTS = {
    "chat": (b"/v1/chat/completions", CHAT_BODY, [*JSON_FIELDS]),
    "stream": (b"/v1/chat/completions", STREAM_BODY, [*JSON_FIELDS]),
    "stream, asking first": (b"/v1/chat/completions", STREAM_BODY, [*JSON_FIELDS, ASKING]),
    "no JSON": (b"/v1/chat/completions", b"no JSON", [*JSON_FIELDS]),
    "large": (b"/v1/chat/completions", LARGE_BODY, [*JSON_FIELDS]),
    "large, asking first": (b"/v1/chat/completions", LARGE_BODY, [*JSON_FIELDS, ASKING]),
    "responses": (b"/v1/responses", STREAM_BODY, [*JSON_FIELDS]),
    "embeddings": (b"/v1/embeddings", CHAT_BODY, [*JSON_FIELDS]),
    "upload": (UPLOAD_PATH, b"--b\r\n" * 9, [*FORM]),
    "upload, asking first": (UPLOAD_PATH, b"--b\r\n" * 9, [*FORM, ASKING]),
}
PIECES = {
    "role": delta(role="assistant"),
    "content": delta("one"),
    "half an event": delta("two")[:15],
    "the other half": delta("two")[15:],
    "finish": delta(finish="stop"),
    "done": DONE,
    "comment": b": comment\n\n",
    "overlong": LONG_EVENT,
    "end of overlong": b'"}}]}\n\n',
    "error": event({"error": {"message": "m", "code": 429}}),
    "refusal": event({"error": {"message": "m", "code": 401}}),
    "usage": event({"choices": [], "usage": {"prompt_tokens": 1}}),
    "end of responses": event({"type": "response.completed"}),
    "CR": b"\r",
    "filler": b"x" * 70_000,
    "JSON": COMPLETION,
    "nothing": b"",
}
MOSTLY = st.sampled_from([True, True, True, False])
FRAMINGS: list[list[tuple[bytes, bytes]]] = [
    [(b"transfer-encoding", b"chunked")],
    [(b"content-length", b"1000000")],
    [],
    [(b"connection", b"close"), (b"content-length", b"1000000")],
]


ANSWERING = {
    State.UPLOADING,
    State.SENT,
    State.GATHERING,
    State.COMPOSING,
    State.HEAD,
    State.STREAMING,
    State.AFTER_DONE,
}


class AnyOrder(RuleBasedStateMachine):
    """A few callers, one backend, one token source, in the hands of chance."""

    requests = REQUESTS
    pieces = PIECES
    kinds = (SSE_FIELDS, SSE_FIELDS, JSON_FIELDS)

    def __init__(self, **more: Any) -> None:
        super().__init__()
        services = {
            "slots": Slots(2, 2),
            "budget": Budget(2_500_000),
            "breaker": Breaker(4, 30.0),
            "include_usage": True,
            **more,
        }
        self.world = World(services=services, kept=2, heartbeat_after=20.0, max_body_bytes=1 << 21)
        self.left: dict[int, list[bytes]] = {}

    def some(self, data: st.DataObject, wanted: Callable[[Call], bool]) -> Call | None:
        found = [call for call in self.world.calls if not call.over and wanted(call)]
        return found[data.draw(st.integers(0, len(found) - 1))] if found else None

    @property
    def composing(self) -> list[Composition]:
        """Answers that are being made of several calls."""
        composer = self.world.services.composer
        return [] if composer is None else composer.running

    def held(self, data: st.DataObject) -> Connection | None:
        found = [one for one in self.world.pool.connections if one.listener is not None]
        return found[data.draw(st.integers(0, len(found) - 1))] if found else None

    # callers

    @precondition(lambda self: sum(not call.over for call in self.world.calls) < 5)
    @rule(data=st.data(), declared=st.booleans(), http11=MOSTLY, writable=MOSTLY, whole=MOSTLY)
    def arrive(self, data: st.DataObject, declared: bool, http11: bool, writable: bool, whole: bool) -> None:
        path, body, fields = self.requests[data.draw(st.sampled_from(sorted(self.requests)))]
        declared = declared or not http11
        if not declared:
            fields = [*fields, (b"transfer-encoding", b"chunked")]
        length = len(body) if declared else None
        how = {"http11": http11, "keep_alive": http11, "writable": writable}
        call = self.world.arrive(path, length=length, fields=fields, **how)
        half = len(body) // 2
        self.left[id(call)] = [] if whole else [body[:half], body[half:]]
        if whole and not call.over:
            call.send(body)
            call.end()

    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        call = self.some(data, lambda call: bool(self.left[id(call)]) and not call.caller.paused)
        if call is not None:
            call.send(self.left[id(call)].pop(0))
            if not self.left[id(call)] and data.draw(st.booleans()):
                call.end()
                self.left[id(call)] = []

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        call = self.some(data, lambda call: not self.left[id(call)] and not call.complete)
        if call is not None:
            call.end()

    @rule(data=st.data(), stays=MOSTLY)
    def leave(self, data: st.DataObject, stays: bool) -> None:
        call = self.some(data, lambda call: not call.caller.left)
        if call is not None and not stays:
            call.leave()

    @rule(data=st.data())
    def press(self, data: st.DataObject) -> None:
        call = self.some(data, lambda call: not call.caller.left)
        if call is not None:
            call.caller.buffered = data.draw(st.integers(0, 3))
            call.take_no_more(call.caller.writable)

    @rule()
    def finish_parsing(self) -> None:
        self.world.run_offloaded()

    # tokens

    @rule(kind=st.sampled_from(["token", "token", "none", "error"]), other=st.sampled_from(["token", "none", "final"]))
    def change_tokens(self, kind: str, other: str) -> None:
        tokens = self.world.tokens
        generation = len(tokens.refused) + tokens.asked + 5
        error = TokenUnavailable("The token service is down.", retry_after=1)
        final = UpstreamAuthFailed("There is no other token.", should_retry=False)
        token = access_token(f"token-{generation}", generation)
        tokens.held = {"token": token, "none": None, "error": error}[kind]
        tokens.next = {"token": token, "none": None, "final": final}[other]

    @precondition(lambda self: self.world.tokens.waiting)
    @rule(good=MOSTLY)
    def deliver(self, good: bool) -> None:
        self.world.tokens.deliver(None if good else TokenUnavailable("Not in time, try again.", retry_after=1))

    # the backend

    @precondition(lambda self: self.world.pool.dials)
    @rule(good=MOSTLY)
    def dialled(self, good: bool) -> None:
        self.world.pool.connect() if good else self.world.pool.refuse()

    @rule(data=st.data())
    def answer_begins(self, data: st.DataObject) -> None:
        connection = self.held(data)
        if connection is None or connection.answered:
            return
        status = data.draw(st.sampled_from([200, 200, 200, 401, 404, 408, 500, 307, 204]))
        kind = data.draw(st.sampled_from(self.kinds))
        more = [(b"location", b"https://elsewhere.example")] if status == 307 else []
        body = self.pieces[data.draw(self.names())]
        if status == 204:
            connection.head(status, more, ended=True)
            return
        framing = data.draw(st.sampled_from(FRAMINGS))
        connection.head(status, [*kind, *more, *framing], body, ended=data.draw(st.booleans()))

    def names(self) -> st.SearchStrategy[str]:
        return st.sampled_from(sorted(self.pieces))

    @rule(data=st.data(), ended=st.booleans())
    def answer_goes_on(self, data: st.DataObject, ended: bool) -> None:
        names = data.draw(st.lists(self.names(), max_size=3))
        connection, body = self.held(data), b"".join(self.pieces[name] for name in names)
        if connection is not None and connection.answered and not connection.paused and (body or ended):
            connection.receive(body, ended=ended)

    @rule(data=st.data(), holds=MOSTLY)
    def connection_lost(self, data: st.DataObject, holds: bool) -> None:
        connection = self.held(data)
        if connection is not None and not holds:
            connection.lose()

    @rule(data=st.data())
    def backend_takes_no_more(self, data: st.DataObject) -> None:
        connection = self.held(data)
        if connection is not None:
            connection.take_no_more(connection.writable)

    # time

    @rule(seconds=st.sampled_from([0.05, 0.5, 1.0, 14.0, 15.0, 61.0, 301.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        call = self.some(data, lambda call: True)
        if call is not None and data.draw(st.integers(0, 9)) == 9:
            call.exchange.drain()

    # what always holds

    @invariant()
    def ends_are_observed_once(self) -> None:
        for call in self.world.calls:
            assert len(call.observations) == call.over

    @invariant()
    def who_holds_a_slot_is_counted(self) -> None:
        waiting = {State.RECEIVING, State.PARSING, State.QUEUED}
        running = [call for call in self.world.calls if not call.over]
        assert self.world.services.slots.in_use == sum(call.state not in waiting for call in running)
        assert self.world.services.slots.waiting == sum(call.state is State.QUEUED for call in running)
        assert len(self.world.services.ticker) == len(running)

    @invariant()
    def no_caller_is_held_back_for_nothing(self) -> None:
        """A paused transport does not see its caller leave."""
        for call in self.world.calls:
            if call.complete and not call.over:
                assert not call.caller.paused

    @invariant()
    def nobody_is_timed_for_a_stall_that_is_none(self) -> None:
        for call in self.world.calls:
            at = call.exchange.record
            if call.state in ANSWERING and not call.caller.left:
                assert bool(at.caller_stalled) is not call.caller.writable
            # A backend that has answered need not take the rest of the request.
            if call.state in (State.UPLOADING, State.SENT):
                assert bool(at.backend_stalled) is not call.connection.writable

    @invariant()
    def everyone_waits_for_something(self) -> None:
        tokens, dials = len(self.world.tokens.waiting), len(self.world.pool.wanted)
        running = [call for call in self.world.calls if not call.over]
        held = [one for one in self.world.pool.connections if one.listener is not None]
        assert len(held) + len(self.composing) == sum(call.state in ANSWERING for call in running)
        assert dials == sum(call.state is State.DIALLING for call in running)
        # A body that is asked for waits for its token before it has a slot.
        assert tokens <= sum(
            call.state in (State.RECEIVING, State.PARSING, State.QUEUED, State.TOKEN) for call in running
        )

    @invariant()
    def what_callers_got_is_http(self) -> None:
        for call in self.world.calls:
            if call.over and not call.caller.left and call.caller.finished is not None:
                response = call.response
                lied = response.value(b"content-length") == b"1000000"
                assert response.complete or lied
                assert response.status == call.observations[0].status

    def teardown(self) -> None:
        for number, call in enumerate(self.world.calls):
            if not call.over and number % 2 and not call.caller.left:
                call.leave()
            if not call.over:
                call.exchange.drain()
            assert len(call.observations) == 1
            assert call.caller.over or call.caller.left
        self.world.run_offloaded()
        while self.world.pool.dials:
            self.world.pool.connect()
        self.world.assert_all_given_back()


CONTENT = {"content": "one"}
GATEWAY_REQUESTS = {name: REQUESTS[name] for name in ("chat", "stream", "stream, asking first", "no JSON", "large")} | {
    "one text": (b"/v1/embeddings", b'{"model":"e","input":"a"}', [*JSON_FIELDS]),
    "texts": (b"/v1/embeddings", b'{"model":"e","input":["a","b","c"]}', [*JSON_FIELDS]),
    "tokens": (b"/v1/embeddings", b'{"model":"e","input":[1,2]}', [*JSON_FIELDS]),
}
GATEWAY_PIECES = {
    "content": event({"data": {"content": CONTENT}}),
    "half an event": event({"data": {"content": CONTENT}})[:15],
    "the other half": event({"data": {"content": CONTENT}})[15:],
    "finish": event({"data": {"content": {"content": "", "finish_reason": "stop"}}}),
    "done": DONE,
    "comment": b": comment\n\n",
    "error": event({"errorCode": 429, "errorMessage": "m"}),
    "refusal": event({"errorCode": 401}),
    "line": b'{"data":{"content":{"content":"one"}}}\n',
    "refusal in a line": b'{"errorCode":401}\n',
    "vector": b'{"data":{"content":[1.0]}}',
    "filler": b"x" * 70_000,
    "page": b"<html>",
    "nothing": b"",
}


class AnyOrderOfAGateway(AnyOrder):
    """The same with a backend whose answers are translated, and answers that are made of several calls."""

    requests = GATEWAY_REQUESTS
    pieces = GATEWAY_PIECES
    kinds = (SSE_FIELDS, JSON_FIELDS, ((b"content-type", b"application/x-ndjson"),))

    def __init__(self) -> None:
        super().__init__(dialect=dialect(), translates=True, composer=Composer())

    @precondition(lambda self: self.composing)
    @rule(status=st.sampled_from([200, 200, 429, 502, None]))
    def composed(self, status: int | None) -> None:
        composition = self.composing[0]
        composition.progress()
        error = UpstreamBadResponse("The backend broke off, try again.")
        composition.end(error if status is None else Translated(status, b"{}"))

    def teardown(self) -> None:
        super().teardown()
        assert self.composing == [], "nobody wants these answers any more"


TestAnyOrder = AnyOrder.TestCase
TestAnyOrderOfAGateway = AnyOrderOfAGateway.TestCase
TestAnyOrderOfAGateway.settings = settings(max_examples=150, stateful_step_count=40)
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40)
