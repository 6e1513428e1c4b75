"""One chat request and its answer."""

from mimic_proxy.dialects.base import Stamp, StreamReader, Translated
from mimic_proxy.dialects.envelope.answer import as_events, chat_answer
from mimic_proxy.dialects.envelope.collect import collected
from mimic_proxy.dialects.envelope.errors import not_json
from mimic_proxy.dialects.envelope.paths import Shape
from mimic_proxy.dialects.envelope.request import chat_body, speaks_of_functions
from mimic_proxy.dialects.envelope.stream import EnvelopeStream
from mimic_proxy.dialects.envelope.text import read_json
from mimic_proxy.http.body import BodyFields

_LINE_TYPES = (b"ndjson", b"jsonl", b"json-seq", b"stream+json", b"json-lines", b"jsonlines")
_OPEN_TYPES = (b"", b"text/event-stream", b"text/plain", b"application/octet-stream")
"""Types that do not say for certain that a body is one document."""


class EnvelopeChat:
    """See Translation."""

    __slots__ = ("_fields", "_legacy", "_shape", "_stamp", "body")

    def __init__(self, shape: Shape, body: bytes, fields: BodyFields, stamp: Stamp) -> None:
        self._shape = shape
        self._fields = fields
        self._stamp = stamp
        self._legacy = speaks_of_functions(body)
        self.body = chat_body(shape, body)

    def stream(self, content_type: bytes) -> StreamReader | None:
        return (
            self._reader(self._fields.include_usage)
            if self._fields.stream and self._may_be_events(content_type)
            else None
        )

    def answer(self, status: int, body: bytes) -> Translated:
        try:
            document = read_json(body)
        except ValueError:
            whole = collected(self._reader(True), body, self._stamp) if status < 300 else None
            return whole or not_json(status, body).translated()
        return chat_answer(self._shape, document, status, self._stamp, self._fields.model or "", legacy=self._legacy)

    def events(self, answer: Translated) -> bytes:
        return as_events(answer.body, self._stamp, self._fields.include_usage)

    def _reader(self, include_usage: bool) -> EnvelopeStream:
        model = self._fields.model or ""
        return EnvelopeStream(self._shape, self._stamp, model, include_usage=include_usage, legacy=self._legacy)

    def _may_be_events(self, content_type: bytes) -> bool:
        kind = content_type.partition(b";")[0].strip().lower()
        if self._shape.stream == "ndjson" and kind == b"application/json":
            return True
        return kind in _OPEN_TYPES or kind.endswith(_LINE_TYPES)
