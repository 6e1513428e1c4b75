"""How long a token lives, by what its answer says. Pure.

A number of seconds counts first, then the moment at which it expires, then the token itself if it is a JWT (RFC 7519:
`exp` less `iat`, which needs no clock that agrees with the issuer's); else it is a guess. What makes no sense is passed
over and told.
"""

import base64
import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from mimic_proxy.tokens.token import Lifetime

LONGEST_LIFETIME_SECONDS = 100 * 365 * 86400.0
"""Beyond it there is no date to show."""
LONG_LIFETIME_SECONDS = 30 * 86400.0
SHORT_LIFETIME_SECONDS = 10.0
"""Longer and shorter ones are believed and told."""
FIRST_UNIX_SECONDS = 1e9
FIRST_UNIX_MILLISECONDS = 1e11
"""September 2001 in seconds, March 1973 in milliseconds: smaller numbers are no moments of today."""
SKEW_SECONDS = 60.0


@dataclass(slots=True)
class LifetimeReader:
    """Reads one answer. remarks: sentences on what was odd.

    wall: Unix time here; issuer: the same by the token service's clock, None if it did not say. default: seconds.
    """

    wall: float
    issuer: float | None
    default: float
    remarks: list[str] = field(default_factory=list)

    def read(self, token: str, seconds: object, expiry: object) -> Lifetime:
        """seconds, expiry: what the answer says of the lifetime; None where it does not."""
        found = None
        if seconds is not None:
            found = self._by_seconds(seconds)
        if found is None and expiry is not None:
            found = self._by_moment(expiry, "the expiry in the answer")
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
            self.remarks.append("the lifetime in the answer is no positive number of seconds")
            return None
        for scale in (1.0, 1000.0):
            if abs(seconds / scale - self._now) < 10 * 365 * 86400:
                self.remarks.append(
                    "the lifetime in the answer is a Unix time, not a number of seconds; it is read as one"
                )
                return self._by_moment(seconds, "the expiry in the answer")
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
                f"the token is said to live only {seconds:g} s: the token service will be asked that often"
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
    """A moment as Unix seconds: from Unix seconds or milliseconds, ISO 8601 (without a zone: UTC), or an HTTP date."""
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
    """The claims of a JWT, unverified: they only tell its lifetime. Empty if it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
