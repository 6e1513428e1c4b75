"""A gateway of DIALECT=envelope by hand: its bodies, and a reader of what becomes of them that is not ours."""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from mimic_proxy.dialects.base import Stamp, StreamReader
from mimic_proxy.dialects.envelope.dialect import Envelope
from mimic_proxy.dialects.envelope.translation import EnvelopeChat
from mimic_proxy.http.body import read_fields
from mimic_proxy.settings.fields import Settings

STAMP = Stamp("0123456789abcdef0123456789abcdef", 1_700_000_000)
SSE = b"text/event-stream; charset=utf-8"
NDJSON = b"application/x-ndjson"


def dialect(**settings: Any) -> Envelope:
    """The dialect; `settings` are those of ENVELOPE_* in lower case without the prefix."""
    more = {f"envelope_{name}": value for name, value in settings.items()}
    return Envelope(Settings(chat_api_url="https://b.example", embedding_api_url="https://b.example", **more))


def asked(stream: bool = False, usage: bool = False, **more: Any) -> bytes:
    """A chat request."""
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **more}
    if stream:
        body["stream"] = True
    if usage:
        body["stream_options"] = {"include_usage": True}
    return json.dumps(body).encode()


def chat(body: bytes | None = None, **settings: Any) -> EnvelopeChat:
    """The translation of one chat request."""
    body = asked() if body is None else body
    return dialect(**settings).translate(body, read_fields(body), STAMP)


def reader(content_type: bytes = SSE, usage: bool = False, **settings: Any) -> StreamReader:
    """A reader for the stream that was asked for."""
    found = chat(asked(stream=True, usage=usage), **settings).stream(content_type)
    assert found is not None
    return found


def wrapped(content: Any = None, calls: Any = None, finish: Any = None, **beside: Any) -> dict[str, Any]:
    """A document of the gateway with what is given in its places."""
    inner = {"content": content, "tool_calls": calls, "finish_reason": finish}
    return {"data": {"content": {name: value for name, value in inner.items() if value is not None}}, **beside}


def sse(documents: Iterable[Any], done: bool = True) -> bytes:
    """Server-sent events."""
    text = "".join(f"data: {json.dumps(document)}\n\n" for document in documents)
    return (text + ("data: [DONE]\n\n" if done else "")).encode()


def ndjson(documents: Iterable[Any]) -> bytes:
    """Lines."""
    return "".join(f"{json.dumps(document)}\n" for document in documents).encode()


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """The bytes as they come if the reads end at `cuts`."""
    places = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    return [data[start:end] for start, end in pairwise(places)]


def through(stream: StreamReader, reads: Iterable[bytes], whole: bool = True) -> bytes:
    """What a reader gives out for these reads, as far as it is for the caller."""
    out = b"".join(stream.feed(data) for data in reads)
    facts = stream.facts
    if facts.done or facts.error_frame:
        return out
    tail = stream.finish(whole)
    return out + tail if stream.facts.complete and stream.facts.held == "done" else out


def events(data: bytes) -> list[Any]:
    """The documents of a stream of OpenAI's, `[DONE]` as text; what is not whole events fails."""
    assert data == b"" or data.endswith(b"\n\n")
    lines = data.decode("utf-8").split("\n\n")[:-1]
    assert all(line.startswith("data: ") and "\n" not in line for line in lines)
    return [line[6:] if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


def accumulated(data: bytes) -> dict[str, Any]:
    """The message that a client makes of a stream, with its finish reason and usage."""
    found = events(data)
    assert found[-1] == "[DONE]"
    message: dict[str, Any] = {"content": None}
    calls: dict[int, dict[str, Any]] = {}
    finish, usage = None, None
    for chunk in found[:-1]:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            assert finish is None, "nothing may follow the last chunk of a choice"
            delta = choice["delta"]
            message["role"] = delta.get("role") or message["role"]
            if delta.get("content") is not None:
                message["content"] = (message["content"] or "") + delta["content"]
            for call in delta.get("tool_calls", ()):
                known = calls.setdefault(call["index"], {"name": "", "arguments": "", "id": ""})
                known["id"] += call.get("id", "")
                known["name"] += call["function"].get("name", "")
                known["arguments"] += call["function"]["arguments"]
            finish = choice["finish_reason"] or finish
    assert list(calls) == list(range(len(calls)))
    return {**message, "tool_calls": list(calls.values()), "finish": finish, "usage": usage}


def told(body: bytes) -> dict[str, Any]:
    """The same of a whole answer."""
    whole = json.loads(body)
    (choice,) = whole["choices"]
    message = choice["message"]
    calls = [{"id": call["id"], **call["function"]} for call in message.get("tool_calls", ())]
    return {
        "role": message["role"],
        "content": message["content"],
        "tool_calls": calls,
        "finish": choice["finish_reason"],
        "usage": whole.get("usage"),
    }
