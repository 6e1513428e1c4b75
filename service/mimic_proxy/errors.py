"""Everything Mimic itself answers with instead of the backend's bytes.

    MimicError
    |- CallerError            the request cannot be served as it is; type invalid_request_error
    |  |- InvalidRequest          400 invalid_request
    |  |- UnsupportedInput        400 unsupported_input
    |  |- ClientKeyRefused        401 invalid_api_key
    |  |- Forbidden               403 forbidden_origin | forbidden_host
    |  |- ModelNotFound           404 model_not_found
    |  |- UnknownRoute            404 unknown_route
    |  |- MethodNotAllowed        405 method_not_allowed
    |  |- RequestTimeout          408 request_timeout      (slow head or body)
    |  |- RequestTooLarge         413 request_too_large
    |  `- HeadTooLarge            431 head_too_large
    |- TokenError             the token service; type token_error
    |  |- TokenUnavailable        503 token_unavailable    (may heal: retry-after)
    |  `- TokenRejected           502 token_rejected       (it will not: x-should-retry: false)
    |- UpstreamError          the backend; type upstream_error
    |  |- UpstreamAuthFailed      502 upstream_auth_failed (x-should-retry: false)
    |  |- UpstreamUnreachable     502 upstream_unreachable (connect, TLS, DNS)
    |  |- UpstreamBadResponse     502 upstream_bad_response
    |  `- UpstreamTimeout         504 upstream_timeout
    `- Unavailable            Mimic itself; type unavailable_error
       |- Overloaded              503 overloaded           (retry-after-ms; BuffersFull: of memory)
       |- ClientKeysMissing       503 client_keys_missing
       |- CircuitOpen             503 circuit_open         (retry-after-ms)
       `- ShuttingDown            503 shutting_down        (retry-after-ms)

A message says what to do and never holds a secret, a token or a part of a prompt.
"""

import json
import math
from collections.abc import Iterable
from typing import ClassVar, Literal

ErrorType = Literal["connect", "tls", "dns", "reset", "protocol", "read_timeout", "unauthorized", "too_large", "other"]
Admission = Literal["concurrency", "body_size", "buffers", "draining"]

MAX_WAIT_HINT_SECONDS = 60.0
"""Longest hint to wait: Node's SDK ignores more than 60 s, Python's gives up above 120 s."""


class MimicError(Exception):
    """A failure with its answer: `status`, OpenAI `type` and `code`, hints on retrying.

    retry_after: seconds the caller had better wait, capped at 60.
    should_retry: what `x-should-retry` tells the SDKs; None leaves it to them.
    error_type: telemetry's word for an attempt that failed (connect, tls, dns, reset, protocol,
    read_timeout, unauthorized, too_large, other); None where no attempt was made.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: str = "internal_error"
    admission: Admission | None = None
    """Which limit kept the request out, where one did."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
        error_type: ErrorType | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = None if retry_after is None else min(max(retry_after, 0.0), MAX_WAIT_HINT_SECONDS)
        self.should_retry = should_retry
        self.error_type = error_type

    def body(self) -> bytes:
        """The OpenAI error object as JSON bytes, all four keys present."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return json.dumps({"error": error}, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    def hints(self) -> list[tuple[bytes, bytes]]:
        """Header fields that tell an SDK whether and when to try again."""
        fields: list[tuple[bytes, bytes]] = []
        if self.retry_after is not None:
            fields.append((b"retry-after", b"%d" % max(1, math.ceil(self.retry_after))))
            fields.append((b"retry-after-ms", b"%d" % round(self.retry_after * 1000)))
        if self.should_retry is not None:
            fields.append((b"x-should-retry", b"true" if self.should_retry else b"false"))
        return fields


class CallerError(MimicError):
    """The caller can mend it."""

    type = "invalid_request_error"


class InvalidRequest(CallerError):
    status = 400
    code = "invalid_request"


class UnsupportedInput(CallerError):
    status = 400
    code = "unsupported_input"


class ClientKeyRefused(CallerError):
    """The one 401 of Mimic's own: it wants a client key, and this is none of them."""

    status = 401
    code = "invalid_api_key"

    def hints(self) -> list[tuple[bytes, bytes]]:
        return [*super().hints(), (b"www-authenticate", b"Bearer")]


class Forbidden(CallerError):
    """A browser's page or a foreign host name; `code` says which."""

    status = 403

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class ModelNotFound(CallerError):
    status = 404
    code = "model_not_found"


class UnknownRoute(CallerError):
    status = 404
    code = "unknown_route"


class MethodNotAllowed(CallerError):
    """`allowed`: the methods that the path takes, for the Allow field (RFC 9110, 15.5.6)."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: Iterable[str]) -> None:
        super().__init__(message)
        self.allowed = ", ".join(sorted(allowed))

    def hints(self) -> list[tuple[bytes, bytes]]:
        return [*super().hints(), (b"allow", self.allowed.encode("ascii"))]


class RequestTimeout(CallerError):
    status = 408
    code = "request_timeout"


class RequestTooLarge(CallerError):
    status = 413
    code = "request_too_large"
    admission = "body_size"


class HeadTooLarge(CallerError):
    status = 431
    code = "head_too_large"


class TokenError(MimicError):
    """The token service, not the backend and not the caller."""

    type = "token_error"


class TokenUnavailable(TokenError):
    status = 503
    code = "token_unavailable"


class TokenRejected(TokenError):
    status = 502
    code = "token_rejected"


class UpstreamError(MimicError):
    """The backend, or the way to it."""

    type = "upstream_error"


class UpstreamAuthFailed(UpstreamError):
    status = 502
    code = "upstream_auth_failed"


class UpstreamUnreachable(UpstreamError):
    status = 502
    code = "upstream_unreachable"


class UpstreamBadResponse(UpstreamError):
    status = 502
    code = "upstream_bad_response"


class UpstreamTimeout(UpstreamError):
    """`timer` is one of connect, first_byte, idle, send, total; it stands in the message too."""

    status = 504
    code = "upstream_timeout"

    def __init__(self, message: str, *, timer: str, should_retry: bool | None = None) -> None:
        error_type: ErrorType = "connect" if timer == "connect" else "read_timeout"
        super().__init__(message, should_retry=should_retry, error_type=error_type)
        self.timer = timer


class Unavailable(MimicError):
    """Mimic could serve this a little later."""

    type = "unavailable_error"
    status = 503


class Overloaded(Unavailable):
    code = "overloaded"
    admission: Admission | None = "concurrency"


class BuffersFull(Overloaded):
    admission = "buffers"


class ClientKeysMissing(Unavailable):
    """Client keys are wanted, but there is no list yet."""

    status = 503
    code = "client_keys_missing"


class CircuitOpen(Unavailable):
    code = "circuit_open"


class ShuttingDown(Unavailable):
    code = "shutting_down"
    admission = "draining"


LONGEST_REASON = 200


def innermost_reason(error: BaseException) -> str:
    """What the operating system, TLS or a proxy said, from the innermost cause that says anything.

    For errors of connections alone: those of requests may quote a header field.
    """
    said, cause = str(error), error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, OSError) and str(cause):
            said = str(cause)
        cause = cause.__cause__ or cause.__context__
    return said[:LONGEST_REASON] or type(error).__name__
