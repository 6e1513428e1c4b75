"""What the token service answered. Pure.

The lifetime is read from the field beside the token, else from the token itself if it is a JWT (RFC 7519: `exp` less
`iat`, which needs no clock that agrees with the issuer's), else it is a guess.
"""

import base64
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

from mimic_proxy.telemetry.observation import RefreshResult
from mimic_proxy.tokens.recipe import TokenAt
from mimic_proxy.tokens.token import Lifetime

REFUSALS = frozenset({400, 401, 403})
LONGEST_LIFETIME_SECONDS = 100 * 365 * 86400.0
"""Beyond it there is no date to show."""


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """A whole answer: its body decoded, and its Retry-After field if there was one."""

    status: int
    body: bytes = field(repr=False)
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """A token. `remarks` are sentences for the log; `refresh_token`: one came with it."""

    value: str = field(repr=False)
    lifetime: Lifetime
    remarks: tuple[str, ...] = ()
    refresh_token: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """No token. `detail` goes on from "The token service ..." and holds neither a secret nor a part of the body."""

    result: RefreshResult
    detail: str
    status: int | None = None
    retry_after: float | None = None
    """Seconds that the token service asked to wait."""


def read_answer(
    answer: TokenAnswer, places: Iterable[TokenAt], *, wall: float, default_lifetime: float
) -> Granted | Failure:
    """The token of an answer that came at Unix time `wall`, or why there is none."""
    if not 200 <= answer.status < 300:
        return _refusal(answer, wall)
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return Failure("bad_response", f"answered {answer.status} with a body that is not JSON", answer.status)
    looked_at = []
    for place in places:
        value = _at(document, place.token)
        looked_at.append(place.token)
        if isinstance(value, str) and value:
            lifetime, remarks = _lifetime(value, _at(document, place.lifetime), wall, default_lifetime)
            beside = _at(document, ".".join([*place.token.split(".")[:-1], "refresh_token"]))
            return Granted(value, lifetime, remarks, refresh_token=isinstance(beside, str) and bool(beside))
    return Failure(
        "bad_response", f"answered {answer.status} without an access token at {' or '.join(looked_at)}", answer.status
    )


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


def _refusal(answer: TokenAnswer, wall: float) -> Failure:
    status, retry_after = answer.status, retry_after_seconds(answer.retry_after, wall)
    if 300 <= status < 400:
        return Failure("bad_response", f"answered with a redirect ({status}), which is not followed", status)
    if status in REFUSALS:
        return Failure("rejected", f"refused the secret with HTTP {status}", status, retry_after)
    return Failure("http_error", f"answered HTTP {status}", status, retry_after)


def _at(document: object, path: str) -> object:
    for key in path.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(key)
    return document


def _lifetime(token: str, beside: object, wall: float, default: float) -> tuple[Lifetime, tuple[str, ...]]:
    guess = Lifetime(default, known=False)
    if beside is not None:
        seconds = _seconds(beside)
        if seconds is not None:
            return Lifetime(seconds), ()
        return guess, (f"the answer's lifetime is no positive number; {default:g} s are assumed",)
    claims = _claims(token)
    expires = _number(claims.get("exp"))
    if expires is None:
        return guess, ()
    if expires <= wall:
        return guess, (
            f"a token that was just issued looks expired: the clock here differs from the issuer's by "
            f"{wall - expires:.0f} s or more; {default:g} s are assumed",
        )
    issued = _number(claims.get("iat"))
    seconds = expires - (wall if issued is None else issued)
    if seconds <= 0:
        return guess, (f"the token's exp is not later than its iat; {default:g} s are assumed",)
    return Lifetime(min(seconds, LONGEST_LIFETIME_SECONDS)), ()


def _seconds(value: object) -> float | None:
    """A positive finite number, or one written as a string of digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = float(value)
    number = _number(value)
    return None if number is None or number <= 0 else min(number, LONGEST_LIFETIME_SECONDS)


def _number(value: object) -> float | None:
    """A finite JSON number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _claims(token: str) -> dict[str, object]:
    """The claims of a JWT, unverified: they only tell its lifetime. Empty if it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
