"""What one exchange has shown; telemetry makes metrics, spans and log lines of it. Pure."""

from mimic_proxy.http.body import RequestParameters
from mimic_proxy.telemetry.observation import (
    AdmissionRefusal,
    Attempt,
    ErrorType,
    Operation,
    Outcome,
    RetryReason,
    StreamMode,
    TokenWait,
    Trace,
)


class ExchangeObservation:
    """One finished exchange. Times are seconds on the monotonic clock, sizes are bytes.

    Whoever makes it sets what there is to say, and nobody changes it afterwards. A plain class, since one is made for
    every exchange and read by all that listen: a frozen dataclass of this size takes 3 us to make, and compiled the
    fields of this one are plain memory.
    """

    request_id: str
    operation: Operation
    method: str
    path: str
    """The raw path without the query, as the caller sent it."""
    route: str = ""
    """The path with its variable parts named; empty where no route was found."""
    trace: Trace | None = None
    model: str | None = None
    stream: bool = False
    status: int
    """The status that was sent; 499 when the caller left before one was."""
    outcome: Outcome
    error_code: str | None = None
    """`code` of the error that Mimic originated, if it did."""
    error_type: ErrorType | None = None
    """What was wrong with the last attempt; None where nothing was, or none was made."""
    refused: AdmissionRefusal | None = None
    """Why it was not let in, if it was not."""
    timer: str | None = None
    """Which of connect, first_byte, idle, send, total, body, queue fired, if one did."""
    started: float
    duration_seconds: float
    overhead_seconds: float | None = None
    """The part of the duration in which nothing was waited for: not slot, token, backend or caller. None: not known."""
    queue_seconds: float = 0.0
    token_wait_seconds: float = 0.0
    token_waits: tuple[TokenWait, ...] = ()
    sent: float | None = None
    """Moment in which the last attempt was sent."""
    upstream_head_seconds: float | None = None
    """Start of the last attempt to its head; None without a head."""
    first_chunk_seconds: float | None = None
    """Start to the first event with content that was forwarded; streams only."""
    max_gap_seconds: float | None = None
    send_blocked_seconds: float = 0.0
    """How long the caller took nothing of a stream."""
    events: int = 0
    heartbeats: int = 0
    error_frame: bool = False
    """The backend reported an error inside its stream."""
    mode: StreamMode = "native"
    request_bytes: int = 0
    response_bytes: int = 0
    attempts: int = 0
    earlier: tuple[Attempt, ...] = ()
    """The attempts before the last, each of which was repeated."""
    upstream_status: int | None = None
    upstream_request_id: str | None = None
    retried: RetryReason | None = None
    caller: str | None = None
    """The name of its entry among the client keys, where those are wanted."""
    client_retry: bool = False
    """The caller's SDK says that this is a retry of its own (x-stainless-retry-count > 0)."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    response_id: str | None = None
    response_model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    system_fingerprint: str | None = None
    parameters: RequestParameters | None = None
    """Read for sampled exchanges only."""

    def __init__(
        self,
        *,
        request_id: str,
        operation: Operation,
        method: str,
        path: str,
        status: int,
        outcome: Outcome,
        started: float,
        duration_seconds: float,
    ) -> None:
        self.request_id = request_id
        self.operation = operation
        self.method = method
        self.path = path
        self.status = status
        self.outcome = outcome
        self.started = started
        self.duration_seconds = duration_seconds

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in dir(self) if not name.startswith("_")]
        return f"ExchangeObservation({', '.join(shown)})"

    @property
    def ended(self) -> float:
        """Moment of the end."""
        return self.started + self.duration_seconds
