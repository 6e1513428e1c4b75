"""OpenAI's objects of a chat answer: the chunks of a stream, written piece by piece, and the whole answer."""

from typing import Any

from mimic_proxy.dialects.base import Stamp
from mimic_proxy.dialects.envelope.text import write_json

DONE = b"data: [DONE]\n\n"


def completion(stamp: Stamp, model: str, message: dict[str, Any], reason: str, usage: dict[str, Any] | None) -> bytes:
    """The `chat.completion` object."""
    whole = {
        "id": f"chatcmpl-{stamp.id}",
        "object": "chat.completion",
        "created": stamp.created,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "system_fingerprint": None,
    }
    return write_json(whole if usage is None else {**whole, "usage": usage})


class Chunks:
    """Writes the events of one answer. include_usage: the caller asked for it, so the other chunks say null."""

    __slots__ = ("_after", "_before", "_content", "_end", "_include_usage")

    def __init__(self, stamp: Stamp, model: str, include_usage: bool) -> None:
        head = {
            "id": f"chatcmpl-{stamp.id}",
            "object": "chat.completion.chunk",
            "created": stamp.created,
            "model": model,
            "system_fingerprint": None,
        }
        end = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._include_usage = include_usage
        self._before = b"data: " + write_json(head)[:-1] + b',"choices":['
        self._end = b"]" + end
        self._content = self._before + b'{"index":0,"delta":{"content":'
        self._after = b'},"logprobs":null,"finish_reason":null}' + self._end

    def role(self, content: str | None) -> bytes:
        """The first chunk."""
        return self._delta({"role": "assistant", "content": content, "refusal": None})

    def text(self, text: str) -> bytes:
        return self._content + write_json(text) + self._after

    def call(self, index: int, identity: str, name: str, arguments: str) -> bytes:
        """The begin of a tool call."""
        function = {"name": name, "arguments": arguments}
        return self._delta({"tool_calls": [{"index": index, "id": identity, "type": "function", "function": function}]})

    def arguments(self, index: int, arguments: str) -> bytes:
        """More of the arguments of a tool call."""
        return self._delta({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})

    def function_call(self, name: str | None, arguments: str) -> bytes:
        """The one call of an answer to the older `functions`; without a name more of its arguments."""
        call = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
        return self._delta({"function_call": call})

    def finish(self, reason: str, usage: dict[str, Any] | None) -> bytes:
        """The last chunk, the usage if it was asked for and is known, and the end."""
        last = self._before + write_json({"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason})
        if not self._include_usage or usage is None:
            return last + self._end + DONE
        return last + self._end + self._before + b'],"usage":' + write_json(usage) + b"}\n\n" + DONE

    def _delta(self, delta: dict[str, Any]) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return self._before + write_json(choice) + self._end
