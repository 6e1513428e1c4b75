"""What a backend's refusal of an access token means. Pure: the clock is an argument.

A refusal speaks against one of three: the token, the call, or the backend as a whole. Which one it is shows in what
else the backend accepts, so the rules are:

1. A call that is refused with an older token than the current one takes the current one.
2. A request that was sent later and succeeded with the same token speaks for the token: the call is repeated with it
   once. A second refusal asks for a fresh token.
3. A refusal of a fresh token, while other calls succeed with it, is about what was called. It is remembered for that
   model or route, and further refusals of it are passed on without a refresh for 1, 2, 4 ... 60 s.
4. Between two refreshes that refusals force lies a floor. It is `floor` while refreshed tokens are accepted, and a
   refusal within it waits, since the token may have been revoked once more. It doubles up to 60 s while refreshed
   tokens are refused, and a refusal within it is passed on at once.
"""

import math
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["superseded", "repeat", "refresh", "uncured", "remembered", "too_soon"]

LONGEST_SECONDS = 60.0
MOST_STEPS = 6
MOST_SUBJECTS = 256
MOST_REPLAYS = 3
"""Of one call, whatever the reason of each."""
REFUSAL_CODES = frozenset(
    {
        "401",
        "access_token_expired",
        "expired_token",
        "expiredtoken",
        "invalid_access_token",
        "invalid_token",
        "token_expired",
    }
)
"""Values of `code` or `type`, in lower case, by which an error object says that the token is not accepted."""


def is_refusal(status: int, *, invalid_token: bool = False, code: object = None, kind: object = None) -> bool:
    """Tells whether a response says that the access token is not accepted.

    invalid_token: its `www-authenticate` says so (RFC 6750, 3.1). code, kind: `code` and `type` of the error object in
    the body of an error, or in the first event of a stream; None without one.
    """
    if status == 401 or (status >= 400 and invalid_token):
        return True
    return any(str(word).lower() in REFUSAL_CODES for word in (code, kind) if isinstance(word, (int, str)))


def judge(
    now: float,
    refused: int,
    current: int,
    *,
    sent_at: float,
    accepted_at: float,
    refused_before: tuple[int, ...],
    remembered: bool,
    in_flight: bool,
    forced_at: float,
    floor: float,
) -> Verdict:
    """Judges one refusal. Times are seconds on the monotonic clock, tokens are named by their generation.

    sent_at: when the refused request was sent. accepted_at: when the latest request was sent that succeeded with the
    current token; minus infinity without one. refused_before: the tokens that were refused for the same call earlier.
    remembered: rule 3 holds. in_flight: the next token is being fetched. forced_at, floor: the latest refresh that a
    refusal forced, and the least time until the next one.

    repeat: send the call again with the same token. refresh: send it with the next one. superseded: with the current
    one. All others end the call.
    """
    if len(refused_before) >= MOST_REPLAYS:
        return "uncured"
    if refused != current:
        return "superseded"
    if remembered:
        return "remembered"
    fresh = bool(refused_before) and refused_before[0] < refused
    if accepted_at > sent_at:
        if not refused_before:
            return "repeat"
        return "uncured" if fresh else "refresh"
    if fresh and (accepted_at == -math.inf or len(refused_before) > 1):
        return "uncured"
    if not in_flight and accepted_at == -math.inf and now - forced_at < floor:
        return "too_soon"
    return "refresh"


def doubled(seconds: float, step: int) -> float:
    """`seconds`, doubled `step` times, at most a minute unless it is longer from the start."""
    return max(seconds, min(seconds * 2.0 ** min(step, MOST_STEPS), LONGEST_SECONDS))


@dataclass(slots=True)
class _Entry:
    until: float
    step: int


class RefusalMemory:
    """The models and routes whose refusal a fresh token did not cure (rule 3)."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def add(self, subject: str, now: float) -> None:
        """A fresh token was refused for `subject`."""
        entry = self._entries.pop(subject, None)
        step = 0 if entry is None or now > entry.until + LONGEST_SECONDS else entry.step + 1
        if len(self._entries) >= MOST_SUBJECTS:
            del self._entries[next(iter(self._entries))]
        self._entries[subject] = _Entry(now + doubled(1.0, step), step)

    def holds(self, subject: str, now: float) -> bool:
        """A refusal of `subject` is passed on without a refresh."""
        entry = self._entries.get(subject)
        return entry is not None and now < entry.until

    def clear(self) -> None:
        """Other tokens are obtained from now on."""
        self._entries.clear()
