"""The only writer of the current access token.

Single flight: every call that needs a refresh joins the one that is under way. The refresh belongs to the source, so no
caller that leaves ends it. There is one source for the life of the process: other settings apply to it, and the token
that it holds stays until its successor is there. `token` and `refusals` decide; this module acts and informs waiters.
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
from mimic_proxy.telemetry.port import TokenState
from mimic_proxy.tokens.explanation import Explanation
from mimic_proxy.tokens.recipe import Grant
from mimic_proxy.tokens.refresh import Attempt, Refresher, TokenPolicy, Trouble
from mimic_proxy.tokens.refusals import RefusalMemory, doubled, judge
from mimic_proxy.tokens.service import Post
from mimic_proxy.tokens.token import AccessToken, Decision, Moment, decide, pause_after_failure, remaining

logger = logging.getLogger("mimic.tokens")

Waiter = Callable[[AccessToken | MimicError], None]


class Timer(Protocol):
    """What `call_later` returns."""

    def cancel(self) -> None: ...


CallLater = Callable[[float, Callable[[], None]], Timer]

REJECTED_PAUSE_SECONDS = 60.0
MISSING_PAUSE_SECONDS = 1.0
"""Until the next look for a secret's file: it costs the token service nothing."""
DEMAND_PAUSE_SECONDS = 5.0
"""Without a token a call triggers the next attempt so long after a failed one, before the scheduled time."""
UNREACHABLE_PAUSE_SECONDS = 1.0
"""The same where no connection was made: such an attempt costs the token service nothing."""
REQUESTED_PAUSE_SECONDS = 1.0
"""Between two refreshes that an operator requests."""
WALL_LOOK_SECONDS = 0.01
"""For so long a usable token is handed out without a look at the wall clock."""
SHORTEST_ALARM_SECONDS = 0.001
LONGEST_CLOSE_SECONDS = 15.0
"""The longest that a stop waits for a response that may hold a refresh token."""
REMEMBERED = "The backend refuses access tokens for this model or route, also new ones. Check what they may access."
UNCURED = "The backend refused the access token again after it was refreshed. Check what it may access."


def from_loop(delay: float, callback: Callable[[], None]) -> Timer:
    """`call_later` of the running event loop."""
    return asyncio.get_running_loop().call_later(delay, callback)


class TokenSource:
    """Hands out the access token, and fetches the next one in time.

    All methods belong to the event loop's thread. clock, wall: monotonic and Unix seconds; jitter: a random number
    from 0 to 1. observe: receives each request to the token service. begin_span: makes the span of a refresh, given
    the sampled exchange that started it, if one did.
    """

    def __init__(
        self,
        grant: Grant,
        policy: TokenPolicy,
        *,
        post: Post,
        clock: Callable[[], float],
        wall: Callable[[], float],
        jitter: Callable[[], float],
        observe: Callable[[RefreshObservation], None],
        begin_span: Callable[[SpanLink | None], SpanLink | None] = lambda trigger: None,
        call_later: CallLater = from_loop,
    ) -> None:
        self._refresher = Refresher(grant, policy, post=post, clock=clock, wall=wall, jitter=jitter)
        self._policy = policy
        self._clock = clock
        self._wall = wall
        self._jitter = jitter
        self._observe = observe
        self._begin_span = begin_span
        self._call_later = call_later
        self._waiters = Waiters(policy.patience, self._late, clock=clock, call_later=call_later)
        self._flight: asyncio.Task[Attempt] | None = None
        self._alarm: Timer | None = None
        self._closed = False
        self._token: AccessToken | None = None
        self._fresh_until = -math.inf
        self._forced = False
        """A refusal has forced the refresh that obtained the token."""
        self._accepted_at = -math.inf
        self._refused_at = math.inf
        """When the backend refused the token; infinite if it did not, or accepted it afterwards."""
        self._forced_at = -math.inf
        self._forced_steps = 0
        """Consecutive refreshes that a refusal forced and whose token was never accepted."""
        self._memory = RefusalMemory()
        self._trouble: Trouble | None = None
        self._failures = 0
        self._not_before = -math.inf
        self._on_demand_after = -math.inf
        self._started_at = -math.inf
        self._last_result: RefreshResult | None = None
        self._coalesced = 0
        self._span: SpanLink | None = None
        self._links: list[SpanLink] = []

    # ---- what calls use

    def obtain(self, waiter: Waiter, trace: Trace | None = None, once: bool = False) -> AccessToken | MimicError | None:
        """Returns the token, or the error that says why there is none, or None: `waiter` is then called with either.

        trace: of the call. once: it cannot be repeated, and does not take a token whose successor is being fetched.
        """
        if self._clock() < self._fresh_until:
            return self._token
        now = self._now()
        decision = self._decide(now, once=once)
        if decision in ("refresh", "wait"):
            joined = self._flight is not None
            self._begin(self._reason(now), trace)
            if decision == "wait" and self._flight is not None:
                self._wait(waiter, trace, joined=joined)
                return None
        token = self._token
        if token is None or remaining(now, token) <= 0:
            return self._error()
        if self._refused_at == math.inf:
            self._fresh_until = min(now.monotonic + WALL_LOOK_SECONDS, token.sent.monotonic + token.usable_for)
        return token

    def replace(
        self,
        refused: AccessToken,
        sent_at: float,
        waiter: Waiter,
        trace: Trace | None = None,
        subject: str = "",
        refused_before: tuple[int, ...] = (),
    ) -> AccessToken | MimicError | None:
        """Returns what `obtain` does, for a call whose request the backend refused with `refused`.

        sent_at: when that request was sent. subject: the model or route of the call. refused_before: the generations
        that were refused for it earlier. UpstreamAuthFailed if no other token would help. The same token is returned if
        the backend has accepted it for a later request.
        """
        now, current = self._clock(), self._token
        if current is None:
            return self.obtain(waiter, trace)
        floor = self._policy.floor
        if self._forced and self._accepted_at == -math.inf:
            floor = doubled(floor, self._forced_steps)
        verdict = judge(
            now,
            refused.generation,
            current.generation,
            sent_at=sent_at,
            accepted_at=self._accepted_at,
            refused_before=refused_before,
            remembered=self._memory.holds(subject, now),
            in_flight=self._flight is not None,
            forced_at=self._forced_at,
            floor=floor,
        )
        if verdict == "superseded":
            return self.obtain(waiter, trace)
        final = self._refresher.no_other()
        if final is None and verdict == "repeat":
            return current
        if verdict == "uncured":
            self._memory.add(subject, now)
            final = final or UNCURED
        elif verdict == "remembered":
            final = final or REMEMBERED
        elif verdict == "too_soon":
            final = final or (
                f"The backend refused an access token that was refreshed {now - self._forced_at:.1f} s ago. Check that "
                f"{self._refresher.issuer} issues tokens for this backend, and what they may access."
            )
        if final is not None:
            return UpstreamAuthFailed(final, should_retry=False, error_type="unauthorized")
        logger.info("the backend refused access token %d", refused.generation)
        return self._force(now, floor, waiter, trace)

    def hopeless(self, refused: AccessToken, subject: str, refused_before: tuple[int, ...]) -> bool:
        """Tells whether no other token would help a call that was refused by a status that can mean something else.

        Such a refusal is passed on as it came: after one refresh, or at once where one has not helped before.
        """
        now = self._clock()
        if refused_before and refused.generation > refused_before[0]:
            self._memory.add(subject, now)
            return True
        return self._memory.holds(subject, now) or self._refresher.no_other() is not None

    def _force(self, now: float, floor: float, waiter: Waiter, trace: Trace | None) -> MimicError | None:
        """The backend refused the current token: the call waits for the next one."""
        self._refused_at = min(self._refused_at, now)
        self._fresh_until = -math.inf
        joined = self._flight is not None
        if not joined:
            if now < self._on_demand_after:
                return self._error()
            never_accepted = self._forced and self._accepted_at == -math.inf
            self._forced_steps = self._forced_steps + 1 if never_accepted else 0
            self._begin("unauthorized", trace, delay=max(self._forced_at + floor - now, 0.0))
        self._forced_at = max(now, self._forced_at)
        if self._flight is None:
            return self._error()
        self._wait(waiter, trace, joined=joined)
        return None

    def accepted(self, token: AccessToken, sent_at: float) -> None:
        """The backend answered 2xx to a request that was sent with `token` at `sent_at`."""
        if token is self._token and sent_at > self._accepted_at:
            self._accepted_at = sent_at
            if sent_at > self._refused_at:
                self._refused_at = math.inf

    def leave(self, waiter: Waiter) -> None:
        """`waiter` is not called any more. Ends no refresh."""
        self._waiters.leave(waiter)

    # ---- what the process uses

    def start(self) -> None:
        """Fetches the first token and keeps it fresh from then on; returns at once."""
        self._begin("startup")

    def apply(self, grant: Grant, policy: TokenPolicy, post: Post) -> None:
        """Other settings hold from now on. The token stays until its successor is there.

        A successor is fetched at once if tokens are requested for someone or something else, or if attempts fail.
        """
        self._policy = policy
        self._refresher.apply(grant, policy, post)
        if self._token is not None:
            self._token = self._refresher.formatted(self._token)
        self._fresh_until = -math.inf
        flight = self._flight
        if flight is not None and not self._refresher.critical and self._refresher.outdated(failed=True):
            self._flight = None
            flight.cancel()
            self._renew()
        elif flight is None and self._refresher.outdated(failed=self._trouble is not None):
            self._renew()

    def refresh(self) -> None:
        """An operator requests a refresh: it starts whatever failed before, at most once a second."""
        if self._clock() - self._started_at >= REQUESTED_PAUSE_SECONDS:
            self._reset_backoff()
            self._begin("requested")

    def secrets_changed(self) -> bool:
        """Uses a changed secret at once; if a refresh is under way, it checks for itself when it ends.

        False: a file cannot be used, the last value stays in use.
        """
        if self._flight is None and self._refresher.outdated(failed=False):
            self._renew()
        return self._refresher.secrets_readable

    async def close(self, within: float = LONGEST_CLOSE_SECONDS) -> None:
        """Ends the refresh that is under way and informs waiters that Mimic stops.

        within: seconds to wait for a response that may hold the only refresh token that works from then on.
        """
        self._closed = True
        self._disarm()
        self._waiters.resolve(self._error())
        flight = self._flight
        if flight is not None:
            if self._refresher.critical:
                await asyncio.wait([flight], timeout=min(max(within, 0.0), LONGEST_CLOSE_SECONDS))
            flight.cancel()
            await asyncio.wait([flight])
        self._refresher.close()

    def explanation(self) -> Explanation | None:
        """Explains the last request to the token service; None before the first one."""
        return self._refresher.explanation

    def state(self) -> TokenState:
        """Returns what may be shown now."""
        now, token, due = self._now(), self._token, self._due()
        never_accepted = self._refused_at < math.inf and self._accepted_at == -math.inf
        scheduled = token is not None and math.isfinite(token.refresh_after)
        return TokenState(
            required=self._refresher.recipe is not None,
            held=self._usable(now) is not None and not never_accepted,
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

    # ---- decisions

    def _now(self) -> Moment:
        return Moment(self._clock(), self._wall())

    def _decide(self, now: Moment, *, once: bool = False) -> Decision:
        usable = self._usable(now) is not None
        return decide(
            now,
            self._token,
            refused=self._refused_at < math.inf,
            accepted=self._accepted_at > -math.inf and not once,
            in_flight=self._flight is not None,
            not_before=self._not_before if usable else self._on_demand_after,
        )

    def _usable(self, now: Moment) -> AccessToken | None:
        token = self._token
        return token if token is not None and remaining(now, token) > 0 else None

    def _reason(self, now: Moment) -> RefreshTrigger:
        if self._token is None:
            return "startup"
        if self._refused_at < math.inf:
            return "unauthorized"
        return "proactive" if self._usable(now) else "expired"

    # ---- one refresh

    def _wait(self, waiter: Waiter, trace: Trace | None, *, joined: bool) -> None:
        if joined:
            self._coalesced += 1
            self._link(trace)
        self._waiters.add(waiter)

    def _begin(self, trigger: RefreshTrigger, trace: Trace | None = None, *, delay: float = 0.0) -> None:
        """Starts a refresh after `delay` seconds, unless one is under way."""
        if self._closed or self._flight is not None:
            return
        self._disarm()
        self._started_at = self._clock()
        generation = self._token.generation + 1 if self._token else 1
        if self._refresher.recipe is None and not self._refresher.unsettled():
            self._resolve(self._refresher.mint(generation), trigger)
            return
        self._links.clear()
        self._link(trace)
        self._span = self._begin_span(self._links[0] if self._links else None)
        # An empty context: the refresh is shared, it is no part of the call that happened to start it.
        self._flight = asyncio.get_running_loop().create_task(
            self._fetch(generation, delay), name="token refresh", context=contextvars.Context()
        )
        self._flight.add_done_callback(lambda flight: self._refresh_done(flight, trigger))

    async def _fetch(self, generation: int, delay: float) -> Attempt:
        if delay > 0:
            await self._sleep(delay)
        if (unsettled := self._refresher.unsettled()) > 0:
            await self._sleep(unsettled)
        return await self._refresher.fetch(generation)

    async def _sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        timer = self._call_later(seconds, woken.set)
        try:
            await woken.wait()
        finally:
            timer.cancel()

    def _link(self, trace: Trace | None) -> None:
        """Links the refresh under way with a sampled exchange that waits for it."""
        if trace is not None and trace.sampled and len(self._links) < MOST_LINKS:
            # The SERVER span: an exchange that gets no token never has another.
            self._links.append(SpanLink(trace.trace_id, trace.span_id, True))

    def _refresh_done(self, flight: asyncio.Task[Attempt], trigger: RefreshTrigger) -> None:
        if self._flight is flight:
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
        waiters, succeeded = len(self._waiters), isinstance(attempt.outcome, AccessToken)
        outdated = self._refresher.outdated(failed=not succeeded)
        span, links = self._span, tuple(self._links)
        if span is not None and isinstance(attempt.outcome, AccessToken):
            attempt = dataclasses.replace(attempt, outcome=dataclasses.replace(attempt.outcome, refresh=span))
        # A failure with settings or secrets that hold no longer does not count, and waiters go on waiting.
        if succeeded or not outdated:
            self._resolve(attempt, trigger)
        if outdated:
            self._renew()
        if attempt.result is not None and attempt.called:
            seen = attempt.observation(attempt.result, trigger, waiters)
            self._observe(dataclasses.replace(seen, started=self._clock() - attempt.seconds, span=span, links=links))

    def _resolve(self, attempt: Attempt, trigger: RefreshTrigger) -> None:
        if attempt.called:
            self._last_result = attempt.result or self._last_result
        if isinstance(attempt.outcome, AccessToken):
            self._adopt(attempt.outcome, trigger, attempt.seconds)
            self._waiters.resolve(attempt.outcome)
        else:
            self._back_off(attempt.outcome, trigger)
            self._waiters.resolve(self._error())
        self._arm()

    def _adopt(self, token: AccessToken, trigger: RefreshTrigger, seconds: float) -> None:
        self._forced = trigger == "unauthorized"
        if self._forced:
            self._forced_at = self._clock()
            if self._token is not None and token.value == self._token.value:
                logger.warning("%s issued again the access token that the backend refused", self._refresher.issuer)
        self._token = token
        self._fresh_until = self._accepted_at = -math.inf
        self._refused_at = math.inf
        self._reset_backoff()
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

    def _renew(self) -> None:
        """Tokens are obtained in another way, or with another secret: what failed before does not count."""
        self._memory.clear()
        self._reset_backoff()
        self._begin("config")

    def _reset_backoff(self) -> None:
        self._trouble = None
        self._failures = 0
        self._not_before = self._on_demand_after = -math.inf

    def _back_off(self, trouble: Trouble, trigger: RefreshTrigger) -> None:
        now = self._now()
        held = self._usable(now)
        left = remaining(now, held) if held else None
        self._failures += trouble.result is not None
        demand = DEMAND_PAUSE_SECONDS
        if trouble.rejected:
            pause = demand = REJECTED_PAUSE_SECONDS
        elif trouble.result is None:
            pause = MISSING_PAUSE_SECONDS
        else:
            requested = trouble.retry_after
            pause = pause_after_failure(self._failures, retry_after=requested, left=left, jitter=self._jitter())
            if requested is not None or trouble.result == "throttled":
                demand = pause
            elif trouble.result == "unreachable":
                demand = UNREACHABLE_PAUSE_SECONDS
        self._not_before = now.monotonic + pause
        self._on_demand_after = now.monotonic + min(pause, demand)
        if trouble.result is not None or trouble != self._trouble:
            level = logging.ERROR if trouble.rejected else logging.WARNING
            serves = "no token is held" if left is None else f"the current token serves for {left:.0f} s more"
            logger.log(level, "%s (%s; %s; next attempt in %.1f s)", trouble.sentence, trigger, serves, pause)
        self._trouble = trouble

    def _error(self) -> MimicError:
        """The error for a call for which there is no token."""
        if self._closed:
            return ShuttingDown("Mimic is stopping.", retry_after=1.0)
        if self._trouble is None:
            return self._late()
        if self._trouble.rejected:
            return TokenRejected(self._trouble.sentence, should_retry=False)
        return TokenUnavailable(self._trouble.sentence, retry_after=self._on_demand_after - self._clock())

    def _late(self) -> MimicError:
        sentence = f"There was no access token within {self._policy.patience:g} s: {self._refresher.issuer} is slow."
        return TokenUnavailable(sentence, retry_after=MISSING_PAUSE_SECONDS)

    # ---- the schedule

    def _due(self) -> float:
        """Monotonic time of the next refresh that starts by itself; infinite when none will."""
        if self._closed or self._flight is not None:
            return math.inf
        token = self._usable(self._now())
        if token is None or self._refused_at < math.inf:
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
    """Calls that wait for a refresh, in the order they came: each is called once, from the event loop itself.

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
        self._called: set[Waiter] = set()
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._deadlines) - len(self._called)

    def add(self, waiter: Waiter) -> None:
        """Keeps `waiter` until the next result."""
        self._deadlines[waiter] = self._clock() + self._patience
        if self._timer is None:
            self._timer = self._call_later(self._patience, self._expire)

    def leave(self, waiter: Waiter) -> None:
        """`waiter` will not be called any more; unknown ones are ignored."""
        self._deadlines.pop(waiter, None)
        self._called.discard(waiter)

    def resolve(self, result: AccessToken | MimicError) -> None:
        """Calls all that wait now with `result`."""
        for waiter in self._deadlines:
            self._call(waiter, result)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _call(self, waiter: Waiter, result: AccessToken | MimicError) -> None:
        # A callback of the loop each: a waiter that raises harms no other, and one that leaves meanwhile is not called.
        self._called.add(waiter)
        asyncio.get_running_loop().call_soon(self._deliver, waiter, result)

    def _deliver(self, waiter: Waiter, result: AccessToken | MimicError) -> None:
        if waiter in self._called:
            self.leave(waiter)
            waiter(result)

    def _expire(self) -> None:
        self._timer = None
        now = self._clock()
        oldest = None
        for waiter, deadline in self._deadlines.items():
            if deadline > now:
                oldest = deadline
                break
            self._call(waiter, self._late())
        if oldest is not None:
            self._timer = self._call_later(oldest - now, self._expire)
