"""A caller's connection under any bytes in any reads: it never raises, and answers in order or ends."""

import asyncio
import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.caller import CHAT_BODY, STREAM_BODY, chat, request
from fakes.replies import COMPLETION, DONE, delta
from fakes.transport import App, Line, turn
from fakes.world import FORM, World
from mimic_proxy.relay.access import OriginPolicy
from mimic_proxy.relay.admission import Budget, Slots

REQUESTS = {
    "chat": chat(),
    "another chat": chat(CHAT_BODY + b" "),
    "stream": chat(STREAM_BODY),
    "chunked": request(b"POST", b"/v1/embeddings", None, [(b"transfer-encoding", b"chunked")])
    + b"2\r\n{}\r\n0\r\n\r\n",
    "trailers": request(b"POST", b"/v1/embeddings", None, [(b"transfer-encoding", b"chunked")])
    + b"2\r\n{}\r\n0\r\na: b\r\n\r\n",
    "upload": request(b"POST", b"/v1/files", b"--b\r\n--b--", FORM),
    "unknown": request(b"GET", b"/v1/unknown"),
    "unknown with body": request(b"POST", b"/v1/unknown", b"x" * 500),
    "expecting": chat(CHAT_BODY, [(b"expect", b"100-continue")]),
    "closing": chat(CHAT_BODY, [(b"connection", b"close")]),
    "old": chat().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "upgrade": chat(CHAT_BODY, [(b"connection", b"upgrade"), (b"upgrade", b"h2c")]),
    "no JSON": chat(b"no JSON"),
    "too large": chat(b"{" + b" " * 5000),
    "foreign host": chat(CHAT_BODY, [(b"host", b"rebound.example")]),
    "preflight": request(b"OPTIONS", b"/v1/embeddings", None, [(b"origin", b"https://page.example")]),
    "garbage": b"\x00garbage\r\n\r\n",
    "line ends": b"\r\n\r\n",
    "half a head": b"POST /v1/chat/completions HTTP/1.1\r\nhost: loc",
}
ACTIONS = [
    "turn",
    "turn",
    "answer",
    "answer",
    "half an answer",
    "refuse",
    "lose",
    "time",
    "full",
    "empty",
    "draining",
    "leave",
    "half-close",
]
_STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("send"), st.lists(st.sampled_from(sorted(REQUESTS)), min_size=1, max_size=3), st.integers(0, 6)
        ),
        st.tuples(st.sampled_from(ACTIONS), st.just([]), st.just(0)),
    ),
    max_size=14,
)


class Play:
    """One caller's connection, and what chance does to it."""

    def __init__(self, reads_body: bool) -> None:
        services = {"slots": Slots(2, 2), "budget": Budget(20_000)}
        self.world = World(services=services, max_body_bytes=4000, kept=1)
        app = App()
        app.reads_body = reads_body
        origins = OriginPolicy(allowed_origins=("https://page.example",))
        self.line = Line(self.world, app=app, origins=origins)
        self.begun = 0

    async def step(self, action: str, names: list[str], cut: int) -> None:
        if action == "send":
            data = b"".join(REQUESTS[name] for name in names)
            place = len(data) * cut // 7
            for piece in (data[:place], data[place:]):
                if piece:
                    self.line.send(piece)
        else:
            await getattr(self, action.replace(" ", "_").replace("-", "_"))()

    def held(self) -> Any:
        found = [one for one in self.world.pool.connections if one.listener is not None]
        return found[0] if found else None

    async def turn(self) -> None:
        while self.world.pool.dials:
            self.world.pool.connect()
        await turn()

    async def answer(self) -> None:
        connection = self.held()
        if connection is None:
            return
        if connection.answered:
            connection.receive(delta(finish="stop") + DONE, ended=True)
        else:
            connection.answer(200, COMPLETION)

    async def half_an_answer(self) -> None:
        connection = self.held()
        if connection is not None and not connection.answered:
            connection.stream(delta("one"))

    async def refuse(self) -> None:
        connection = self.held()
        if connection is not None and not connection.answered:
            connection.answer(401, b"{}")

    async def lose(self) -> None:
        connection = self.held()
        if connection is not None:
            connection.lose()

    async def time(self) -> None:
        await self.line.advance(11.0)

    async def full(self) -> None:
        if not self.line.transport.lost and self.line.protocol.writable:
            self.line.transport.unsent = 100_000
            self.line.protocol.pause_writing()

    async def empty(self) -> None:
        if not self.line.transport.lost and not self.line.protocol.writable:
            self.line.transport.unsent = 0
            self.line.protocol.resume_writing()

    async def draining(self) -> None:
        self.world.services.draining = True

    async def leave(self) -> None:
        self.line.transport.lose()

    async def half_close(self) -> None:
        self.line.end()

    def judge(self) -> None:
        """All answers are whole but the last; each exchange that ended was observed once."""
        answers = self.line.responses()
        assert all(answer.complete for answer in answers[:-1])
        for answer in answers:
            assert answer.status != 0 or answer is answers[-1]

    async def end(self) -> None:
        self.line.transport.lose()
        await turn()
        while self.world.pool.dials:
            self.world.pool.connect()
        for _ in range(4):
            await self.line.advance(2.0)
        self.world.assert_all_given_back()
        assert self.line.protocol.exchange is None
        assert len(self.line.state.tasks) == 0, "the application's calls have ended"
        ids = [seen.request_id for seen in self.world.observations]
        assert len(ids) == len(set(ids)), "an exchange was observed twice"


@given(_STEPS, st.booleans())
@settings(max_examples=250)
def test_any_bytes_in_any_reads_never_raise_and_leave_nothing(
    steps: list[tuple[str, list[str], int]], reads: bool
) -> None:
    async def play() -> None:
        one = Play(reads)
        faults: list[Any] = []
        import asyncio

        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
        for action, names, cut in steps:
            await one.step(action, names, cut)
            one.judge()
        await one.end()
        assert faults == []

    asyncio.run(play())


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=4))
@settings(max_examples=150)
def test_any_bytes_at_all_are_refused_or_waited_for(data: bytes, cuts: list[int]) -> None:
    places = [0, *sorted({cut for cut in cuts if cut < len(data)}), len(data)]

    async def play() -> None:
        one = Play(True)
        for begin, stop in itertools.pairwise(places):
            one.line.send(data[begin:stop])
            await turn()
        one.judge()
        assert all(answer.status in (0, 400, 404, 405, 431) for answer in one.line.responses())
        await one.end()

    asyncio.run(play())
