"""The closing observation of an exchange, put together from what its parts have noted. Pure."""

from typing import Literal

from mimic_proxy.dialects.base import StreamFacts, Usage
from mimic_proxy.errors import MimicError, UpstreamTimeout
from mimic_proxy.relay.answer import Answer
from mimic_proxy.relay.body import BodyFields
from mimic_proxy.relay.deadlines import Moments
from mimic_proxy.relay.headers import ResponseFields
from mimic_proxy.relay.inbound import RequestBody
from mimic_proxy.relay.outcome import outcome_of_error
from mimic_proxy.relay.ports import Request
from mimic_proxy.relay.routes import Route
from mimic_proxy.telemetry.observation import ExchangeObservation, Outcome

NO_USAGE = Usage(None, None, None, None)


class Attempts:
    """What was tried for one exchange, and how its events came. Seconds."""

    count = 0
    timer: str | None = None
    """The one that ended it."""
    retried: tuple[Literal["unauthorized", "connect"], ...] = ()
    queue_seconds = 0.0
    token_seconds = 0.0
    events = 0
    last_event = 0.0
    max_gap = 0.0
    first_content = 0.0
    """Moment of the first event with content; 0.0 before it."""

    def event_seen(self, now: float, events: int, content: bool) -> None:
        """A read of the stream brought the count of its events to `events`."""
        if events == self.events:
            return
        self.events = events
        if self.last_event and now - self.last_event > self.max_gap:
            self.max_gap = now - self.last_event
        self.last_event = now
        if content and not self.first_content:
            self.first_content = now


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
    usage: Usage | None,
    error: MimicError | None,
) -> ExchangeObservation:
    """One record of all that telemetry shows of an exchange."""
    usage = usage or NO_USAGE
    return ExchangeObservation(
        request_id=answer.request_id.decode("ascii"),
        operation=route.operation,
        method=request.method.decode("ascii"),
        path=request.path.decode("ascii", "replace"),
        model=fields.model,
        stream=facts is not None or fields.stream,
        status=answer.status,
        outcome=outcome,
        error_code=error.code if error is not None else None,
        timer=error.timer if isinstance(error, UpstreamTimeout) else attempts.timer,
        started=request.started,
        duration_seconds=now - request.started,
        queue_seconds=attempts.queue_seconds,
        token_wait_seconds=attempts.token_seconds,
        upstream_head_seconds=at.head - at.sent if at.head else None,
        first_chunk_seconds=attempts.first_content - request.started if attempts.first_content else None,
        max_gap_seconds=attempts.max_gap if facts is not None else None,
        events=attempts.events,
        request_bytes=body.received,
        response_bytes=answer.size,
        attempts=attempts.count,
        upstream_status=upstream.status if upstream is not None else None,
        retried=attempts.retried[-1] if attempts.retried else None,
        client_retry=request.fields.client_retry,
        input_tokens=usage.input,
        output_tokens=usage.output,
        cached_tokens=usage.cached,
        reasoning_tokens=usage.reasoning,
    )


def refusal(
    error: MimicError, request_id: bytes, method: bytes, url: bytes, *, started: float, now: float
) -> ExchangeObservation:
    """The observation of a request that never became an exchange: malformed, too large, or from a web page."""
    return ExchangeObservation(
        request_id=request_id.decode("ascii"),
        operation="unmatched",
        method=method.decode("ascii"),
        path=url.partition(b"?")[0].decode("ascii", "replace"),
        status=error.status,
        outcome=outcome_of_error(error),
        error_code=error.code,
        started=started,
        duration_seconds=now - started,
    )
