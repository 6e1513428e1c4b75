"""What is known of one call: written once, where it becomes known, and read by metrics, spans, log lines and timers.

Moments are seconds on the monotonic clock, 0.0 is not yet, or not any more. Sizes are bytes.
"""

from collections.abc import Sequence

from mimic_proxy.errors import (
    CallerError,
    CircuitOpen,
    ClientKeysMissing,
    MimicError,
    Overloaded,
    ShuttingDown,
    TokenError,
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamTimeout,
)
from mimic_proxy.http.body import RequestParameters
from mimic_proxy.telemetry.observation import (
    NOTHING_SHOWN,
    AdmissionRefusal,
    Attempt,
    ErrorType,
    Operation,
    Outcome,
    RetryReason,
    SpanLink,
    StreamMode,
    TokenWait,
    Trace,
)

NO_STATUS_SENT = 499


class Record:
    """One call: a relayed exchange, a request that the web application answers, or a call of Mimic's own.

    A plain class: one is made for every call, and compiled its fields are plain memory.
    """

    # What is asked
    request_id = ""
    route = ""
    """The path with its variable parts named; empty where no route was found."""
    trace: Trace | None = None
    traced = False
    """Spans of ours show this call: the backend is told of them, and not of the caller's."""
    model: str | None = None
    stream = False
    parameters: RequestParameters | None = None
    """Read for sampled exchanges only."""
    caller: str | None = None
    """The name of its entry among the client keys, where those are required."""
    client_retry = False
    """The caller's SDK says that this is a retry of its own (x-stainless-retry-count > 0)."""
    request_bytes = 0

    # Moments
    queued = 0.0
    dialled = 0.0
    """A connection was requested."""
    sent = 0.0
    """The last attempt was sent."""
    head = 0.0
    """The head of its response came."""
    upstream = 0.0
    """The last read of the backend."""
    first_content = 0.0
    """The first event with content."""
    last_event = 0.0
    after_done = 0.0
    """The stream's last event has gone out."""
    caller_stalled = 0.0
    """The caller stopped taking bytes of the response, and has not taken any since."""
    caller_unsent = 0
    """Bytes that it had not taken when it was last looked at."""
    backend_stalled = 0.0
    """The backend stopped taking bytes of the request."""
    ended = 0.0

    # Waits, in seconds
    body_seconds = 0.0
    """For the body of the request, where it is read whole."""
    queue_seconds = 0.0
    token_wait_seconds = 0.0
    token_waits: tuple[TokenWait, ...] = ()
    backend_seconds = 0.0
    """For connections, and for the backend in attempts that were repeated."""
    send_blocked_seconds = 0.0
    """The caller took nothing of the response."""
    overhead_seconds: float | None = None
    """The part of the duration in which nothing was waited for: not slot, token, backend or caller. None: not known."""

    # Attempts
    attempts = 0
    earlier: tuple[Attempt, ...] = ()
    """The attempts before the last, each of which was repeated."""
    upstream_status: int | None = None
    upstream_request_id: str | None = None
    error_type: ErrorType | None = None
    """What was wrong with the last attempt; None where nothing was, or none was made."""

    # The response
    status = NO_STATUS_SENT
    """The status that was sent; 499 when the caller left before one was."""
    response_bytes = 0
    """Of its body so far, framing not counted."""
    mode: StreamMode = "native"
    events = 0
    max_gap_seconds: float | None = None
    heartbeats = 0
    error_frame = False
    """The backend reported an error inside its stream."""

    # The end
    outcome: Outcome = "completed"
    error_code: str | None = None
    """`code` of the error that Mimic originated, if it did."""
    message: str | None = None
    """What that error told the caller; never a secret or content."""
    refused: AdmissionRefusal | None = None
    """Why the call was not admitted, if it was not."""
    timer: str | None = None
    """Which of connect, first_byte, idle, send, total, body, queue fired, if one did."""

    def __init__(self, started: float, operation: Operation, method: str, path: str) -> None:
        self.started = started
        self.operation = operation
        self.method = method
        self.path = path
        """The raw path without the query, as the caller sent it."""
        self.body = started
        """The last piece of the request's body came."""
        self.written = started
        """The last byte went to the caller."""
        self.shown = NOTHING_SHOWN
        """What the response says of itself."""

    def __repr__(self) -> str:
        known = {name: getattr(self, name) for name in dir(self) if not name.startswith("_")}
        return f"Record({', '.join(f'{name}={value!r}' for name, value in known.items() if not callable(value))})"

    @property
    def duration_seconds(self) -> float:
        """From the first byte to the end."""
        return self.ended - self.started

    @property
    def upstream_head_seconds(self) -> float | None:
        """Start of the last attempt to its head; None without a head."""
        return self.head - self.sent if self.head else None

    @property
    def first_chunk_seconds(self) -> float | None:
        """Start to the first event with content that was forwarded; streams only."""
        return self.first_content - self.started if self.first_content else None

    @property
    def retried(self) -> RetryReason | None:
        """Why the last attempt before the last was repeated."""
        return self.earlier[-1].retry if self.earlier else None

    # ---- waits and attempts

    def token_waited(self, since: float, now: float, refresh: SpanLink | None) -> None:
        """A wait for the access token has ended, with a token, an error, or by giving up."""
        self.token_wait_seconds += now - since
        self.token_waits += (TokenWait(since, now - since, refresh),)

    def attempt_sent(self, now: float) -> None:
        """The request is on its way."""
        self.attempts += 1
        self.sent = self.upstream = now

    def no_connection(self, now: float) -> None:
        """The attempt ended before it could be sent."""
        self.attempts += 1
        self.backend_seconds += now - self.dialled
        self.sent = self.head = 0.0

    def head_came(self, now: float, status: int, request_id: bytes | None) -> None:
        """The backend has begun to respond to the last attempt."""
        self.head = now
        self.upstream_status = status
        self.error_type = error_type_of_status(status)
        if request_id is not None:
            self.upstream_request_id = request_id.decode("ascii", "replace")

    def repeat(self, why: RetryReason, error_type: ErrorType) -> None:
        """The last attempt has failed and is made again."""
        seconds = self.upstream - self.sent
        head = self.upstream_head_seconds
        self.earlier += (Attempt(self.sent, seconds, self.upstream_status, head, error_type, why),)
        self.backend_seconds += seconds
        self.forget_attempt()

    def forget_attempt(self) -> None:
        """What is known of the last attempt is nothing of the next one's.

        An event that refused the token is not part of the stream that follows, and no gap lies between the two.
        """
        self.head = self.sent = self.last_event = 0.0
        self.events = 0
        self.error_frame = False
        self.upstream_status = self.upstream_request_id = self.error_type = None

    def begin_call(self) -> None:
        """Another call to the backend is made for the same request: of several the last is shown."""
        self.forget_attempt()
        self.attempts = 0
        self.earlier = ()

    def part(self) -> "Record":
        """For one of several calls of which one response is composed."""
        part = Record(self.started, self.operation, self.method, self.path)
        part.trace, part.traced = self.trace, self.traced
        return part

    def absorb(self, parts: "Sequence[Record]") -> None:
        """The calls of which one response was composed, made side by side: all their attempts, and the head of one that
        failed, else of the last."""
        made = [part for part in parts if part.attempts]
        for part in made:
            self.attempts += part.attempts
            self.earlier += part.earlier
            self.token_waits += part.token_waits
            if part.sent and (not self.sent or part.sent < self.sent):
                self.sent = part.sent
            if self.error_type is None:
                self.head = part.head
                self.upstream_status, self.upstream_request_id = part.upstream_status, part.upstream_request_id
                self.error_type = part.error_type

    # ---- the response

    def events_came(self, events: int, content: bool) -> float:
        """The last read brought the stream to so many events. Returns the seconds since those before, or 0.0.

        content: an event with content was among them.
        """
        if events == self.events:
            return 0.0
        self.events = events
        now, gap = self.upstream, 0.0
        if self.last_event:
            gap = now - self.last_event
        if self.max_gap_seconds is None or gap > self.max_gap_seconds:
            self.max_gap_seconds = gap
        self.last_event = now
        if content and not self.first_content:
            self.first_content = now
        return gap

    # ---- the end

    def failed(self, error: MimicError) -> None:
        """Mimic originated an error: it is what ends the call."""
        self.error_code = error.code
        self.message = str(error)
        if not isinstance(error, ShuttingDown) or not self.attempts:
            self.refused = error.admission
        if isinstance(error, UpstreamTimeout):
            self.timer = error.timer
        if self.attempts:
            self.error_type = error.error_type or self.error_type

    def end(self, outcome: Outcome, now: float) -> None:
        """The call is over."""
        self.outcome = outcome
        self.ended = now
        if self.upstream_status is not None and self.error_type is None and self.error_code is None:
            # A first event that is an error was answered with a status of its own; a later one could not be.
            self.error_type = "other" if self.error_frame and self.status < 400 else error_type_of_status(self.status)

    def settle_overhead(self, until: float) -> None:
        """until: the moment from which the last attempt was not waited for any more."""
        waited = self.body_seconds + self.queue_seconds + self.token_wait_seconds + self.backend_seconds
        if self.sent:
            waited += until - self.sent
        duration = self.ended - self.started
        self.overhead_seconds = duration - waited if duration > waited else 0.0


def refusal(error: MimicError, request_id: bytes, method: bytes, url: bytes, *, started: float, now: float) -> Record:
    """A request that never became an exchange: malformed, too large, or from a web page."""
    path = url.partition(b"?")[0].decode("ascii", "replace")
    record = Record(started, "unmatched", method.decode("ascii"), path)
    record.request_id = request_id.decode("ascii")
    record.status = error.status
    record.failed(error)
    record.end(outcome_of_error(error), now)
    return record


def outcome_of_error(error: MimicError) -> Outcome:
    """The word for an error that Mimic originated."""
    match error:
        case UpstreamTimeout():
            return "idle_timeout" if error.timer == "idle" else "timeout"
        case TokenError() | UpstreamAuthFailed():
            return "token_error"
        case CallerError():
            return "client_error"
        case Overloaded() | ClientKeysMissing():
            return "overloaded"
        case CircuitOpen():
            return "circuit_open"
        case ShuttingDown():
            return "shutdown"
        case UpstreamError():
            return "upstream_error"
        case _:
            return "internal_error"


def outcome_of_status(status: int) -> Outcome:
    """The word for a response that the backend gave in full.

    Mimic never sends the caller's key on, so 401 and 403 are about the access token.
    """
    if status < 400:
        return "completed"
    if status in (401, 403):
        return "token_error"
    return "client_error" if status < 500 else "upstream_error"


def error_type_of_status(status: int) -> ErrorType | None:
    """What the status of an attempt says was wrong; None where it says nothing of the kind."""
    if status < 400:
        return None
    if status == 401:
        return "unauthorized"
    if status == 429:
        return "http_429"
    return "http_5xx" if status >= 500 else None
