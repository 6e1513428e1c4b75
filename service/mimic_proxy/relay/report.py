"""The closing observation of an exchange, put together from what its parts have noted. Pure."""

from collections.abc import Callable

from mimic_proxy.dialects.base import Shown, StreamFacts
from mimic_proxy.errors import MimicError, ShuttingDown, UpstreamTimeout
from mimic_proxy.http.body import BodyFields, RequestParameters
from mimic_proxy.http.headers import ResponseFields
from mimic_proxy.relay.answer import Answer
from mimic_proxy.relay.deadlines import Moments
from mimic_proxy.relay.inbound import RequestBody
from mimic_proxy.relay.outcome import error_type_of_status, outcome_of_error
from mimic_proxy.relay.ports import Request, ignored
from mimic_proxy.relay.routes import Route
from mimic_proxy.relay.tries import Tries
from mimic_proxy.telemetry.exchange_observation import ExchangeObservation
from mimic_proxy.telemetry.observation import (
    AdmissionRefusal,
    Attempt,
    ErrorType,
    Outcome,
    RetryReason,
    StreamMode,
    TokenWait,
    Trace,
)
from mimic_proxy.tokens.token import AccessToken


class Attempts:
    """What was tried for one exchange, what it waited for, and how its events came. Seconds."""

    count = 0
    timer: str | None = None
    """The one that ended it."""
    earlier: tuple[Attempt, ...] = ()
    queue_seconds = 0.0
    token_seconds = 0.0
    token_waits: tuple[TokenWait, ...] = ()
    waited_seconds = 0.0
    """For connections, and for the backend in attempts that were repeated."""
    stalled_seconds = 0.0
    """The caller took nothing of the answer."""
    heartbeats = 0
    error_type: ErrorType | None = None
    """What went wrong with a call of those that an answer was composed of."""
    events = 0
    last_event = 0.0
    max_gap = 0.0
    first_content = 0.0
    """Moment of the first event with content; 0.0 before it."""

    def __init__(self) -> None:
        self.gap: Callable[[float], None] = ignored
        """Is told of each gap between events as it ends."""

    @property
    def retried(self) -> list[RetryReason]:
        """Why attempts were made again."""
        return [attempt.retry for attempt in self.earlier]

    def event_seen(self, now: float, events: int, content: bool) -> None:
        """A read of the stream brought the count of its events to `events`."""
        if events == self.events:
            return
        self.events = events
        if self.last_event:
            gap = now - self.last_event
            self.gap(gap)
            if gap > self.max_gap:
                self.max_gap = gap
        self.last_event = now
        if content and not self.first_content:
            self.first_content = now

    def token_came(self, since: float, now: float, got: AccessToken | MimicError | None) -> None:
        """A wait for the access token has ended, with a token, an error, or by giving up."""
        self.token_seconds += now - since
        refresh = got.refresh if isinstance(got, AccessToken) else None
        self.token_waits += (TokenWait(since, now - since, refresh),)

    def composed(self, tries: Tries, token_waits: tuple[TokenWait, ...], at: Moments) -> None:
        """Several calls were made for the one answer."""
        self.count = tries.count
        self.earlier = tries.earlier
        self.token_waits += token_waits
        self.error_type = tries.error_type
        at.sent = tries.sent or at.sent
        at.head = tries.head or 0.0

    def repeated(self, why: RetryReason, error_type: ErrorType, at: Moments, upstream: ResponseFields | None) -> None:
        """The attempt that `at` tells of has failed and is made again."""
        seconds = at.upstream - at.sent
        status = upstream.status if upstream is not None else None
        head = at.head - at.sent if at.head else None
        self.earlier += (Attempt(at.sent, seconds, status, head, error_type, why),)
        self.waited_seconds += seconds
        at.head = at.sent = 0.0
        # An event that refused the token is none of the stream that follows, and no gap lies between the two.
        self.events = 0
        self.last_event = 0.0


def observation(
    outcome: Outcome,
    *,
    now: float,
    at: Moments,
    request: Request,
    route: Route,
    fields: BodyFields,
    body: RequestBody,
    answer: Answer,
    attempts: Attempts,
    upstream: ResponseFields | None,
    facts: StreamFacts | None,
    shown: Shown | None,
    error: MimicError | None,
    trace: Trace,
    parameters: RequestParameters | None,
    mode: StreamMode,
    waits: bool,
) -> ExchangeObservation:
    """One record of all that telemetry shows of an exchange. `waits`: it ended while it waited for the backend."""
    duration = now - request.started
    waited = attempts.queue_seconds + attempts.token_seconds + attempts.waited_seconds
    if at.sent:
        waited += (now if waits else at.upstream) - at.sent
    if not body.streamed:
        waited += (at.body if body.complete else now) - request.started
    seen = ExchangeObservation(
        request_id=answer.request_id.decode("ascii"),
        operation=route.operation,
        method=request.method.decode("ascii"),
        path=request.path.decode("ascii", "replace"),
        status=answer.status,
        outcome=outcome,
        started=request.started,
        duration_seconds=duration,
    )
    seen.route = route.template
    seen.trace = trace
    seen.model = fields.model
    seen.stream = facts is not None or fields.stream
    seen.overhead_seconds = duration - waited if duration > waited else 0.0
    seen.request_bytes = body.received
    seen.response_bytes = answer.size
    seen.caller = request.fields.caller
    seen.client_retry = request.fields.client_retry
    seen.parameters = parameters
    _tell_attempts(seen, at, attempts, upstream)
    if error is not None:
        seen.error_code = error.code
        seen.refused = _refused(error, attempts)
    if attempts.count:
        seen.error_type = _error_type(error, answer, upstream, facts) or attempts.error_type
    seen.timer = error.timer if isinstance(error, UpstreamTimeout) else attempts.timer
    seen.mode = mode
    if facts is not None or attempts.events:
        _tell_stream(seen, attempts, facts)
    if shown is not None:
        _tell_shown(seen, shown)
    return seen


def _tell_attempts(seen: ExchangeObservation, at: Moments, attempts: Attempts, upstream: ResponseFields | None) -> None:
    seen.attempts = attempts.count
    seen.queue_seconds = attempts.queue_seconds
    seen.token_wait_seconds = attempts.token_seconds
    seen.send_blocked_seconds = attempts.stalled_seconds
    seen.heartbeats = attempts.heartbeats
    if attempts.token_waits:
        seen.token_waits = attempts.token_waits
    if attempts.earlier:
        seen.earlier = attempts.earlier
        seen.retried = attempts.earlier[-1].retry
    if at.sent:
        seen.sent = at.sent
    if at.head:
        seen.upstream_head_seconds = at.head - at.sent
    if upstream is not None:
        seen.upstream_status = upstream.status
        if upstream.request_id is not None:
            seen.upstream_request_id = upstream.request_id.decode("ascii", "replace")


def _tell_stream(seen: ExchangeObservation, attempts: Attempts, facts: StreamFacts | None) -> None:
    seen.events = attempts.events
    seen.max_gap_seconds = attempts.max_gap
    seen.error_frame = facts is not None and facts.error_frame
    if attempts.first_content:
        seen.first_chunk_seconds = attempts.first_content - seen.started


def _tell_shown(seen: ExchangeObservation, shown: Shown) -> None:
    usage = shown.usage
    seen.input_tokens = usage.input
    seen.output_tokens = usage.output
    seen.cached_tokens = usage.cached
    seen.reasoning_tokens = usage.reasoning
    seen.response_id = shown.id
    seen.response_model = shown.model
    seen.finish_reasons = shown.finish_reasons
    seen.system_fingerprint = shown.system_fingerprint


def _error_type(
    error: MimicError | None, answer: Answer, upstream: ResponseFields | None, facts: StreamFacts | None
) -> ErrorType | None:
    """What was wrong with the last attempt: our word for it, else what its status says."""
    if error is not None and error.error_type is not None:
        return error.error_type
    if upstream is not None and upstream.status >= 400:
        return error_type_of_status(upstream.status)
    if upstream is None or error is not None:
        return None
    # A first event that is an error was answered with a status of its own; a later one could not be.
    frame: ErrorType | None = "other" if facts is not None and facts.error_frame and answer.status < 400 else None
    return frame or error_type_of_status(answer.status)


def _refused(error: MimicError, attempts: Attempts) -> AdmissionRefusal | None:
    if isinstance(error, ShuttingDown) and attempts.count:
        return None
    return error.admission


def refusal(
    error: MimicError, request_id: bytes, method: bytes, url: bytes, *, started: float, now: float
) -> ExchangeObservation:
    """The observation of a request that never became an exchange: malformed, too large, or from a web page."""
    seen = ExchangeObservation(
        request_id=request_id.decode("ascii"),
        operation="unmatched",
        method=method.decode("ascii"),
        path=url.partition(b"?")[0].decode("ascii", "replace"),
        status=error.status,
        outcome=outcome_of_error(error),
        started=started,
        duration_seconds=now - started,
    )
    seen.error_code = error.code
    return seen
