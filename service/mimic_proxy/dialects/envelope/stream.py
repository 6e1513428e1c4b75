"""The events of a gateway's stream, made into OpenAI's as they come.

1. Nothing is given out before an event is understood; until then an error is a status, afterwards a frame.
2. `[DONE]`, the done flag, or an event of the type done or end tells the end of an answer: the last chunk goes out at
   once. A finish reason makes the answer whole, but its usage may still follow: the last chunk waits for one of those,
   or for the end of the body.
3. A body that ends without any of them was cut short, or belongs to a gateway that marks no ends: ENVELOPE_STREAM_END.
"""

from typing import Any

import msgspec

from mimic_proxy.dialects.base import Stamp, StreamFacts
from mimic_proxy.dialects.base import text as name_of
from mimic_proxy.dialects.envelope.accounts import finish_reason, usage_object, usage_shown
from mimic_proxy.dialects.envelope.call_stream import CallStream
from mimic_proxy.dialects.envelope.chunks import Chunks
from mimic_proxy.dialects.envelope.errors import Trouble, bad_response, reported
from mimic_proxy.dialects.envelope.events import LONGEST_EVENT, Cutter
from mimic_proxy.dialects.envelope.growth import Diverged, Growing
from mimic_proxy.dialects.envelope.paths import (
    CALLS,
    CODE,
    DONE,
    FINISH,
    MESSAGE,
    MODEL,
    ROLES,
    TEXT,
    USAGE,
    Found,
    Shape,
    keys_of,
    kind_of,
)
from mimic_proxy.dialects.envelope.text import plain_text, read_json
from mimic_proxy.dialects.envelope.tools import calls_of
from mimic_proxy.http.body import UNREADABLE
from mimic_proxy.http.sse import Event
from mimic_proxy.pointer import MISSING

_HEARTBEATS = frozenset({b"ping", b"heartbeat", b"keepalive", b"keep-alive", b"null", b""})
_USUAL_TYPES = (b"", b"message")
_LAST_TYPES = frozenset({b"done", b"end", b"complete", b"finish", b"stop"})
_NO_REASON = ("", "null", "none")
_TRUE = ("true", "1", "yes", "done")
_decode = msgspec.json.Decoder().decode


class EnvelopeStream:
    """One stream on its way to the caller; see StreamReader.

    model: the caller's, for a gateway that names none. legacy: the caller knows `function_call` alone.
    """

    __slots__ = (
        "_calls",
        "_chunks",
        "_cutter",
        "_document",
        "_finish",
        "_good_code",
        "_include_usage",
        "_legacy",
        "_marks_ends",
        "_model",
        "_over",
        "_shape",
        "_stamp",
        "_text",
        "_understood",
        "_usage",
        "facts",
    )

    def __init__(self, shape: Shape, stamp: Stamp, model: str, *, include_usage: bool, legacy: bool) -> None:
        self.facts = StreamFacts()
        self._shape = shape
        self._stamp = stamp
        self._model = model
        self._include_usage = include_usage
        self._legacy = legacy
        self._cutter = Cutter("auto" if shape.stream == "off" else shape.stream)
        self._chunks: Chunks | None = None
        self._text = Growing(shape.cumulative)
        self._calls = CallStream(stamp.id, shape.cumulative, legacy)
        self._finish: Any = None
        self._usage: Any = None
        self._marks_ends = False
        self._understood = False
        self._document: Any = None
        self._good_code: Any = None
        """What the gateway calls no error."""
        self._over = False

    def feed(self, data: bytes) -> bytes:
        if self._over:
            return b""
        out = [self._take(event) for event in self._cutter.feed(data)]
        self.facts.held = "part" if self._cutter.waiting and not self._over else "nothing"
        return out[0] if len(out) == 1 else b"".join(out)

    def finish(self, whole: bool) -> bytes:
        if self._over:
            return b""
        facts = self.facts
        out = b""
        for event in self._cutter.finish():
            if _readable(event.data):
                out += self._take(event)
            else:
                whole = False
        facts.held = "nothing"
        if not self._over:
            if not self._may_end(whole):
                facts.held = "part"
                facts.lacking = self._lacking(whole)
                return out
            out += self._close()
        facts.held = "done" if facts.done else "nothing"
        return out

    def _may_end(self, whole: bool) -> bool:
        """A body that ends here has brought the whole answer."""
        if self._finish is not None:
            return True
        end = self._shape.stream_end
        return whole and (
            end == "body" or (end == "auto" and self._cutter.lines and not self._marks_ends and self.facts.framed)
        )

    def _lacking(self, whole: bool) -> str:
        message = "The backend ended its stream before it was complete"
        if not whole:
            return f"{message}."
        names = f"[DONE] nor anything at {self._shape.end_names}" if self._shape.end_names else "[DONE]"
        return f"{message}: neither {names} has come. If its streams just end, set ENVELOPE_STREAM_END=body."

    def _take(self, event: Event) -> bytes:
        data = event.data
        if not data or self._over:
            if event.partial and not self._over:
                return self._fail(bad_response(f"The backend sent an event of more than {LONGEST_EVENT} bytes."))
            return self._close() if event.type in _LAST_TYPES and not self._over else b""
        try:
            document = _decode(data)
        except UNREADABLE:
            return self._take_odd(event, data)
        found = self._shape.plan.walk(document)
        text = found.get(TEXT)
        if type(text) is str and self._chunks is not None and event.type in _USUAL_TYPES and self._only_text(found):
            try:
                text = self._text.take(text)
            except Diverged as fault:
                return self._fail(_diverged(fault))
            if not text:
                return b""
            facts = self.facts
            facts.events += 1
            facts.first_content = self._understood = True
            return self._chunks.text(text)
        return self._take_document(event, document, found)

    def _only_text(self, found: Found) -> bool:
        """Nothing else that counts is in the event, as in most of them."""
        if len(found) == 1:
            return True
        for slot, value in found.items():
            if slot == TEXT:
                continue
            role = slot % ROLES
            if value is None or value is False:
                if not self._marks_ends and role in (FINISH, DONE):
                    return False
            elif role == CODE:
                if value != self._good_code:
                    return False
            elif role not in (MODEL, MESSAGE):
                return False
        return True

    def _take_odd(self, event: Event, data: bytes) -> bytes:
        """Not JSON as msgspec reads it."""
        data = data.strip()
        if data == b"[DONE]":
            return self._close()
        if data.lower() in _HEARTBEATS or event.type in _HEARTBEATS - {b""}:
            return b""
        try:
            document = read_json(data)
        except ValueError:
            page = "an HTML page" if data.startswith(b"<") else "an event that is not JSON"
            return self._fail(bad_response(f"The backend sent {page} in its stream."))
        return self._take_document(event, document, self._shape.plan.walk(document))

    def _take_document(self, event: Event, document: Any, found: Found) -> bytes:
        trouble = reported(self._shape, found)
        if trouble is None and event.type == b"error":
            trouble = reported(self._shape, found, 502)
        if trouble is not None:
            return self._fail(trouble)
        self._good_code = self._shape.plan.pick(found, CODE)
        if self._document is None:
            self._document = document
        if event.type in _LAST_TYPES:
            out = self._note(found)
            return out if self._over else out + self._close()
        return self._note(found) if found else b""

    def _note(self, found: Found) -> bytes:
        """Whatever an event brings."""
        pick = self._shape.plan.pick
        finish, done, usage = pick(found, FINISH), pick(found, DONE), pick(found, USAGE)
        text, calls = pick(found, TEXT), calls_of(pick(found, CALLS))
        model = pick(found, MODEL)
        if self._chunks is None and isinstance(model, str) and model:
            self._model = model
        self._marks_ends = self._marks_ends or finish is not MISSING or done is not MISSING
        last = _reason(finish) is not None or _is_true(done) or isinstance(usage, dict)
        said = None if text is MISSING else plain_text(text)
        if calls is None or (text is not MISSING and said is None):
            return self._fail(_wrong_kind(self._shape, text, said))
        self._understood = self._understood or said is not None or bool(calls)
        if isinstance(usage, dict):
            self._usage = usage
            self.facts.usage = usage_shown(usage) or self.facts.usage
        if _reason(finish) is not None:
            self._finish = finish
            self.facts.finished = 1
        try:
            # The last event of a cumulative stream may have nothing to say but that it is the last, and no text is
            # not a shorter one.
            out = self._give(said or "", skip=not said and (last or text is MISSING or text is None))
            if calls:
                out = (out or self._opened(None)) + self._give_calls(calls)
        except Diverged as fault:
            return self._fail(_diverged(fault))
        except ValueError as fault:
            return self._fail(bad_response(f"The backend sent a tool call that is {fault}."))
        if self.facts.verdict is None and self._understood:
            self.facts.verdict = "ok"
        return out + self._close() if _is_true(done) else out

    def _give(self, said: str, *, skip: bool) -> bytes:
        if skip or not (said or self._text.given):
            return b""
        text = self._text.take(said)
        if not text:
            return b""
        opening = self._opened("")
        assert self._chunks is not None
        self.facts.events += 1
        self.facts.first_content = True
        return opening + self._chunks.text(text)

    def _give_calls(self, calls: list[Any]) -> bytes:
        assert self._chunks is not None
        out = self._calls.take(calls, self._chunks)
        if out:
            self.facts.events += out.count(b"\n\n")
            self.facts.first_content = True
        return out

    def _opened(self, content: str | None) -> bytes:
        """The first chunk, where it has not gone out."""
        if self._chunks is not None:
            return b""
        facts = self.facts
        self._chunks = Chunks(self._stamp, self._model, self._include_usage)
        facts.verdict = "ok"
        facts.id, facts.model = f"chatcmpl-{self._stamp.id}", name_of(self._model)
        facts.events += 1
        return self._chunks.role(content)

    def _close(self) -> bytes:
        """The answer is whole."""
        if not self._understood:
            return self._fail(missing_text(self._shape, self._document))
        rest = self._text.rest()
        out = self._opened(None if len(self._calls) and not rest else "")
        assert self._chunks is not None
        chunks, facts = self._chunks, self.facts
        if rest:
            out += chunks.text(rest)
            facts.events += 1
            facts.first_content = True
        try:
            out += self._calls.rest(chunks)
        except Diverged as fault:
            return out + self._fail(_diverged(fault))
        reason = finish_reason(self._finish, calls=len(self._calls) > 0, legacy=self._legacy)
        facts.finished, facts.finish_reasons = 1, (reason,)
        usage = usage_object(self._usage)
        facts.events += 1
        facts.done = self._over = True
        facts.held = "nothing"
        return out + chunks.finish(reason, usage)

    def _fail(self, trouble: Trouble) -> bytes:
        """An error is the last that is given out, unless nothing was: then it is the answer."""
        facts = self.facts
        self._over = facts.error_frame = True
        if facts.verdict is None:
            facts.verdict, facts.error_body = trouble.status, trouble.body
            return b""
        facts.events += 1
        return b"data: %b\n\n" % trouble.body


def missing_text(shape: Shape, document: Any) -> Trouble:
    """Nothing stands where the text should; the message names the keys that were there, never a value."""
    place = f"There is nothing at {shape.text_names} (ENVELOPE_TEXT_PATH) in the backend's answer"
    return bad_response(f"{place}; {keys_of(document)}.")


def _wrong_kind(shape: Shape, text: Any, said: str | None) -> Trouble:
    if text is not MISSING and said is None:
        what = f"{kind_of(text)}, not text"
        return bad_response(
            f"What stands at {shape.text_names} (ENVELOPE_TEXT_PATH) in the backend's answer is {what}."
        )
    place = "What stands at ENVELOPE_TOOL_CALLS_PATH in the backend's answer"
    return bad_response(f"{place} is not an array of objects like {{name, arguments}}.")


def _diverged(fault: Diverged) -> Trouble:
    return bad_response(f"The stream of the backend {fault}. ENVELOPE_STREAM_TEXT says how to read it.")


def _reason(value: Any) -> Any:
    """A finish reason, None where there is none yet."""
    if value is MISSING or value is None or value is False:
        return None
    return None if isinstance(value, str) and value.lower() in _NO_REASON else value


def _is_true(value: Any) -> bool:
    return value is True or (type(value) is int and value == 1) or (isinstance(value, str) and value.lower() in _TRUE)


def _readable(data: bytes | None) -> bool:
    """The last event is whole although its end is missing."""
    if data is None or data.strip() == b"[DONE]":
        return True
    try:
        read_json(data)
    except ValueError:
        return False
    return True
