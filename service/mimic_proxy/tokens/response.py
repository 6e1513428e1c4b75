"""What the token service answered: a token and its lifetime, or why there is none. Pure.

For the lifetime a number of seconds counts first, then a time of expiry, then the token itself if it is a JWT (RFC
7519: `exp` less `iat`, which needs no clock that agrees with the issuer's); otherwise it is a guess. A value that makes
no sense is ignored, and a remark reports it.
"""

import base64
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from mimic_proxy.pointer import MISSING, Pointer, find, written
from mimic_proxy.telemetry.observation import RefreshResult
from mimic_proxy.tokens.recipe import ResponsePointers
from mimic_proxy.tokens.token import Lifetime

REFUSALS = frozenset({400, 401, 403})
GATEWAY_ERRORS = frozenset({502, 504})
"""Something in front answered: whether the token service got the request is not known."""
TRANSIENT_ERRORS = frozenset({"server_error", "slow_down", "temporarily_unavailable"})
"""Error codes of RFC 6749, 4.1.2.1, and RFC 8628, 3.5, that describe a passing condition."""
PERMANENT_ERRORS = frozenset(
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
"""Error codes of RFC 6749, 5.2, and related standards that last until a setting or an account is fixed."""
BESIDE = {
    "lifetime": ("expires_in", "expiresIn"),
    "expiry": ("expires_at", "expires_on", "expiresAt", "expiresOn", "expiration"),
    "refresh": ("refresh_token", "refreshToken"),
}
"""Names that are tried beside the token where no pointer is configured."""
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
"""IBM Cloud answers the latter."""
NO_ERROR = frozenset({"", "0", "200", "ok", "none", "success"})
"""Values of an error member that mean that there is no error, in lower case."""


@dataclass(frozen=True, slots=True)
class TokenResponse:
    """A whole response: its body without content coding, and the header fields that matter."""

    status: int
    body: bytes = field(repr=False)
    retry_after: str | None = None
    content_type: str | None = None
    location_host: str | None = None
    """The host that a redirect names; never a path or query."""
    date: str | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """An issued token. remarks: sentences for the log. refresh_token: the one to use next, None if there is none."""

    value: str = field(repr=False)
    lifetime: Lifetime
    remarks: tuple[str, ...] = ()
    refresh_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no token. `detail` continues "The token service ..." and holds no secret and no part of the body."""

    result: RefreshResult
    detail: str
    status: int | None = None
    retry_after: float | None = None
    """Seconds to wait, as the token service requests."""
    rejected: bool = False
    """It lasts until a setting or the account is changed."""
    error: str | None = None
    """The error code of RFC 6749, 5.2, if the response holds one."""
    unknown: bool = False
    """The token service may have processed the request."""


def read_response(
    response: TokenResponse, pointers: ResponsePointers, *, wall: float, default_lifetime: float
) -> Granted | Failure:
    """Returns the token of a response that came at Unix time `wall`, or why there is none."""
    if not 200 <= response.status < 300:
        return _refusal(response, pointers, wall)
    if not response.body.strip():
        return Failure("empty", f"answered {response.status} with an empty body", response.status)
    document = decoded(response.body)
    if document is MISSING:
        return Failure(
            "not_json", f"answered {response.status} with {_kind(response)} instead of JSON", response.status
        )
    for pointer in pointers.token:
        value = find(document, pointer)
        if isinstance(value, str) and value:
            return _granted(
                value, document, pointers, pointer, LifetimeReader(wall, _clock(response), default_lifetime)
            )
    error = _error(document, pointers)
    if error is not None:
        return _error_in_success(response.status, error)
    tried = " or ".join(written(pointer) for pointer in pointers.token)
    return Failure("no_token", f"answered {response.status} without an access token at {tried}", response.status)


def decoded(body: bytes) -> object:
    """Parses a JSON document; MISSING if it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return MISSING


def beside(token: Pointer, names: Iterable[str]) -> Iterator[Pointer]:
    """Pointers to `names` in the object that holds the token."""
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


def _granted(
    value: str, document: object, pointers: ResponsePointers, token: Pointer, reader: "LifetimeReader"
) -> Granted:
    seconds = _first(document, pointers.lifetime or beside(token, BESIDE["lifetime"]))
    expiry = _first(document, pointers.expiry or beside(token, BESIDE["expiry"]))
    for name, configured, found in (
        ("TOKEN_LIFETIME_POINTER", pointers.lifetime, seconds),
        ("TOKEN_EXPIRY_POINTER", pointers.expiry, expiry),
    ):
        if configured and found is None:
            reader.remarks.append(f"there is nothing at {' or '.join(map(written, configured))} ({name})")
    lifetime = reader.read(value, seconds, expiry)
    if value.lower().startswith("bearer "):
        reader.remarks.append("the access token begins with the word Bearer: TOKEN_FORMAT={token} sends it as it is")
    refresh = _first(document, pointers.refresh or beside(token, BESIDE["refresh"]))
    useful = isinstance(refresh, str) and refresh not in NO_REFRESH_TOKEN
    return Granted(value, lifetime, tuple(reader.remarks), str(refresh) if useful else None)


def _first(document: object, pointers: Iterable[Pointer]) -> object:
    """Returns the value of the first pointer that finds one other than null, else None."""
    for pointer in pointers:
        found = find(document, pointer)
        if found is not MISSING and found is not None:
            return found
    return None


def _clock(response: TokenResponse) -> float | None:
    return None if response.date is None else unix_time(response.date)


def _kind(response: TokenResponse) -> str:
    """Describes a body that is no JSON."""
    start = response.body.lstrip()[:9].lower()
    if start.startswith((b"<!doctype", b"<html")) or response.content_type == "text/html":
        return "a web page (HTML)"
    return f"a body of type {response.content_type}" if response.content_type else "a body of no type"


def _refusal(response: TokenResponse, pointers: ResponsePointers, wall: float) -> Failure:
    status, retry_after = response.status, retry_after_seconds(response.retry_after, wall)
    if 300 <= status < 400:
        where = "" if response.location_host is None else f" to {response.location_host}"
        return Failure("redirected", f"answered with a redirect ({status}){where}, which is not followed", status)
    if status == 429:
        asked = "" if retry_after is None else f" and asks to wait {retry_after:.0f} s"
        return Failure("throttled", f"answered HTTP 429, too many requests,{asked}".rstrip(","), status, retry_after)
    error = _error(decoded(response.body), pointers)
    said = f", {error}" if error else ""
    if status in REFUSALS and error not in TRANSIENT_ERRORS:
        return Failure("rejected", f"refused the secret with HTTP {status}{said}", status, retry_after, True, error)
    unknown = status in GATEWAY_ERRORS
    return Failure("http_error", f"answered HTTP {status}{said}", status, retry_after, error=error, unknown=unknown)


def _error_in_success(status: int, error: str) -> Failure:
    """An error object in a response with a 2xx status."""
    lasting = error in PERMANENT_ERRORS or error in {str(refusal) for refusal in REFUSALS}
    said = f" ({error})" if error else ""
    detail = f"answered {status} with an error{said} in its body instead of a token"
    return Failure("error_answer", detail, status, rejected=lasting, error=error or None)


def _error(document: object, pointers: ResponsePointers) -> str | None:
    """Returns the error code if it is a number or a code of the standards, "" for any other, None without an error.

    Other codes are not repeated: they may quote what was sent.
    """
    for pointer in pointers.error or ERRORS:
        value = find(document, pointer)
        if value in (MISSING, None, False) or isinstance(value, (list, float)):
            continue
        if isinstance(value, dict):
            if not pointers.error and ("code" in value or not value):
                continue
            return ""
        word = str(value)
        if word.lower() in NO_ERROR:
            continue
        if (
            word in PERMANENT_ERRORS
            or word in TRANSIENT_ERRORS
            or (word.isascii() and word.isdigit() and len(word) < 10)
        ):
            return word
        return ""
    return None


LONGEST_LIFETIME_SECONDS = 100 * 365 * 86400.0
"""Longer ones have no date that can be shown."""
LONG_LIFETIME_SECONDS = 30 * 86400.0
SHORT_LIFETIME_SECONDS = 10.0
"""Longer and shorter ones are used, and a remark reports them."""
FIRST_UNIX_SECONDS = 1e9
FIRST_UNIX_MILLISECONDS = 1e11
"""September 2001 in seconds, March 1973 in milliseconds: smaller numbers are no present time."""
SKEW_SECONDS = 60.0


@dataclass(slots=True)
class LifetimeReader:
    """Reads one response. remarks: sentences on what was odd.

    wall: Unix time here; issuer: the same by the token service's clock, None if it did not say. default: seconds.
    """

    wall: float
    issuer: float | None
    default: float
    remarks: list[str] = field(default_factory=list)

    def read(self, token: str, seconds: object, expiry: object) -> Lifetime:
        """seconds, expiry: the values in the response; None where there is none."""
        found = None
        if seconds is not None:
            found = self._by_seconds(seconds)
        if found is None and expiry is not None:
            found = self._by_moment(expiry, "the expiry in the response")
        if found is None:
            found = self._by_claims(token)
        if found is None:
            if self.remarks:
                self.remarks[-1] += f"; {self.default:g} s are assumed"
            return Lifetime(self.default, known=False)
        self._judge(found)
        return Lifetime(min(found, LONGEST_LIFETIME_SECONDS))

    def _by_seconds(self, value: object) -> float | None:
        seconds = number(value)
        if seconds is None or seconds <= 0:
            self.remarks.append("the lifetime in the response is no positive number of seconds")
            return None
        for scale in (1.0, 1000.0):
            if abs(seconds / scale - self._now) < 10 * 365 * 86400:
                self.remarks.append(
                    "the lifetime in the response is a Unix time, not a number of seconds; it is read as one"
                )
                return self._by_moment(seconds, "the expiry in the response")
        return seconds

    def _by_moment(self, value: object, what: str) -> float | None:
        moment = unix_time(value)
        if moment is None:
            self.remarks.append(f"{what} is neither a Unix time nor an ISO 8601 date")
            return None
        if moment <= self._now:
            self.remarks.append(f"a token that was just issued looks expired: {self._skew(moment)}")
            return None
        if self.issuer is not None and abs(self.issuer - self.wall) > SKEW_SECONDS:
            self.remarks.append(
                f"the clock here differs from the token service's by {abs(self.issuer - self.wall):.0f} s"
            )
        return moment - self._now

    def _by_claims(self, token: str) -> float | None:
        claims = _claims(token)
        expires, issued = number(claims.get("exp")), number(claims.get("iat"))
        if isinstance(claims.get("exp"), str) or expires is None:
            return None
        if expires <= self._now:
            self.remarks.append(f"a token that was just issued looks expired: {self._skew(expires)}")
            return None
        if issued is None or isinstance(claims.get("iat"), str):
            return expires - self._now
        if expires <= issued:
            self.remarks.append("the token's exp is not later than its iat")
            return None
        return expires - issued

    def _skew(self, moment: float) -> str:
        return f"the clock here differs from the issuer's by {self._now - moment:.0f} s or more"

    def _judge(self, seconds: float) -> None:
        if seconds > LONG_LIFETIME_SECONDS:
            days = min(seconds, LONGEST_LIFETIME_SECONDS) / 86400
            self.remarks.append(
                f"the token is said to live {days:.0f} days; it is replaced every 12 hours all the same. Are its units "
                f"seconds?"
            )
        elif seconds < SHORT_LIFETIME_SECONDS:
            self.remarks.append(
                f"the lifetime of the token is only {seconds:g} s: the token service is called that often"
            )

    @property
    def _now(self) -> float:
        return self.wall if self.issuer is None else self.issuer


def number(value: object) -> float | None:
    """A finite JSON number, or one written as a string of digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def unix_time(value: object) -> float | None:
    """Reads a time as Unix seconds: Unix seconds or milliseconds, ISO 8601 (without a zone: UTC), or an HTTP date."""
    moment = number(value)
    if moment is not None:
        moment = moment / 1000 if moment >= FIRST_UNIX_MILLISECONDS else moment
        return moment if moment >= FIRST_UNIX_SECONDS else None
    if not isinstance(value, str):
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            date = read(value.strip())
            return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError, TypeError):
            continue
    return None


def _claims(token: str) -> dict[str, object]:
    """Reads the claims of a JWT, unverified: only its lifetime is taken from them. Empty if it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
