"""The OpenAI dialect: bytes pass as they are, and a copy of every event is looked at.

1. An event that cannot be understood passes and counts; it never stops the relay.
2. An error is what the SDKs take for one, a truthy `error` in the event; also an object or event of the type `error`.
3. The usage event is taken out only where Mimic asked for it: the first with `choices: []` and an object `usage` after
   a finish reason. Azure's `choices: []` of prompt filters comes before, and usage beside choices stays.
4. Streams of `/v1/responses` end with an event of their own. Those of audio and images say when a part is whole, but
   not that it is the last.
"""

import re
from typing import Literal

from mimic_proxy.dialects.base import (
    MOST_REASONS,
    Stamp,
    StreamFacts,
    decode_accounts,
    decode_answer,
    decode_chunk,
    decode_failure,
    decode_typed,
    error_status,
    has_content,
    read,
    text,
    usage_of,
)
from mimic_proxy.http.body import BodyFields
from mimic_proxy.http.sse import Event, Splitter
from mimic_proxy.telemetry.observation import NO_USAGE, Shown

_DONE = b"[DONE]"
_DONE_LINE = re.compile(rb"data: ?\[DONE\]")
_MOST_CHOICES = 1024
_TERMINAL = frozenset({"response.completed", "response.failed", "response.incomplete", "response.cancelled"})
_WHOLE = frozenset(
    {
        "image_generation.completed",
        "image_edit.completed",
        "speech.audio.done",
        "transcript.text.done",
    }
)
_CONTENT = (".delta", ".partial_image", "image_generation.completed", "image_edit.completed")
_TYPE_IN_FRONT = re.compile(rb'data: ?\{\s*"type"\s*:\s*"([a-z_.]{1,100})"')


class OpenAI:
    """The dialect of OpenAI and of the many servers that speak like it."""

    __slots__ = ()

    def translate(self, body: bytes, fields: BodyFields, stamp: Stamp) -> None:
        """The backend speaks as the caller does."""

    def embed(self, body: bytes, fields: BodyFields) -> None:
        """The backend speaks as the caller does."""

    def models(self, status: int, body: bytes) -> None:
        """The backend speaks as the caller does."""

    def stream(self, fields: BodyFields, route_end: Literal["done", "responses"], remove_usage: bool) -> "OpenAIStream":
        return OpenAIStream(fields.n, route_end, remove_usage)

    def shown(self, body: bytes) -> Shown | None:
        answer = read(decode_answer, body)
        if answer is None:
            # Choices of another shape: the usage may still be read.
            accounts = read(decode_accounts, body)
            return None if accounts is None else Shown(usage_of(accounts.usage) or NO_USAGE)
        reasons = [choice.finish_reason for choice in answer.choices or ()]
        return Shown(
            usage_of(answer.usage) or NO_USAGE,
            text(answer.id),
            text(answer.model),
            tuple(reason for reason in reasons[:MOST_REASONS] if isinstance(reason, str)),
            text(answer.system_fingerprint),
        )


class OpenAIStream:
    """One event stream on its way through; see StreamReader."""

    __slots__ = ("_finished", "_overlong_type", "_remove_usage", "_splitter", "_typed", "facts")

    def __init__(self, n: int, route_end: Literal["done", "responses"], remove_usage: bool) -> None:
        self.facts = StreamFacts(n=max(n, 1))
        self._splitter = Splitter()
        self._typed = route_end == "responses"
        self._remove_usage = remove_usage
        self._finished: set[int] = set()
        self._overlong_type: str | None = None

    def feed(self, data: bytes) -> bytes:
        events = self._splitter.feed(data)
        self.facts.in_partial = self._splitter.in_partial
        self.facts.held = self._held()
        if not events:
            return b""
        shown = [event.raw for event in events if self._look(event, event is events[-1])]
        return b"".join(shown)

    def finish(self, whole: bool) -> bytes:
        self.facts.done = self.facts.done or self.facts.held == "done"
        return self._splitter.tail

    def _held(self) -> Literal["nothing", "part", "done"]:
        tail = self._splitter.tail
        if not tail:
            return "nothing"
        return "done" if _DONE_LINE.match(tail) else "part"

    def _look(self, event: Event, last: bool) -> bool:
        """Note what an event shows; False keeps it from the caller."""
        data = event.data
        if not data:
            if event.partial:
                self._look_at_piece(event, ended=not (last and self._splitter.in_partial))
            return True
        facts = self.facts
        if data.startswith(_DONE):
            facts.done = True
            if facts.verdict is None:
                facts.verdict = "ok"
            return True
        facts.events += 1
        shown = self._look_at_typed(data) if self._typed else self._look_at_chunk(data)
        if event.type == b"error":
            self._note_error(data)
        if facts.verdict is None:
            facts.verdict = "ok"
        if not shown:
            facts.events -= 1
        return shown

    def _look_at_chunk(self, data: bytes) -> bool:
        chunk = read(decode_chunk, data)
        if chunk is None:
            return self._look_at_odd(data)
        facts = self.facts
        if chunk.error or chunk.object == "error":
            self._note_error(data)
        if facts.id is None:
            facts.id, facts.model = text(chunk.id), text(chunk.model)
            facts.system_fingerprint = text(chunk.system_fingerprint)
        if chunk.usage is not None:
            facts.usage = usage_of(chunk.usage) or facts.usage
            if self._remove_usage and chunk.choices == [] and facts.finished:
                self._remove_usage = False
                return False
        for choice in chunk.choices or ():
            if choice.finish_reason:
                self._note_finished(choice.index, choice.finish_reason)
            if not facts.first_content:
                facts.first_content = has_content(choice)
        return True

    def _look_at_typed(self, data: bytes) -> bool:
        event = read(decode_typed, data)
        if event is None:
            return self._look_at_odd(data)
        if event.error or event.type == "error":
            self._note_error(data)
        elif isinstance(event.type, str):
            self._note_type(event.type)
        response = event.response
        usage = event.usage
        if response is not None:
            usage = response.usage or usage
            if self.facts.id is None:
                self.facts.id, self.facts.model = text(response.id), text(response.model)
        if usage is not None:
            self.facts.usage = usage_of(usage) or self.facts.usage
        return True

    def _look_at_odd(self, data: bytes) -> bool:
        """Not JSON, or of a shape that is not ours; it may still be an error."""
        failure = read(decode_failure, data)
        if failure is not None and failure.error:
            self._note_error(data)
        return True

    def _look_at_piece(self, event: Event, ended: bool) -> None:
        """A piece of an overlong event. Its type still tells whether the stream is over when the event is."""
        facts = self.facts
        if self._overlong_type is None:
            found = _TYPE_IN_FRONT.search(event.raw, 0, 1024)
            kind = event.type or (found.group(1) if found else b"")
            self._overlong_type = kind.decode("ascii", "replace")
            facts.observing = False
            facts.events += 1
            facts.first_content = facts.first_content or not self._typed
            if facts.verdict is None:
                facts.verdict = "ok"
        if ended:
            if self._typed:
                self._note_type(self._overlong_type)
            self._overlong_type = None

    def _note_type(self, kind: str) -> None:
        facts = self.facts
        if kind.endswith(_CONTENT):
            facts.first_content = True
        if kind in _TERMINAL:
            facts.done = True
            facts.error_frame = facts.error_frame or kind == "response.failed"
        elif kind in _WHOLE:
            facts.finished = facts.n

    def _note_finished(self, index: object, reason: object) -> None:
        facts = self.facts
        if len(self._finished) < _MOST_CHOICES:
            self._finished.add(index if isinstance(index, int) else 0)
            facts.finished = len(self._finished)
        if isinstance(reason, str) and len(facts.finish_reasons) < MOST_REASONS:
            facts.finish_reasons += (reason,)

    def _note_error(self, data: bytes) -> None:
        facts = self.facts
        facts.error_frame = True
        if facts.verdict is None:
            facts.verdict = error_status(data)
            facts.error_body = data
