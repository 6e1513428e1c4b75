"""One try to get an access token: secret, request, call, answer. Whether and when to try is the source's business."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from mimic_proxy.settings.fields import Settings
from mimic_proxy.telemetry.observation import RefreshObservation, RefreshResult, RefreshTrigger
from mimic_proxy.tokens.explanation import Explanation, advice, explain
from mimic_proxy.tokens.recipe import Grant, Recipe
from mimic_proxy.tokens.response import Failure, Granted, TokenResponse, read_response
from mimic_proxy.tokens.service import Post
from mimic_proxy.tokens.store import RefreshTokens, Secret, StoreError, TokenStore
from mimic_proxy.tokens.token import FOREVER, AccessToken, Lifetime, Moment, credential_field, issue

logger = logging.getLogger("mimic.tokens")

LOST_PAUSE_SECONDS = 60.0
"""Between two tries of a refresh token that may have been used up: some services lock an account after the second."""


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """How tokens are kept and sent. Durations are seconds."""

    header: str
    template: str
    """The field's value, with `{token}` in it."""
    default_lifetime: float
    floor: float
    """At least so long between two refreshes that a backend's 401 forces."""
    patience: float = 15.0
    """The longest that a request waits for a token."""

    @classmethod
    def of(cls, settings: Settings) -> "TokenPolicy":
        """As the settings say."""
        return cls(
            header=settings.token_header,
            template=settings.token_format,
            default_lifetime=settings.token_default_lifetime,
            floor=settings.token_min_refresh_interval,
        )


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no new token, in sentences for the user."""

    sentence: str
    result: RefreshResult | None = None
    """None: the token service was not called."""
    rejected: bool = False
    """It does not heal until somebody changes a setting."""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one try ended. seconds: duration of the call; status: of its answer."""

    outcome: AccessToken | Trouble
    seconds: float = 0.0
    status: int | None = None

    @property
    def result(self) -> RefreshResult | None:
        """None if the token service was not called."""
        return self.outcome.result if isinstance(self.outcome, Trouble) else "success"

    def observation(self, result: RefreshResult, trigger: RefreshTrigger, waiters: int) -> RefreshObservation:
        """What telemetry is told of the call."""
        lifetime = self.outcome.lifetime.seconds if isinstance(self.outcome, AccessToken) else None
        return RefreshObservation(result, trigger, self.seconds, lifetime, self.status, waiters)


class Refresher:
    """Makes tokens of one grant. clock, wall: monotonic and Unix seconds; chance: a random number from 0 to 1."""

    def __init__(
        self,
        grant: Grant,
        policy: TokenPolicy,
        *,
        post: Post,
        clock: Callable[[], float],
        wall: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self.recipe = grant.recipe
        self._grant = grant
        self._policy = policy
        self._post = post
        self._clock = clock
        self._wall = wall
        self._chance = chance
        self._secrets = tuple(Secret(ref) for ref in grant.secrets)
        self._used: tuple[str | None, ...] = ()
        self._spent: str | None = None
        store = None if grant.store is None else TokenStore(grant.store)
        self._rotation = None if grant.refresh is None else RefreshTokens(store)
        self._starts_with_refresh_token = grant.refresh is not None and grant.refresh is grant.recipe
        self._ignores_refresh_tokens = False
        self._remarks: tuple[str, ...] = ()
        self.explanation: Explanation | None = None
        """Of the last call to the token service."""

    @property
    def issuer(self) -> str:
        """Who issues the tokens, for messages."""
        return f"GRANT={self._grant.name}" if self.recipe is None else f"the token service at {self.recipe.origin}"

    def secret_changed(self) -> bool:
        """One of the secrets is another one than that of the last try. Reads their files."""
        return tuple(secret.read() for secret in self._secrets) != self._used and bool(self._secrets)

    @property
    def secret_readable(self) -> bool:
        """The last look at the secrets found all of them."""
        return all(secret.readable for secret in self._secrets)

    @property
    def keeps_refresh_tokens(self) -> bool:
        """A call that is broken off may lose a refresh token."""
        return self._rotation is not None

    def no_other(self) -> str | None:
        """Why no refresh can bring another token than the present one; None if one may."""
        if not self._secrets:
            return f"The backend wants a credential, but GRANT={self._grant.name} sends none: set GRANT."
        name = self._secrets[0].name
        if self.recipe is None:
            return f"The backend refused the access token of {name}: set a valid one."
        if self._spent is not None and self._spent in self._used and not self._turns_in:
            return f"The backend refused the access token, and {name} is used up: set a new one."
        return None

    def close(self) -> None:
        """Gives the store of refresh tokens back."""
        if self._rotation is not None:
            self._rotation.close()

    def mint(self, generation: int) -> Attempt:
        """The token of a grant that asks no token service."""
        if not self._secrets:
            return Attempt(
                issue("", generation, field=b"", sent=self._now(), lifetime=FOREVER, jitter=0, refreshable=False)
            )
        value = self._secrets[0].read()
        self._used = (value,)
        if value is None:
            return self._missing(self._secrets[0])
        try:
            return Attempt(self._issue(value, generation, self._now(), FOREVER))
        except ValueError as error:
            return Attempt(Trouble(f"The access token of {self._secrets[0].name} {error}.", rejected=True))

    async def fetch(self, recipe: Recipe, generation: int) -> Attempt:
        """The token that the token service grants for the present secrets; at most one call.

        Raises only what the port raises against its promise.
        """
        self._used = values = tuple(secret.read() for secret in self._secrets)
        try:
            turned_in = await self._refresh_token(values[0])
        except StoreError as error:
            return Attempt(Trouble(f"TOKEN_STORE={self._grant.store} {error}. Nothing was sent."))
        chosen = recipe if turned_in is None or self._grant.refresh is None else self._grant.refresh
        sent_values = values if turned_in is None else (turned_in, *values[1:])
        for secret, value in zip(self._secrets, sent_values, strict=True):
            if value is None:
                return self._missing(secret)
        if turned_in is None and self._spent is not None and values[0] == self._spent:
            name = self._secrets[0].name
            return Attempt(Trouble(f"{name} buys one access token and is used up: set a new one.", rejected=True))
        return await self._call(chosen, [value for value in sent_values if value is not None], turned_in, generation)

    async def _refresh_token(self, secret: str | None) -> str | None:
        """What to turn in instead of `secret`; None if `secret` itself is to be sent. Raises StoreError."""
        return None if self._rotation is None else await self._rotation.current(secret)

    @property
    def _turns_in(self) -> bool:
        return self._rotation is not None and self._rotation.available

    async def _call(self, recipe: Recipe, values: list[str], turned_in: str | None, generation: int) -> Attempt:
        sent = self._now()
        first = self._secrets[0]
        try:
            if self._grant.prepare is not None:
                values = [self._grant.prepare(values[0], sent.wall), *values[1:]]
        except ValueError as error:
            return Attempt(Trouble(f"{first.name} {error}.", rejected=True))
        try:
            request = recipe.request(*values)
        except ValueError:
            names = " or ".join(secret.name for secret in self._secrets)
            return Attempt(Trouble(f"{names} holds characters that a token request cannot carry.", rejected=True))
        answer = await self._post(request)
        seconds = self._clock() - sent.monotonic
        granted, outcome = self._judge(answer, recipe, generation, sent)
        remarks = () if granted is None else granted.remarks
        failure = outcome if isinstance(outcome, Failure) else None
        self.explanation = explain(recipe, answer, failure, remarks, values)
        if isinstance(outcome, Failure):
            return Attempt(self._explain(outcome, turned_in), seconds, outcome.status)
        if granted is not None:
            await self._keep(granted, turned_in)
            self._remark(granted.remarks)
        return Attempt(outcome, seconds, None if isinstance(answer, Failure) else answer.status)

    def _judge(
        self, answer: TokenResponse | Failure, recipe: Recipe, generation: int, sent: Moment
    ) -> tuple[Granted | None, AccessToken | Failure]:
        if isinstance(answer, Failure):
            return None, answer
        default = self._policy.default_lifetime
        granted = read_response(answer, recipe.pointers, wall=self._wall(), default_lifetime=default)
        if isinstance(granted, Failure):
            return None, granted
        try:
            return granted, self._issue(granted.value, generation, sent, granted.lifetime)
        except ValueError as error:
            detail = f"answered {answer.status} with an access token that {error}"
            return None, Failure("bad_response", detail, answer.status)

    async def _keep(self, granted: Granted, turned_in: str | None) -> None:
        """What the answer means for the next try: kept before the access token is used."""
        secret = self._used[0]
        if self._grant.single_use and turned_in is None:
            self._spent = secret
        if self._rotation is None:
            if granted.refresh_token is not None:
                logger.debug("the refresh token in the answer is not used: the next refresh sends the secret again")
            return
        if turned_in is not None or self._starts_with_refresh_token:
            self._rotation.succeeded()
        if granted.refresh_token in (None, turned_in) or self._ignores_refresh_tokens:
            return
        try:
            await self._rotation.replace(secret, granted.refresh_token or "")
        except StoreError as error:
            logger.error(
                "TOKEN_STORE=%s %s: the new refresh token is in memory only, and lost at the end",
                self._grant.store,
                error,
            )

    def _issue(self, value: str, generation: int, sent: Moment, lifetime: Lifetime) -> AccessToken:
        return issue(
            value,
            generation,
            field=credential_field(self._policy.header, self._policy.template, value),
            sent=sent,
            lifetime=lifetime,
            jitter=self._chance(),
            refreshable=self.recipe is not None,
        )

    def _remark(self, remarks: tuple[str, ...]) -> None:
        """Says what is odd, once while it stays so."""
        for remark in remarks:
            if remark not in self._remarks:
                logger.warning("about the response of %s: %s", self.issuer, remark)
        self._remarks = remarks

    def _missing(self, secret: Secret) -> Attempt:
        return Attempt(Trouble(f"There is no access token yet: {secret.missing} It is used as soon as it is there."))

    def _explain(self, failure: Failure, turned_in: str | None) -> Trouble:
        name = self._secrets[-1 if failure.error == "invalid_client" else 0].name
        what = advice(failure, grant=self._grant.name, secret=name)
        start = f"There is no new access token: {self.issuer} {failure.detail}."
        trouble = Trouble(f"{start} {what}", failure.result, failure.rejected, failure.retry_after)
        if self._rotation is None or (turned_in is None and not self._starts_with_refresh_token):
            return trouble
        return self._explain_refresh(self._rotation, failure, trouble, start)

    def _explain_refresh(self, rotation: RefreshTokens, failure: Failure, trouble: Trouble, start: str) -> Trouble:
        """A refresh token that was turned in bought nothing: it may be used up, although no answer came."""
        reusable = not self._starts_with_refresh_token and not self._grant.single_use
        if reusable and failure.status is not None and failure.result not in ("http_error", "throttled"):
            self._ignores_refresh_tokens = not rotation.proven
            rotation.drop()
            sentence = f"{start} The refresh token is dropped, and {self._secrets[0].name} is sent again."
            return Trouble(sentence, failure.result)
        name = self._secrets[0].name
        if failure.unknown:
            rotation.unknown += 1
            if rotation.unknown > 1:
                sentence = (
                    f"{start} It is not known whether it has used up the refresh token, twice in a row: if it has, "
                    f"the next one is lost, and {name} has to be set anew."
                )
                return Trouble(sentence, "lost", retry_after=LOST_PAUSE_SECONDS)
        elif failure.rejected and rotation.unknown and failure.error in (None, "invalid_grant"):
            sentence = (
                f"{start} An earlier call ended without an answer, and the refresh token that it would have brought is "
                f"lost: set {name} anew."
            )
            return Trouble(sentence, "lost", rejected=True)
        return trouble

    def _now(self) -> Moment:
        return Moment(self._clock(), self._wall())
