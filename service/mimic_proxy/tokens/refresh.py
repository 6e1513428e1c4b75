"""Makes one attempt to obtain an access token: secrets, request, response. The source decides whether and when."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from mimic_proxy.settings.fields import SecretRef, Settings
from mimic_proxy.telemetry.observation import RefreshObservation, RefreshResult, RefreshTrigger
from mimic_proxy.tokens.explanation import Explanation, advice, explain
from mimic_proxy.tokens.recipe import Grant, Recipe
from mimic_proxy.tokens.response import Failure, Granted, TokenResponse, read_response
from mimic_proxy.tokens.service import Post
from mimic_proxy.tokens.store import RefreshTokens, Secret, StoreError, TokenStore, digest
from mimic_proxy.tokens.token import FOREVER, AccessToken, Lifetime, Moment, credential_field, issue

logger = logging.getLogger("mimic.tokens")

LOST_PAUSE_SECONDS = 60.0
"""Between two uses of a refresh token that may have been used up: some services lock an account after the second."""


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """How tokens are sent and replaced. Durations are seconds."""

    header: str
    template: str
    """The field's value, with `{token}` in it."""
    default_lifetime: float
    floor: float
    """The least time between two refreshes that a backend's 401 forces."""
    patience: float = 15.0
    """The longest that a call waits for a token."""

    @classmethod
    def of(cls, settings: Settings) -> "TokenPolicy":
        """Reads it from the settings."""
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
    """It lasts until a setting or the account is changed."""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt ended. seconds: duration of the request; status: of its response."""

    outcome: AccessToken | Trouble
    seconds: float = 0.0
    status: int | None = None
    called: bool = True
    """The grant has a token service."""

    @property
    def result(self) -> RefreshResult | None:
        """None if no request was sent."""
        return self.outcome.result if isinstance(self.outcome, Trouble) else "success"

    def observation(self, result: RefreshResult, trigger: RefreshTrigger, waiters: int) -> RefreshObservation:
        """Returns what telemetry records of the request."""
        lifetime = self.outcome.lifetime.seconds if isinstance(self.outcome, AccessToken) else None
        return RefreshObservation(result, trigger, self.seconds, lifetime, self.status, waiters)


class Refresher:
    """Obtains tokens by one grant, which other settings may replace.

    Secrets, refresh tokens, spent codes and the store's lock survive the replacement. clock, wall: monotonic and Unix
    seconds; jitter: a random number from 0 to 1.
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
    ) -> None:
        self._grant = grant
        self._policy = policy
        self._post = post
        self._clock = clock
        self._wall = wall
        self._jitter = jitter
        self._secrets = tuple(Secret(ref) for ref in grant.secrets)
        self._used: tuple[str | None, ...] = ()
        self._used_settings: tuple[Grant, TokenPolicy, Post] | None = None
        """With what the last attempt was made; None before the first one."""
        self._critical = 0
        self._spent: set[str] = set()
        """Digests of the codes that have bought a token."""
        self._refresh_tokens = RefreshTokens(None if grant.store is None else TokenStore(grant.store))
        self._ignores_refresh_tokens = False
        self._remarks: tuple[str, ...] = ()
        self._last: tuple[Recipe, TokenResponse | Failure, Failure | None, tuple[str, ...], list[str]] | None = None
        """The last request and its response, as `explain` takes them."""

    @property
    def recipe(self) -> Recipe | None:
        """The request for a token; None without a token service."""
        return self._grant.recipe

    @property
    def issuer(self) -> str:
        """Who issues the tokens, for messages."""
        recipe = self._grant.recipe
        return f"GRANT={self._grant.name}" if recipe is None else f"the token service at {recipe.origin}"

    @property
    def explanation(self) -> Explanation | None:
        """Explains the last request to the token service; None before the first one."""
        return None if self._last is None else explain(*self._last)

    @property
    def secrets_readable(self) -> bool:
        """The last read of the secrets found all of them."""
        return all(secret.readable for secret in self._secrets)

    @property
    def critical(self) -> bool:
        """A request is under way whose response cannot be obtained a second time: it uses up what was sent."""
        return self._critical > 0

    def apply(self, grant: Grant, policy: TokenPolicy, post: Post) -> None:
        """Other settings hold for the next attempt."""
        known: dict[SecretRef, Secret] = dict(zip(self._grant.secrets, self._secrets, strict=True))
        self._secrets = tuple(known.get(ref) or Secret(ref) for ref in grant.secrets)
        if grant.store != self._grant.store:
            self._refresh_tokens.move(None if grant.store is None else TokenStore(grant.store))
        if grant.identity != self._grant.identity:
            self._ignores_refresh_tokens = False
        self._grant, self._policy, self._post = grant, policy, post

    def outdated(self, *, failed: bool) -> bool:
        """Another attempt would ask for a token for someone or something else than the last one did.

        failed: that attempt failed: then any other change counts too. Reads the files of secrets.
        """
        if self._used_settings is None:
            return False
        grant, policy, post = self._used_settings
        if grant.identity != self._grant.identity or self._read_secrets() != self._used:
            return True
        return failed and (grant, policy, post) != (self._grant, self._policy, self._post)

    def unsettled(self) -> float:
        """Seconds until the files of all secrets have settled."""
        wall = self._wall()
        return max((secret.unsettled(wall) for secret in self._secrets), default=0.0)

    def no_other(self) -> str | None:
        """Says why no refresh can obtain another token than the current one; None if one may."""
        if not self._secrets:
            return f"The backend wants a credential, but GRANT={self._grant.name} sends none: set GRANT."
        name = self._secrets[0].name
        if self._grant.recipe is None:
            return f"The backend refused the access token of {name}: set a valid one."
        if self._used and self._is_spent(self._used[0]) and not self._may_use_refresh_token:
            return f"The backend refused the access token, and {name} is used up: set a new one."
        return None

    def close(self) -> None:
        """Releases the store of refresh tokens."""
        self._refresh_tokens.close()

    def formatted(self, token: AccessToken) -> AccessToken:
        """Returns a token that was issued earlier, as it is sent now: another generation if that differs."""
        if not token.value:
            return token
        field = credential_field(self._policy.header, self._policy.template, token.value)
        return token if field == token.field else replace(token, field=field, generation=token.generation + 1)

    def mint(self, generation: int) -> Attempt:
        """Makes the token of a grant without a token service."""
        self._used_settings = self._grant, self._policy, self._post
        self._used = self._read_secrets()
        now = self._now()
        if not self._secrets:
            none = issue("", generation, field=b"", sent=now, lifetime=FOREVER, jitter=0, refreshable=False)
            return Attempt(none, called=False)
        secret, value = self._secrets[0], self._used[0]
        if value is None:
            return self._missing(secret)
        try:
            return Attempt(self._issue(value, generation, now, FOREVER), called=False)
        except ValueError as error:
            return Attempt(Trouble(f"The access token of {secret.name} {error}.", rejected=True), called=False)

    async def fetch(self, generation: int) -> Attempt:
        """Requests the token for the current secrets; sends at most one request.

        Raises only what the port raises against its contract.
        """
        grant = self._grant
        if grant.recipe is None:
            return self.mint(generation)
        self._used_settings = grant, self._policy, self._post
        self._used = values = self._read_secrets()
        try:
            held = None if grant.refresh is None else await self._refresh_tokens.current(values[0])
        except StoreError as error:
            return Attempt(Trouble(f"TOKEN_STORE={grant.store} {error}. Nothing was sent."))
        sent = values if held is None else (held, *values[1:])
        for secret, value in zip(self._secrets, sent, strict=True):
            if value is None:
                return self._missing(secret)
        if held is None and grant.single_use and self._is_spent(values[0]):
            name = self._secrets[0].name
            return Attempt(Trouble(f"{name} buys one access token and is used up: set a new one.", rejected=True))
        recipe = grant.recipe if held is None or grant.refresh is None else grant.refresh
        critical = grant.single_use or grant.starts_with_refresh_token
        self._critical += critical
        try:
            return await self._call(grant, recipe, [value for value in sent if value is not None], held, generation)
        finally:
            self._critical -= critical

    def _read_secrets(self) -> tuple[str | None, ...]:
        wall = self._wall()
        return tuple(secret.read(wall) for secret in self._secrets)

    def _is_spent(self, code: str | None) -> bool:
        return self._grant.single_use and code is not None and digest(code) in self._spent

    @property
    def _may_use_refresh_token(self) -> bool:
        return self._grant.refresh is not None and self._refresh_tokens.available

    async def _call(
        self, grant: Grant, recipe: Recipe, values: list[str], held: str | None, generation: int
    ) -> Attempt:
        sent = self._now()
        secrets, code = self._secrets, self._used[0]
        try:
            if grant.prepare is not None:
                values = [grant.prepare(values[0], sent.wall), *values[1:]]
        except ValueError as error:
            return Attempt(Trouble(f"{secrets[0].name} {error}.", rejected=True))
        try:
            request = recipe.request(*values)
        except ValueError:
            names = " or ".join(secret.name for secret in secrets)
            return Attempt(Trouble(f"{names} holds characters that a token request cannot carry.", rejected=True))
        response = await self._post(request)
        seconds = self._clock() - sent.monotonic
        granted, outcome = self._read(response, recipe, generation, sent)
        remarks = () if granted is None else granted.remarks
        failure = outcome if isinstance(outcome, Failure) else None
        self._last = recipe, response, failure, remarks, values
        if isinstance(outcome, Failure):
            return Attempt(self._explain(grant, secrets, outcome, held), seconds, outcome.status)
        if granted is not None:
            await self._keep(grant, granted, code, held)
            self._remark(granted.remarks)
        return Attempt(outcome, seconds, None if isinstance(response, Failure) else response.status)

    def _read(
        self, response: TokenResponse | Failure, recipe: Recipe, generation: int, sent: Moment
    ) -> tuple[Granted | None, AccessToken | Failure]:
        if isinstance(response, Failure):
            return None, response
        default = self._policy.default_lifetime
        granted = read_response(response, recipe.pointers, wall=self._wall(), default_lifetime=default)
        if isinstance(granted, Failure):
            return None, granted
        try:
            return granted, self._issue(granted.value, generation, sent, granted.lifetime)
        except ValueError as error:
            detail = f"answered {response.status} with an access token that {error}"
            return None, Failure("bad_response", detail, response.status)

    async def _keep(self, grant: Grant, granted: Granted, code: str | None, held: str | None) -> None:
        """Keeps what the next attempt needs, before the access token is used."""
        if held is None and code is not None and grant.name == "auth_code":
            self._spent.add(digest(code))
        if grant.refresh is None:
            if granted.refresh_token is not None:
                logger.debug("the refresh token in the response is not used: the next refresh sends the secret again")
            return
        if held is not None or grant.starts_with_refresh_token:
            self._refresh_tokens.succeeded()
        if granted.refresh_token in (None, held) or self._ignores_refresh_tokens:
            return
        try:
            await self._refresh_tokens.replace(code, granted.refresh_token or "")
        except StoreError as error:
            logger.error(
                "TOKEN_STORE=%s %s: the new refresh token is in memory only and is lost when Mimic ends",
                grant.store,
                error,
            )

    def _issue(self, value: str, generation: int, sent: Moment, lifetime: Lifetime) -> AccessToken:
        return issue(
            value,
            generation,
            field=credential_field(self._policy.header, self._policy.template, value),
            sent=sent,
            lifetime=lifetime,
            jitter=self._jitter(),
            refreshable=self.recipe is not None,
        )

    def _remark(self, remarks: tuple[str, ...]) -> None:
        """Logs what is odd, once while it lasts."""
        for remark in remarks:
            if remark not in self._remarks:
                logger.warning("about the response of %s: %s", self.issuer, remark)
        self._remarks = remarks

    def _missing(self, secret: Secret) -> Attempt:
        sentence = f"There is no access token yet: {secret.missing} It is used as soon as it is there."
        return Attempt(Trouble(sentence), called=self.recipe is not None)

    def _explain(self, grant: Grant, secrets: tuple[Secret, ...], failure: Failure, held: str | None) -> Trouble:
        name = secrets[-1 if failure.error == "invalid_client" else 0].name
        what = advice(failure, grant=grant.name, secret=name)
        start = f"There is no new access token: {self.issuer} {failure.detail}."
        trouble = Trouble(f"{start} {what}", failure.result, failure.rejected, failure.retry_after)
        if grant.refresh is None or (held is None and not grant.starts_with_refresh_token):
            return trouble
        return self._explain_refresh(grant, secrets[0].name, failure, trouble, start)

    def _explain_refresh(self, grant: Grant, name: str, failure: Failure, trouble: Trouble, start: str) -> Trouble:
        """A refresh token was sent and bought nothing: it may be used up, although no response came."""
        tokens = self._refresh_tokens
        reusable = not grant.starts_with_refresh_token and not grant.single_use
        if reusable and failure.status is not None and failure.result not in ("http_error", "throttled"):
            self._ignores_refresh_tokens = not tokens.proven
            tokens.drop()
            sentence = f"{start} The refresh token is dropped, and {name} is sent again."
            return Trouble(sentence, failure.result)
        if failure.unknown:
            tokens.unknown += 1
            if tokens.unknown > 1:
                sentence = (
                    f"{start} It is not known whether it has used up the refresh token, twice in a row: if it has, "
                    f"the next one is lost, and {name} needs a new value."
                )
                return Trouble(sentence, "lost", retry_after=LOST_PAUSE_SECONDS)
        elif failure.rejected and tokens.unknown and failure.error in (None, "invalid_grant"):
            sentence = (
                f"{start} An earlier request ended without a response, and the refresh token that it would have "
                f"brought is lost: set a new {name}."
            )
            return Trouble(sentence, "lost", rejected=True)
        return trouble

    def _now(self) -> Moment:
        return Moment(self._clock(), self._wall())
