"""The only writer of the current access token.

One flight: whoever needs a refresh joins the one that is under way. It belongs to the source, so nobody's leaving ends
it. What to do is decided in `token.py`; here it is done, and whoever waited is told.
"""

import asyncio
import contextvars
import dataclasses
import logging
import math
from collections.abc import Callable
from typing import Protocol

from mimic_proxy.errors import MimicError, ShuttingDown, TokenRejected, TokenUnavailable, UpstreamAuthFailed
from mimic_proxy.telemetry.observation import (
    MOST_LINKS,
    RefreshObservation,
    RefreshResult,
    RefreshTrigger,
    SpanLink,
    Trace,
)
from mimic_proxy.telemetry.readings import TokenState
from mimic_proxy.tokens.explanation import Explanation
from mimic_proxy.tokens.recipe import Grant
from mimic_proxy.tokens.refresh import Attempt, Refresher, TokenPolicy, Trouble
from mimic_proxy.tokens.service import Post
from mimic_proxy.tokens.token import (
    AccessToken,
    Decision,
    Moment,
    decide,
    pause_after_failure,
    remaining,
    weigh_refusal,
)

logger = logging.getLogger("mimic.tokens")

Waiter = Callable[[AccessToken | MimicError], None]


class Timer(Protocol):
    """What `call_later` returns."""

    def cancel(self) -> None: ...


CallLater = Callable[[float, Callable[[], None]], Timer]

REJECTED_PAUSE_SECONDS = 60.0
MISSING_PAUSE_SECONDS = 1.0
"""Between two looks for a secret's file: they cost the token service nothing."""
WALL_LOOK_SECONDS = 0.01
"""For so long a token that was found usable is handed out on one look at the monotonic clock."""
SHORTEST_ALARM_SECONDS = 0.001
LONGEST_FAREWELL_SECONDS = 15.0
"""The longest that a stop waits for a call which may bring a refresh token."""


def from_loop(delay: float, callback: Callable[[], None]) -> Timer:
    """`call_later` of the running event loop."""
    return asyncio.get_running_loop().call_later(delay, callback)


class TokenSource:
    """Hands out the access token, and fetches the next one in time.

    All methods belong to the event loop's thread. clock, wall: monotonic and Unix seconds; chance: a random number
    from 0 to 1. observe: is told of each call to the token service. begin_span: gives a refresh its span, by the
    sampled exchange that started it if one did.
    """

    def __init__(
        self,
        grant: Grant,
        policy: TokenPolicy,
        *,
        post: Post,
        clock: Callable[[], float],
        wall: Callable[[], float],
        chance: Callable[[], float],
        observe: Callable[[RefreshObservation], None],
        begin_span: Callable[[SpanLink | None], SpanLink | None] = lambda trigger: None,
        call_later: CallLater = from_loop,
    ) -> None:
        self._refresher = Refresher(grant, policy, post=post, clock=clock, wall=wall, chance=chance)
        self._policy = policy
        self._clock = clock
        self._wall = wall
        self._chance = chance
        self._observe = observe
        self._begin_span = begin_span
        self._call_later = call_later
        self._waiters = Waiters(policy.patience, self._late, clock=clock, call_later=call_later)
        self._flight: asyncio.Task[Attempt] | None = None
        self._alarm: Timer | None = None
        self._closed = False
        self._token: AccessToken | None = None
        self._fresh_until = -math.inf
        self._condemned = False
        self._accepted_at = -math.inf
        self._forced_at = -math.inf
        self._trouble: Trouble | None = None
        self._failures = 0
        self._not_before = -math.inf
        self._last_result: RefreshResult | None = None
        self._coalesced = 0
        self._span: SpanLink | None = None
        self._links: list[SpanLink] = []

    def obtain(self, waiter: Waiter, trace: Trace | None = None) -> AccessToken | MimicError | None:
        """The token, or the error that says why there is none, or None: then `waiter` is told one of them later.

        trace: of whoever asks.
        """
        if self._clock() < self._fresh_until:
            return self._token
        now = self._now()
        decision = self._decide(now)
        if decision in ("refresh", "wait"):
            joined = self._flight is not None
            self._begin(self._reason(now), trace)
            if decision == "wait" and self._flight is not None:
                self._coalesced += joined
                if joined:
                    self._link(trace)
                self._waiters.park(waiter)
                return None
        token = self._usable(now)
        if token is None:
            return self._error()
        self._fresh_until = min(now.monotonic + WALL_LOOK_SECONDS, token.sent.monotonic + token.usable_for)
        return token

    def replace(
        self, refused: AccessToken, sent_at: float, waiter: Waiter, trace: Trace | None = None
    ) -> AccessToken | MimicError | None:
        """As `obtain`, for a request that the backend refused (401) with `refused`.

        sent_at: when that request went out, on the clock of `accepted`. UpstreamAuthFailed when no other token is to
        be had now. The same token comes back if the backend took it for another request meanwhile.
        """
        now = self._clock()
        verdict = weigh_refusal(
            now,
            refused,
            self._token,
            sent_at=sent_at,
            accepted_at=self._accepted_at,
            condemned=self._condemned,
            forced_at=self._forced_at,
            floor=self._policy.floor,
        )
        if verdict == "superseded":
            return self.obtain(waiter, trace)
        final = self._refresher.no_other()
        if final is None and verdict == "proven":
            return self._token
        if final is None and verdict == "too_soon":
            final = (
                f"The backend refused an access token that was refreshed {now - self._forced_at:.1f} s ago. Check that "
                f"{self._refresher.issuer} issues tokens for this backend, and that they may use what was asked for."
            )
        if final is not None:
            return UpstreamAuthFailed(final, should_retry=False, error_type="unauthorized")
        logger.info("the backend refused access token %d", refused.generation)
        self._condemned = True
        self._forced_at = now
        self._fresh_until = -math.inf
        return self.obtain(waiter, trace)

    def accepted(self, token: AccessToken, now: float) -> None:
        """The backend answered 2xx to a request with `token`, at `now` on the clock of `sent_at`."""
        if token is self._token:
            self._accepted_at = now

    def leave(self, waiter: Waiter) -> None:
        """`waiter` is not to be called any more. Ends no flight."""
        self._waiters.leave(waiter)

    def start(self) -> None:
        """Fetches the first token and keeps it fresh from then on; returns at once."""
        self._begin("startup")

    async def close(self) -> None:
        """Ends the flight and tells whoever waits that Mimic stops."""
        self._closed = True
        self._disarm()
        self._waiters.answer(self._error())
        flight = self._flight
        if flight is not None:
            if self._refresher.keeps_refresh_tokens:
                # Its answer may hold the only refresh token that works from then on. TOKEN_TIMEOUT limits the call.
                await asyncio.wait([flight], timeout=LONGEST_FAREWELL_SECONDS)
            flight.cancel()
            await asyncio.wait([flight])
        self._refresher.close()

    def secrets_changed(self) -> bool:
        """Looks whether the secret is a new one: then it is used at once. A flight looks for itself when it ends.

        False: its file cannot be used, the old one stays.
        """
        if self._refresher.secret_changed() and self._flight is None:
            self._forgive()
            self._begin("config")
        return self._refresher.secret_readable

    def explanation(self) -> Explanation | None:
        """Of the last call to the token service; None before it."""
        return self._refresher.explanation

    def state(self) -> TokenState:
        """What may be shown at this moment."""
        now, token, due = self._now(), self._token, self._due()
        scheduled = token is not None and math.isfinite(token.refresh_after)
        return TokenState(
            required=self._refresher.recipe is not None,
            held=self._usable(now) is not None,
            generation=token.generation if token else 0,
            issued=token.issued if token else None,
            expires=token.expires if token else None,
            lifetime=token.lifetime.seconds if token and math.isfinite(token.lifetime.seconds) else None,
            refresh_margin=token.lifetime.seconds - token.refresh_after if token and scheduled else None,
            last_result=self._last_result,
            trouble=self._trouble.sentence if self._trouble else None,
            consecutive_failures=self._failures,
            next_refresh=now.wall + max(due - now.monotonic, 0.0) if math.isfinite(due) else None,
            in_flight=self._flight is not None,
            waiters=len(self._waiters),
            coalesced=self._coalesced,
        )

    def _now(self) -> Moment:
        return Moment(self._clock(), self._wall())

    def _decide(self, now: Moment) -> Decision:
        flying = self._flight is not None
        return decide(now, self._token, condemned=self._condemned, in_flight=flying, not_before=self._not_before)

    def _usable(self, now: Moment) -> AccessToken | None:
        token = self._token
        return token if token is not None and not self._condemned and remaining(now, token) > 0 else None

    def _reason(self, now: Moment) -> RefreshTrigger:
        if self._token is None:
            return "startup"
        if self._condemned:
            return "unauthorized"
        return "proactive" if self._usable(now) else "expired"

    def _begin(self, trigger: RefreshTrigger, trace: Trace | None = None) -> None:
        """Starts the flight unless one is under way; a grant without a token service is settled at once."""
        if self._closed or self._flight is not None:
            return
        self._disarm()
        recipe = self._refresher.recipe
        generation = self._token.generation + 1 if self._token else 1
        if recipe is None:
            self._settle(self._refresher.mint(generation), trigger)
            return
        self._links.clear()
        self._link(trace)
        self._span = self._begin_span(self._links[0] if self._links else None)
        # An empty context: the flight is shared, it is no part of the request that happened to start it.
        self._flight = asyncio.get_running_loop().create_task(
            self._refresher.fetch(recipe, generation), name="token refresh", context=contextvars.Context()
        )
        self._flight.add_done_callback(lambda flight: self._land(flight, trigger))

    def _link(self, trace: Trace | None) -> None:
        """The refresh under way is what a sampled exchange waits for."""
        if trace is not None and trace.sampled and len(self._links) < MOST_LINKS:
            # The SERVER span: an exchange that gets no token never has another.
            self._links.append(SpanLink(trace.trace_id, trace.span_id, True))

    def _land(self, flight: asyncio.Task[Attempt], trigger: RefreshTrigger) -> None:
        self._flight = None
        if flight.cancelled():
            return
        error = flight.exception()
        if self._closed:
            return
        if error is None:
            attempt = flight.result()
        else:
            attempt = Attempt(Trouble(f"The token refresh broke ({type(error).__name__}).", "bad_response"))
        waiters, changed = len(self._waiters), self._refresher.secret_changed()
        span, links = self._span, tuple(self._links)
        if span is not None and isinstance(attempt.outcome, AccessToken):
            attempt = dataclasses.replace(attempt, outcome=dataclasses.replace(attempt.outcome, refresh=span))
        # A failure of a secret that is not the present one any more counts for nothing; who waits goes on waiting.
        if not changed or isinstance(attempt.outcome, AccessToken):
            self._settle(attempt, trigger)
        if changed:
            self._forgive()
            self._begin("config")
        if attempt.result is not None:
            seen = attempt.observation(attempt.result, trigger, waiters)
            self._observe(dataclasses.replace(seen, started=self._clock() - attempt.seconds, span=span, links=links))

    def _settle(self, attempt: Attempt, trigger: RefreshTrigger) -> None:
        self._last_result = attempt.result or self._last_result
        if isinstance(attempt.outcome, AccessToken):
            self._adopt(attempt.outcome, trigger, attempt.seconds)
            self._waiters.answer(attempt.outcome)
        else:
            self._stand_by(attempt.outcome, trigger)
            self._waiters.answer(self._error())
        self._arm()

    def _adopt(self, token: AccessToken, trigger: RefreshTrigger, seconds: float) -> None:
        if trigger == "unauthorized":
            self._forced_at = self._clock()
            if self._token is not None and token.value == self._token.value:
                logger.warning("%s issued again the access token that the backend refused", self._refresher.issuer)
        self._token = token
        self._condemned = False
        self._accepted_at = -math.inf
        self._forgive()
        if math.isinf(token.lifetime.seconds):
            logger.info("access token %d (%s) from %s", token.generation, trigger, self._refresher.issuer)
            return
        logger.info(
            "access token %d (%s) from %s in %.3f s: %s lifetime %g s, next refresh after %.0f s",
            token.generation,
            trigger,
            self._refresher.issuer,
            seconds,
            "known" if token.lifetime.known else "assumed",
            token.lifetime.seconds,
            token.refresh_after,
        )

    def _forgive(self) -> None:
        self._trouble = None
        self._failures = 0
        self._not_before = -math.inf

    def _stand_by(self, trouble: Trouble, trigger: RefreshTrigger) -> None:
        now = self._now()
        held = self._usable(now)
        left = remaining(now, held) if held else None
        self._failures += trouble.result is not None
        if trouble.rejected:
            pause = REJECTED_PAUSE_SECONDS
        elif trouble.result is None:
            pause = MISSING_PAUSE_SECONDS
        else:
            asked = trouble.retry_after
            pause = pause_after_failure(self._failures, retry_after=asked, left=left, jitter=self._chance())
        self._not_before = now.monotonic + pause
        if trouble.result is not None or trouble != self._trouble:
            level = logging.ERROR if trouble.rejected else logging.WARNING
            serves = "no token is held" if left is None else f"the present token serves for {left:.0f} s more"
            logger.log(level, "%s (%s; %s; next try in %.1f s)", trouble.sentence, trigger, serves, pause)
        self._trouble = trouble

    def _error(self) -> MimicError:
        """What a request is told when there is no token for it."""
        if self._closed:
            return ShuttingDown("Mimic is stopping.", retry_after=1.0)
        if self._trouble is None:
            return self._late()
        if self._trouble.rejected:
            return TokenRejected(self._trouble.sentence, should_retry=False)
        return TokenUnavailable(self._trouble.sentence, retry_after=self._not_before - self._clock())

    def _late(self) -> MimicError:
        sentence = f"There was no access token within {self._policy.patience:g} s: {self._refresher.issuer} is slow."
        return TokenUnavailable(sentence, retry_after=MISSING_PAUSE_SECONDS)

    def _due(self) -> float:
        """Monotonic time of the next refresh that starts by itself; infinite when none will."""
        if self._closed or self._flight is not None:
            return math.inf
        token = self._usable(self._now())
        if token is None:
            return self._not_before if self._trouble else math.inf
        return max(token.sent.monotonic + token.refresh_after, self._not_before)

    def _arm(self) -> None:
        self._disarm()
        due = self._due()
        if math.isfinite(due):
            self._alarm = self._call_later(max(due - self._clock(), SHORTEST_ALARM_SECONDS), self._ring)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _ring(self) -> None:
        self._alarm = None
        now = self._now()
        if self._decide(now) in ("refresh", "wait"):
            self._begin(self._reason(now))
        else:
            self._arm()


class Waiters:
    """Waiters in the order they came. Every one is called from the event loop itself, never from within `answer`.

    clock: monotonic seconds. patience: seconds after which a waiter gets what `late` makes.
    """

    def __init__(
        self, patience: float, late: Callable[[], MimicError], *, clock: Callable[[], float], call_later: CallLater
    ) -> None:
        self._patience = patience
        self._late = late
        self._clock = clock
        self._call_later = call_later
        self._deadlines: dict[Waiter, float] = {}
        self._told: set[Waiter] = set()
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._deadlines) - len(self._told)

    def park(self, waiter: Waiter) -> None:
        """Keeps `waiter` until the next answer."""
        self._deadlines[waiter] = self._clock() + self._patience
        if self._timer is None:
            self._timer = self._call_later(self._patience, self._look)

    def leave(self, waiter: Waiter) -> None:
        """`waiter` will not be called any more; unknown ones are ignored."""
        self._deadlines.pop(waiter, None)
        self._told.discard(waiter)

    def answer(self, result: AccessToken | MimicError) -> None:
        """Tells all who wait now."""
        for waiter in self._deadlines:
            self._tell(waiter, result)
        self._rest()

    def _tell(self, waiter: Waiter, result: AccessToken | MimicError) -> None:
        # A turn of the loop each: a waiter that raises harms no other, and one that leaves meanwhile is not called.
        self._told.add(waiter)
        asyncio.get_running_loop().call_soon(self._deliver, waiter, result)

    def _deliver(self, waiter: Waiter, result: AccessToken | MimicError) -> None:
        if waiter in self._told:
            self.leave(waiter)
            waiter(result)

    def _look(self) -> None:
        self._timer = None
        now = self._clock()
        oldest = None
        for waiter, deadline in self._deadlines.items():
            if deadline > now:
                oldest = deadline
                break
            self._tell(waiter, self._late())
        if oldest is not None:
            self._timer = self._call_later(oldest - now, self._look)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
