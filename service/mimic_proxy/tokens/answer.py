"""What the token service answered: a token, or why there is none. Pure."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

from mimic_proxy.pointer import MISSING, Pointer, find, written
from mimic_proxy.telemetry.observation import RefreshResult
from mimic_proxy.tokens.lifetime import LifetimeReader, unix_time
from mimic_proxy.tokens.recipe import Answers
from mimic_proxy.tokens.token import Lifetime

REFUSALS = frozenset({400, 401, 403})
GATEWAY_ERRORS = frozenset({502, 504})
"""Something in front answered: whether the token service got the request is not known."""
PASSING = frozenset({"server_error", "slow_down", "temporarily_unavailable"})
"""Error words of RFC 6749, 4.1.2.1, and RFC 8628, 3.5, that heal by themselves."""
LASTING = frozenset(
    {
        "access_denied",
        "expired_token",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "unauthorized_client",
        "unsupported_grant_type",
        "unsupported_token_type",
    }
)
"""Those of RFC 6749, 5.2, and its relatives that somebody has to mend."""
BESIDE = {
    "lifetime": ("expires_in", "expiresIn"),
    "expiry": ("expires_at", "expires_on", "expiresAt", "expiresOn", "expiration"),
    "refresh": ("refresh_token", "refreshToken"),
}
"""What is looked for beside the token where no pointer says otherwise."""
ERRORS: tuple[Pointer, ...] = (
    ("error",),
    ("errorCode",),
    ("error_code",),
    ("data", "error"),
    ("data", "errorCode"),
    ("error", "code"),
    ("code",),
)
NO_REFRESH_TOKEN = frozenset({"", "not_supported"})
"""The latter is IBM Cloud's word."""
WELL = frozenset({"", "0", "200", "ok", "none", "success"})
"""What stands at an error's place where there is none, in lower case."""


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """A whole answer: its body decoded, and what matters of its head."""

    status: int
    body: bytes = field(repr=False)
    retry_after: str | None = None
    content_type: str | None = None
    location_host: str | None = None
    """Where a redirect points; never a path or query."""
    date: str | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """A token. `remarks` are sentences for the log; `refresh_token`: what to use for the next one, if there is any."""

    value: str = field(repr=False)
    lifetime: Lifetime
    remarks: tuple[str, ...] = ()
    refresh_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """No token. `detail` goes on from "The token service ..." and holds neither a secret nor a part of the body."""

    result: RefreshResult
    detail: str
    status: int | None = None
    retry_after: float | None = None
    """Seconds that the token service asked to wait."""
    rejected: bool = False
    """It does not heal until somebody changes something."""
    error: str | None = None
    """The error code of RFC 6749, 5.2, if one of those was answered."""
    unknown: bool = False
    """The token service may have done what it was asked for."""


def read_answer(answer: TokenAnswer, places: Answers, *, wall: float, default_lifetime: float) -> Granted | Failure:
    """The token of an answer that came at Unix time `wall`, or why there is none."""
    if not 200 <= answer.status < 300:
        return _refusal(answer, places, wall)
    if not answer.body.strip():
        return Failure("empty", f"answered {answer.status} with an empty body", answer.status)
    document = decoded(answer.body)
    if document is MISSING:
        return Failure("not_json", f"answered {answer.status} with {_kind(answer)} instead of JSON", answer.status)
    for place in places.token:
        value = find(document, place)
        if isinstance(value, str) and value:
            return _granted(value, document, places, place, LifetimeReader(wall, _clock(answer), default_lifetime))
    error = _error(document, places)
    if error is not None:
        return _error_answer(answer.status, error)
    looked_at = " or ".join(written(place) for place in places.token)
    return Failure("no_token", f"answered {answer.status} without an access token at {looked_at}", answer.status)


def decoded(body: bytes) -> object:
    """The JSON document, or MISSING if it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return MISSING


def beside(token: Pointer, names: Iterable[str]) -> Iterator[Pointer]:
    """The places of `names` in the object that holds the token."""
    return ((*token[:-1], name) for name in names)


def retry_after_seconds(value: str | None, wall: float) -> float | None:
    """Retry-After, a number of seconds or a date (RFC 9110, 10.2.3); None if it is neither."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - wall, 0.0)


def _granted(value: str, document: object, places: Answers, token: Pointer, reader: LifetimeReader) -> Granted:
    seconds = _first(document, places.lifetime or beside(token, BESIDE["lifetime"]))
    expiry = _first(document, places.expiry or beside(token, BESIDE["expiry"]))
    for name, pointers, found in (
        ("TOKEN_LIFETIME_POINTER", places.lifetime, seconds),
        ("TOKEN_EXPIRY_POINTER", places.expiry, expiry),
    ):
        if pointers and found is None:
            reader.remarks.append(f"there is nothing at {' or '.join(map(written, pointers))} ({name})")
    lifetime = reader.read(value, seconds, expiry)
    if value.lower().startswith("bearer "):
        reader.remarks.append("the access token begins with the word Bearer: TOKEN_FORMAT={token} sends it as it is")
    refresh = _first(document, places.refresh or beside(token, BESIDE["refresh"]))
    useful = isinstance(refresh, str) and refresh not in NO_REFRESH_TOKEN
    return Granted(value, lifetime, tuple(reader.remarks), str(refresh) if useful else None)


def _first(document: object, places: Iterable[Pointer]) -> object:
    """What stands at the first place that is there; None if nothing is, as for null."""
    for place in places:
        found = find(document, place)
        if found is not MISSING and found is not None:
            return found
    return None


def _clock(answer: TokenAnswer) -> float | None:
    return None if answer.date is None else unix_time(answer.date)


def _kind(answer: TokenAnswer) -> str:
    """What a body that is no JSON seems to be."""
    start = answer.body.lstrip()[:9].lower()
    if start.startswith((b"<!doctype", b"<html")) or answer.content_type == "text/html":
        return "a web page (HTML)"
    return f"a body of type {answer.content_type}" if answer.content_type else "a body of no type"


def _refusal(answer: TokenAnswer, places: Answers, wall: float) -> Failure:
    status, retry_after = answer.status, retry_after_seconds(answer.retry_after, wall)
    if 300 <= status < 400:
        where = "" if answer.location_host is None else f" to {answer.location_host}"
        return Failure("redirected", f"answered with a redirect ({status}){where}, which is not followed", status)
    if status == 429:
        asked = "" if retry_after is None else f" and asks to wait {retry_after:.0f} s"
        return Failure("throttled", f"answered HTTP 429, too many requests,{asked}".rstrip(","), status, retry_after)
    error = _error(decoded(answer.body), places)
    said = f", {error}" if error else ""
    if status in REFUSALS and error not in PASSING:
        return Failure("rejected", f"refused the secret with HTTP {status}{said}", status, retry_after, True, error)
    unknown = status in GATEWAY_ERRORS
    return Failure("http_error", f"answered HTTP {status}{said}", status, retry_after, error=error, unknown=unknown)


def _error_answer(status: int, error: str) -> Failure:
    """An error in an answer whose status says that all is well."""
    lasting = error in LASTING or error in {str(refusal) for refusal in REFUSALS}
    said = f" ({error})" if error else ""
    detail = f"answered {status} with an error{said} in its body instead of a token"
    return Failure("error_answer", detail, status, rejected=lasting, error=error or None)


def _error(document: object, places: Answers) -> str | None:
    """The error's code if it is a number or a word of the standards; empty if it is another one; None without one.

    Anything else is not repeated: it may quote what was sent.
    """
    for place in places.error or ERRORS:
        value = find(document, place)
        if value in (MISSING, None, False) or isinstance(value, (list, float)):
            continue
        if isinstance(value, dict):
            if not places.error and ("code" in value or not value):
                continue
            return ""
        word = str(value)
        if word.lower() in WELL:
            continue
        if word in LASTING or word in PASSING or (word.isascii() and word.isdigit() and len(word) < 10):
            return word
        return ""
    return None
