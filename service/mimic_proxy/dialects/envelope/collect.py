"""A stream that came where one whole answer was asked for, as from gateways that always stream."""

from typing import Any

from mimic_proxy.dialects.base import Stamp, StreamReader, Translated
from mimic_proxy.dialects.envelope.chunks import completion
from mimic_proxy.dialects.envelope.text import read_json

_START = (b"data:", b"event:", b"id:", b"retry:", b":", b"{", b"\x1e")


def collected(reader: StreamReader, body: bytes, stamp: Stamp) -> Translated | None:
    """The answer that its events amount to; None if the body is no stream. reader: one that gives out the usage."""
    if not body.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(_START):
        return None
    out = reader.feed(body) + reader.finish(True)
    facts = reader.facts
    if isinstance(facts.verdict, int):
        return Translated(facts.verdict, facts.error_body or b"{}")
    events = [event[6:] for event in out.split(b"\n\n") if event]
    if facts.error_frame:
        return Translated(502, events[-1])
    if not facts.done:
        return None
    chunks = [read_json(event) for event in events[:-1]]
    message = _message([chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]])
    body = completion(stamp, chunks[0]["model"], message, facts.finish_reasons[0], chunks[-1].get("usage"))
    return Translated(200, body, facts.shown)


def _message(deltas: list[dict[str, Any]]) -> dict[str, Any]:
    text, calls = "", []
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    for delta in deltas:
        text += delta.get("content") or ""
        for piece in delta.get("tool_calls", ()):
            if "id" in piece:
                calls.append({key: value for key, value in piece.items() if key != "index"})
            else:
                calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
        if function := delta.get("function_call"):
            known = message.setdefault("function_call", {"name": "", "arguments": ""})
            known["name"] += function.get("name", "")
            known["arguments"] += function["arguments"]
    if calls:
        message["tool_calls"] = calls
    message["content"] = text or (None if calls or "function_call" in message else "")
    return message
