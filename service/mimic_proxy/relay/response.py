"""What goes to the caller: one head, then the backend's body or one of ours, delimited as the caller can read it.

1. A head is written together with the first bytes of its body.
2. Once a head has gone out, trouble can only be reported inside the body: as an error frame in a stream of events, and
   everywhere else by ending without the end that the framing asks for.
"""

from mimic_proxy.dialects.base import StreamFacts
from mimic_proxy.errors import MimicError
from mimic_proxy.http.framing import LARGE_BYTES, Framing, framing_for, stream_framing
from mimic_proxy.http.headers import CORS_LINES, STATUS_LINES, ResponseFields, error_fields, request_ids
from mimic_proxy.relay.ports import CallerPort, Request
from mimic_proxy.telemetry.record import Record

STREAM_LINES = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
REPLACED_ON_STREAMS = (b"content-type:", b"cache-control:", b"x-accel-buffering:")
JSON_LINE = b"content-type: application/json\r\n"
PING = b": ping\n\n"


class Response:
    """The answer to one request; `new_id` is its x-request-id unless caller or backend gave one.

    record: of the call.
    """

    __slots__ = (
        "_caller",
        "_pending",
        "_record",
        "_request",
        "committed",
        "framing",
        "keep_alive",
        "request_id",
        "stream",
    )

    def __init__(self, caller: CallerPort, request: Request, record: Record, new_id: bytes) -> None:
        self._caller = caller
        self._request = request
        self._record = record
        self._pending = b""
        self.request_id = request.fields.request_id or new_id
        record.request_id = self.request_id.decode("ascii")
        self.framing = Framing.LENGTH
        self.committed = False
        """A head has been made: from now on there is no other status and no replay."""
        self.keep_alive = False
        """What the head has said."""
        self.stream = False

    def open(self, fields: ResponseFields, keep_alive: bool) -> None:
        """Begin with the backend's head."""
        self.framing, line = framing_for(fields, self._request.http11)
        self._head(fields.status, fields.lines, line, fields.request_id, keep_alive)

    def open_events(self, fields: ResponseFields | None, keep_alive: bool) -> None:
        """Begin a stream of events; None: before the backend has sent a head."""
        self.stream = True
        self.framing, line = stream_framing(self._request.http11)
        if fields is None:
            self._head(200, [STREAM_LINES], line, None, keep_alive)
            return
        passing = [kept for kept in fields.lines if not kept.lower().startswith(REPLACED_ON_STREAMS)]
        self._head(fields.status, [STREAM_LINES, *passing], line, fields.request_id, keep_alive)

    def whole(self, status: int, lines: list[bytes], body: bytes, backend_id: bytes | None, keep_alive: bool) -> None:
        """One complete answer of ours."""
        self.framing = Framing.LENGTH
        self._head(status, lines, b"content-length: %d\r\n" % len(body), backend_id, keep_alive)
        self.write(body)

    def respond(
        self, status: int, body: bytes, fields: ResponseFields | None, lines: list[bytes], keep_alive: bool
    ) -> None:
        """One JSON object that is not the backend's own bytes; an error, where a heartbeat has begun a stream.

        fields: the backend's head. lines: those of it that pass.
        """
        if self.committed:
            self.frame(b" ".join(body.splitlines()))
            self.write(b"", last=True)
        else:
            self.whole(status, [JSON_LINE, *lines], body, fields.request_id if fields is not None else None, keep_alive)

    def error(self, error: MimicError, keep_alive: bool) -> None:
        """One complete answer in the OpenAI error shape."""
        self.whole(error.status, error_fields(error), error.body(), None, keep_alive)

    def fail(self, error: MimicError, keep_alive: bool, facts: StreamFacts | None) -> bool:
        """End with an error, in the form that is still possible. False: the body can only be cut.

        facts: of the stream of events that the backend sends.
        """
        if not self.committed:
            self.error(error, keep_alive)
            return True
        if self.stream and (facts is None or not facts.in_partial):
            if facts is None or not facts.error_frame:
                self.frame(error.body())
            self.write(b"", last=True)
            return True
        self.write(b"")
        return False

    def frame(self, data: bytes) -> None:
        """One event of ours."""
        self.write(b"data: %b\n\n" % data)

    def ping(self) -> None:
        """A comment that keeps the connection from looking idle."""
        self.write(PING)

    def write(self, body: bytes, *, last: bool = False) -> None:
        """A piece of the body; `last` ends it as the framing asks for."""
        self._record.response_bytes += len(body)
        head, self._pending = self._pending, b""
        if self.framing is Framing.CHUNKED:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            if last:
                body += Framing.CHUNKED.last
        if len(body) < LARGE_BYTES:
            body = head + body
        elif head:
            self._caller.write(head)
        if body:
            self._caller.write(body)

    def _head(
        self, status: int, lines: list[bytes], framing_line: bytes, backend_id: bytes | None, keep_alive: bool
    ) -> None:
        self.committed = True
        self._record.status = status
        request = self._request
        ids = request_ids(request.fields.request_id, backend_id, self.request_id)
        used = ids[0][14:-2]
        if used != self.request_id:
            self.request_id = used
            self._record.request_id = used.decode("ascii")
        parts = [STATUS_LINES[status], *lines, *ids, framing_line]
        if request.cors_origin is not None:
            parts.append(b"access-control-allow-origin: %b\r\n%b" % (request.cors_origin, CORS_LINES))
        self.keep_alive = keep_alive and self.framing is not Framing.CLOSE
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        self._pending = b"".join(parts)
