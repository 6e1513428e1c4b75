"""What the backend answers to a call: the caller computes the same and compares every byte."""

import json
import zlib
from typing import Any

WORDS = ("one ", "two ", "three ", "four ", "five ")
DONE = b"data: [DONE]\n\n"


def text_of(user: str, words: int) -> list[str]:
    """The words that a call gets; another call gets others."""
    start = zlib.crc32(user.encode())
    return [f"{(start + number) % 997}-{WORDS[(start + number) % 5]}" for number in range(words)]


def body_of(request: dict[str, Any]) -> bytes:
    """The whole body of an answer, or all its events."""
    user, words = request["user"], text_of(request["user"], request["words"])
    if "input" in request:
        vector = [zlib.crc32(word.encode()) / 2**32 for word in words]
        return json.dumps({"object": "list", "data": [{"embedding": vector}], "model": request["model"]}).encode()
    if not request["stream"]:
        choice = {"index": 0, "message": {"role": "assistant", "content": "".join(words)}, "finish_reason": "stop"}
        return json.dumps({"id": user, "object": "chat.completion", "choices": [choice]}).encode()
    events = [_event(user, {"content": word}, None) for word in words]
    return b"".join([*events, _event(user, {}, "stop"), DONE])


def answer_to(request: dict[str, Any]) -> tuple[bytes, list[bytes], float]:
    """Head, the pieces of the body, and the seconds between these."""
    body = body_of(request)
    if not request.get("stream"):
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        return head, [body[at : at + 16384] for at in range(0, len(body), 16384)], 0.0
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    events = [event + b"\n\n" for event in body.split(b"\n\n")[:-1]]
    size = max(len(events) // 20, 1)
    pieces = [b"".join(events[at : at + size]) for at in range(0, len(events), size)]
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    chunks[-1] += b"0\r\n\r\n"
    return head, chunks, float(request["pause"])


def _event(user: str, delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": user, "choices": [choice]}).encode() + b"\n\n"
