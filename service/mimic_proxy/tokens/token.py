"""The access token, and what to do with it at a given time.

Pure: clock and jitter are arguments. The rules:

1. A token's age counts from the moment its request was sent, so it is never younger here than for its issuer.
2. There are two clocks. A laptop's sleep stops the monotonic one, NTP steps the other. The larger age makes a refresh
   due; only the monotonic age makes a token unusable; a wall clock that steps back changes nothing.
3. A refresh is due at 70 to 80 % of the lifetime (jitter spreads replicas, only to earlier), at the latest after
   12 hours. In its last 5 %, at most 5 seconds, a token is not used any more.
4. A lifetime that was only guessed makes a refresh due and never makes the token unusable.
5. A token that the backend refused is replaced. Meanwhile it serves other calls if the backend has accepted it before;
   if not, they wait for the successor. Where no successor can be obtained now, it is still better than none.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from mimic_proxy.telemetry.observation import SpanLink

Decision = Literal["use", "refresh", "wait", "fail"]

REFRESH_SHARE = 0.8
JITTER_SHARE = 0.125
"""Of the time to the refresh: 0.8 becomes 0.7 at most."""
LONGEST_UNREFRESHED_SECONDS = 12 * 3600.0
UNUSABLE_SHARE = 0.05
UNUSABLE_SECONDS = 5.0
SHORTEST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Moment:
    """A time on both clocks, in seconds."""

    monotonic: float
    wall: float


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a token lives, in seconds; not `known` is a guess."""

    seconds: float
    known: bool = True


FOREVER = Lifetime(math.inf, known=False)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """One generation of the credential. Generations count up from 1 within one process; `repr` shows no secret."""

    value: str = dataclasses.field(repr=False)
    generation: int
    field: bytes = dataclasses.field(repr=False)
    """The header line for the upstream head with its CRLF; empty when no credential is sent."""
    sent: Moment
    """When the request for it was sent."""
    lifetime: Lifetime
    refresh_after: float
    """Age in seconds at which a refresh is due; infinite for a token without a successor."""
    usable_for: float
    """Age in seconds from which it is not used any more; infinite when it does not expire."""
    refresh: SpanLink | None = None
    """The refresh that obtained it, where that is traced."""

    @property
    def issued(self) -> float:
        """Unix time at which it was requested."""
        return self.sent.wall

    @property
    def expires(self) -> float | None:
        """Unix time at which it expires; None when that is unknown."""
        return self.sent.wall + self.lifetime.seconds if self.lifetime.known else None


def issue(
    value: str,
    generation: int,
    *,
    field: bytes,
    sent: Moment,
    lifetime: Lifetime,
    jitter: float,
    refreshable: bool = True,
) -> AccessToken:
    """Makes a token by the rules above; `jitter` is a random number from 0 to 1."""
    latest = min(REFRESH_SHARE * lifetime.seconds, LONGEST_UNREFRESHED_SECONDS)
    return AccessToken(
        value=value,
        generation=generation,
        field=field,
        sent=sent,
        lifetime=lifetime,
        refresh_after=latest * (1 - JITTER_SHARE * jitter) if refreshable else math.inf,
        usable_for=(
            lifetime.seconds - min(UNUSABLE_SHARE * lifetime.seconds, UNUSABLE_SECONDS) if lifetime.known else math.inf
        ),
    )


def credential_field(header: str, template: str, value: str) -> bytes:
    """Makes the header line that carries `value` in the place of `{token}` in `template`.

    Raises ValueError, without the value, if it is empty or holds what no field may hold (RFC 9110, 5.5).
    """
    if not value or not (value.isascii() and value.isprintable()):
        raise ValueError("is empty or holds characters that a header field cannot hold")
    return f"{header.lower()}: {template.replace('{token}', value)}\r\n".encode("ascii")


def remaining(now: Moment, token: AccessToken) -> float:
    """Seconds for which the token may still be used; infinite when it does not expire."""
    return token.usable_for - (now.monotonic - token.sent.monotonic)


def decide(
    now: Moment,
    token: AccessToken | None,
    *,
    refused: bool = False,
    accepted: bool = False,
    in_flight: bool = False,
    not_before: float,
) -> Decision:
    """Decides what a call that comes now does.

    use: take the token. refresh: take it, and start a refresh. wait: for the refresh, which has to be started unless
    one is in flight. fail: there is no token and no request for one is due.
    refused, accepted: what the backend has said of the token. not_before: monotonic time before which the token service
    is not called again.
    """
    may_start = not in_flight and now.monotonic >= not_before
    obtainable = in_flight or may_start
    if token is None or remaining(now, token) <= 0:
        return "wait" if obtainable else "fail"
    if refused and not accepted and obtainable:
        return "wait"
    age = max(now.monotonic - token.sent.monotonic, now.wall - token.sent.wall)
    return "refresh" if may_start and (refused or age >= token.refresh_after) else "use"


def pause_after_failure(failures: int, *, retry_after: float | None, left: float | None, jitter: float) -> float:
    """Seconds until the next attempt: as the token service requests, else exponential with full jitter.

    failures: in a row, from 1. left: seconds for which the held token may still be used, None without one. At most
    a minute and half of what is left, at least a second.
    """
    pause = jitter * 2.0 ** min(failures, 6) if retry_after is None else retry_after
    longest = LONGEST_PAUSE_SECONDS if left is None else min(LONGEST_PAUSE_SECONDS, left / 2)
    return max(min(pause, longest), SHORTEST_PAUSE_SECONDS)
