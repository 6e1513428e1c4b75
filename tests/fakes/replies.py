"""Bytes of HTTP answers, and scripts for the fake backend made of them."""

import asyncio
import json
from collections.abc import Iterable

from fakes.backend import Request, Script

Fields = Iterable[tuple[bytes, bytes]]

SSE_FIELDS: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"text/event-stream; charset=utf-8"),)
JSON_FIELDS: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)
DONE = b"data: [DONE]\n\n"
LAST_CHUNK = b"0\r\n\r\n"


def head(status: int, fields: Fields = (), reason: bytes = b"Some Reason") -> bytes:
    """A response head, exactly these fields."""
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    return b"HTTP/1.1 %d %s\r\n%s\r\n" % (status, reason, lines)


def answer(status: int, body: bytes, fields: Fields = JSON_FIELDS) -> bytes:
    """A whole response with content-length."""
    return head(status, [*fields, (b"content-length", b"%d" % len(body))]) + body


def chunk(data: bytes) -> bytes:
    """One HTTP chunk (RFC 9112, 7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def stream_head(fields: Fields = SSE_FIELDS) -> bytes:
    return head(200, [*fields, (b"transfer-encoding", b"chunked")])


def event(payload: object) -> bytes:
    """One SSE event with a JSON payload."""
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


def delta(text: str | None = None, *, finish: str | None = None, index: int = 0, role: str | None = None) -> bytes:
    """One event of a chat completion stream."""
    fields: dict[str, str] = {}
    if role is not None:
        fields["role"] = role
    if text is not None:
        fields["content"] = text
    choice = {"index": index, "delta": fields, "finish_reason": finish}
    return event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})


COMPLETION = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"hello"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)
STORY = delta(role="assistant") + delta("one") + delta("two") + delta(finish="stop") + DONE


def reply(data: bytes, *, close: bool = False) -> Script:
    """Read the request, send `data`, and close if told so."""

    async def play(request: Request) -> None:
        await request.whole.wait()
        await request.send(data)
        if close:
            request.connection.close()

    return play


def stream(*pieces: bytes, fields: Fields = SSE_FIELDS) -> Script:
    """Read the request, answer 200 with each piece as one HTTP chunk, end properly."""

    async def play(request: Request) -> None:
        await request.whole.wait()
        await request.send(stream_head(fields), *(chunk(piece) for piece in pieces), LAST_CHUNK)

    return play


def hang(*pieces: bytes) -> Script:
    """Read the request, send `pieces`, then stay silent until the peer goes."""

    async def play(request: Request) -> None:
        await request.whole.wait()
        await request.send(*pieces)
        await request.connection.lost.wait()

    return play


def cut(*pieces: bytes, reset: bool = False) -> Script:
    """Read the request, send `pieces`, then FIN or RST.

    Before an RST it waits for nothing: pieces that are still on their way may be lost with it.
    """

    async def play(request: Request) -> None:
        await request.whole.wait()
        await request.send(*pieces)
        if reset:
            request.connection.reset()
        else:
            request.connection.close()

    return play


def held(gate: asyncio.Event, script: Script) -> Script:
    """Play `script` once `gate` is open; a peer that goes before ends it."""

    async def play(request: Request) -> None:
        opened = asyncio.ensure_future(gate.wait())
        lost = asyncio.ensure_future(request.connection.lost.wait())
        try:
            await asyncio.wait([opened, lost], return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
            lost.cancel()
        if gate.is_set():
            await script(request)

    return play


def in_turn(*scripts: Script) -> Script:
    """One script per request, in their order; the last one for all that follow."""
    left = list(scripts)

    async def play(request: Request) -> None:
        script = left.pop(0) if len(left) > 1 else left[0]
        await script(request)

    return play


def ok() -> Script:
    """A chat completion."""
    return reply(answer(200, COMPLETION))


async def echo(request: Request) -> None:
    """Answer with the request's body."""
    await request.whole.wait()
    await request.send(answer(200, request.body))
