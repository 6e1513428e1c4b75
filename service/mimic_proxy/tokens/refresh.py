"""One try to get an access token: secret, request, call, answer. Whether and when to try is the source's business."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from mimic_proxy.settings import Settings
from mimic_proxy.telemetry.observation import RefreshObservation, RefreshResult, RefreshTrigger
from mimic_proxy.tokens.answer import Failure, Granted, TokenAnswer, read_answer
from mimic_proxy.tokens.recipe import Grant, Recipe
from mimic_proxy.tokens.secret import Secret
from mimic_proxy.tokens.service import Post
from mimic_proxy.tokens.token import FOREVER, AccessToken, Lifetime, Moment, credential_field, issue

logger = logging.getLogger("mimic.tokens")

TRY_CERTIFICATES = "Set CA_BUNDLE to the issuer's certificate, or VERIFY_SSL=False where that is safe."
TRY_SCHEME = "Does TOKEN_URL speak https?"
TRY_PATH = "The path of TOKEN_URL may be wrong."
TRY_OWNERS = "If this lasts, ask the owners of the token service."
TRY_NETWORK = "If this lasts, check TOKEN_URL and the network between."
TRY_OTHER_URL = "Check that TOKEN_URL names a token service."
"""What ends the sentence on a failed call; one of them each time."""


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
        self._secret = None if grant.secret is None else Secret(grant.secret)
        self._used: str | None = None
        self._spent: str | None = None

    @property
    def issuer(self) -> str:
        """Who issues the tokens, for messages."""
        return f"GRANT={self._grant.name}" if self.recipe is None else f"the token service at {self.recipe.origin}"

    def secret_changed(self) -> bool:
        """The secret is another one than that of the last try. Reads its file."""
        return self._secret is not None and self._secret.read() != self._used

    @property
    def secret_readable(self) -> bool:
        """The last look at the secret found one."""
        return self._secret is None or self._secret.readable

    def no_other(self) -> str | None:
        """Why no refresh can bring another token than the present one; None if one may."""
        if self._secret is None:
            return f"The backend wants a credential, but GRANT={self._grant.name} sends none: set GRANT."
        if self.recipe is None:
            return f"The backend refused the access token of {self._secret.name}: set a valid one."
        if self._spent is not None and self._spent == self._used:
            return f"The backend refused the access token, and {self._secret.name} is used up: set a new one."
        return None

    def mint(self, generation: int) -> Attempt:
        """The token of a grant that asks no token service."""
        if self._secret is None:
            return Attempt(
                issue("", generation, field=b"", sent=self._now(), lifetime=FOREVER, jitter=0, refreshable=False)
            )
        value = self._used = self._secret.read()
        if value is None:
            return self._missing(self._secret)
        try:
            return Attempt(self._issue(value, generation, self._now(), FOREVER))
        except ValueError as error:
            return Attempt(Trouble(f"The access token of {self._secret.name} {error}.", rejected=True))

    async def fetch(self, recipe: Recipe, generation: int) -> Attempt:
        """The token that the token service grants for the present secret; at most one call.

        Raises only what the port raises against its promise.
        """
        secret = self._secret
        assert secret is not None, "a recipe needs a secret"
        value = self._used = secret.read()
        if value is None:
            return self._missing(secret)
        if value == self._spent:
            return Attempt(
                Trouble(f"{secret.name} buys one access token and is used up: set a new one.", rejected=True)
            )
        try:
            request = recipe.request(value)
        except ValueError:
            trouble = Trouble(f"{secret.name} holds characters that a token request cannot carry.", rejected=True)
            return Attempt(trouble)
        sent = self._now()
        answer = await self._post(request)
        seconds = self._clock() - sent.monotonic
        outcome = self._judge(answer, recipe, generation, sent)
        if isinstance(outcome, Failure):
            return Attempt(self._explain(outcome, secret), seconds, outcome.status)
        if self._grant.single_use:
            self._spent = value
        return Attempt(outcome, seconds, answer.status)

    def _judge(
        self, answer: TokenAnswer | Failure, recipe: Recipe, generation: int, sent: Moment
    ) -> AccessToken | Failure:
        if isinstance(answer, Failure):
            return answer
        default = self._policy.default_lifetime
        granted = read_answer(answer, recipe.answers, wall=self._wall(), default_lifetime=default)
        if isinstance(granted, Failure):
            return granted
        try:
            token = self._issue(granted.value, generation, sent, granted.lifetime)
        except ValueError as error:
            return Failure("bad_response", f"answered {answer.status} with an access token that {error}", answer.status)
        self._remark(granted)
        return token

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

    def _remark(self, granted: Granted) -> None:
        for remark in granted.remarks:
            logger.warning("about the answer of %s: %s", self.issuer, remark)
        if granted.refresh_token:
            logger.debug("the refresh token in the answer is not used: the next refresh sends the secret again")

    def _missing(self, secret: Secret) -> Attempt:
        return Attempt(Trouble(f"There is no access token yet: {secret.missing} It is used as soon as it is there."))

    def _explain(self, failure: Failure, secret: Secret) -> Trouble:
        rejected = failure.result == "rejected"
        advice = f"{secret.name} is wrong or has expired: set a valid one." if rejected else _advice(failure)
        return Trouble(
            f"There is no new access token: {self.issuer} {failure.detail}. {advice}",
            failure.result,
            rejected,
            failure.retry_after,
        )

    def _now(self) -> Moment:
        return Moment(self._clock(), self._wall())


def _advice(failure: Failure) -> str:
    """What to try when the token service could not grant a token."""
    if failure.result == "http_error":
        return TRY_PATH if failure.status in (404, 405, 410) else TRY_OWNERS
    if failure.result == "bad_response":
        return TRY_OTHER_URL
    # The words are OpenSSL's, as Python writes them.
    if "CERTIFICATE_VERIFY_FAILED" in failure.detail:
        return TRY_CERTIFICATES
    return TRY_SCHEME if "[SSL" in failure.detail else TRY_NETWORK
