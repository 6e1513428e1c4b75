"""The closed list of outcomes: which word one exchange ends with."""

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
from mimic_proxy.telemetry.observation import ErrorType, Outcome

NO_STATUS_SENT = 499


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
    """The word for an answer that the backend gave in full.

    Mimic never sends the caller's key on, so 401 and 403 are about the access token.
    """
    if status < 400:
        return "completed"
    if status in (401, 403):
        return "token_error"
    return "client_error" if status < 500 else "upstream_error"


def error_type_of_status(status: int) -> ErrorType | None:
    """What the status of an attempt says was wrong; None where it says nothing of the kind."""
    if status == 401:
        return "unauthorized"
    if status == 429:
        return "http_429"
    return "http_5xx" if status >= 500 else None
