"""The token service: a code (or what another grant shows) in, a short-lived access token out.

Every call of the backend is checked against it.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from mimic_proxy.demo.oauth import GRANT_TYPES, Credentials, OAuth, OAuthError
from mimic_proxy.demo.options import DemoOptions
from mimic_proxy.demo.refusals import Refusal

_CHALLENGE: Final = {"www-authenticate": 'Bearer error="invalid_token"'}


def new_token() -> str:
    """A value nobody can guess."""
    return f"demo-{secrets.token_urlsafe(24)}"


class _TokenRequest(msgspec.Struct):
    code: str


@dataclass(slots=True)
class TokenService:
    """Knows the tokens it has issued in this process. `clock` is monotonic, in seconds.

    credentials: what clients have to show; by default those that nobody knows, but for the code.
    """

    options: DemoOptions
    clock: Callable[[], float]
    make: Callable[[], str] = new_token
    credentials: Credentials | None = None
    calls: int = 0
    refused: int = 0
    oauth: OAuth = field(init=False)
    _expiries: dict[str, float] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        credentials = self.credentials or Credentials(self.options.code)
        self.oauth = OAuth(self.options.grant, credentials, self.revoke_all)
        if self.options.grant == "static":
            self._expiries[credentials.access_token] = float("inf")

    def issue(self, code: str) -> str | None:
        """A new access token, None if the code is not the right one."""
        self.calls += 1
        if not secrets.compare_digest(code.encode(), self.options.code.encode()):
            self.refused += 1
            return None
        return self._issued()

    def grant(self, form: Mapping[str, str], authorization: str | None, url: str) -> dict[str, Any]:
        """The answer to a request of the OAuth grant in question. Raises OAuthError."""
        self.calls += 1
        try:
            more = self.oauth.judge(form, authorization, url)
        except OAuthError:
            self.refused += 1
            raise
        return {"access_token": self._issued(), "token_type": "Bearer", "expires_in": self.expires_in, **more}

    def _issued(self) -> str:
        now = self.clock()
        self._expiries = {token: expiry for token, expiry in self._expiries.items() if expiry > now}
        token = self.make()
        self._expiries[token] = now + self.options.lifetime
        return token

    def check(self, authorization: str | None, scheme: str = "bearer") -> str:
        """The token of an Authorization field, where it stands after a scheme, or alone if that is empty.

        Raises Refusal (401) if it is missing, unknown, revoked or expired.
        """
        if self.options.grant == "none":
            return "anonymous"
        given, _, token = (authorization or "").rpartition(" ")
        if given.strip().lower() != scheme or not token:
            example = f"{scheme.title()} TOKEN".strip()
            message = f"You didn't provide an access token: expected a header 'Authorization: {example}'."
            raise Refusal(message, status=401, headers={"www-authenticate": "Bearer"})
        if self.options.any_token:
            return token
        expiry = self._expiries.get(token)
        if expiry is None:
            raise refused_token("The access token is unknown or was revoked.")
        if expiry <= self.clock():
            raise refused_token("The access token has expired.")
        return token

    def revoke(self, token: str) -> None:
        self._expiries.pop(token, None)

    def revoke_all(self) -> int:
        """How many tokens have been revoked."""
        count = len(self._expiries)
        self._expiries.clear()
        return count

    @property
    def expires_in(self) -> float:
        """The lifetime in seconds, an int where it is a whole number."""
        lifetime = self.options.lifetime
        return int(lifetime) if lifetime == int(lifetime) else lifetime


def refused_token(message: str) -> Refusal:
    return Refusal(message, status=401, code="invalid_api_key", headers=_CHALLENGE)


def token_router(service: TokenService) -> APIRouter:
    """POST /token."""
    router = APIRouter()

    @router.post("/token")
    async def issue(request: Request) -> Response:
        if service.options.grant in GRANT_TYPES:
            return await _oauth(service, request)
        try:
            asked = msgspec.json.decode(await request.body(), type=_TokenRequest)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return _refusal(400, "invalid_request", 'The body must be JSON: {"code": "..."}.')
        token = service.issue(asked.code)
        if token is None:
            return _refusal(401, "invalid_grant", "The code is not valid.")
        data: dict[str, Any] = {"access_token": token, "token_type": "Bearer", "expires_in": service.expires_in}
        return JSONResponse({"data": data}, headers={"cache-control": "no-store"})

    return router


async def _oauth(service: TokenService, request: Request) -> Response:
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        return _refusal(400, "invalid_request", "The body must be a form.")
    pairs = parse_qsl((await request.body()).decode("ascii", "replace"), keep_blank_values=True)
    if len(dict(pairs)) < len(pairs):
        return _refusal(400, "invalid_request", "A field stands there twice.")
    try:
        answer = service.grant(dict(pairs), request.headers.get("authorization"), str(request.url))
    except OAuthError as error:
        return _refusal(error.status, error.error, error.description)
    return JSONResponse(answer, headers={"cache-control": "no-store"})


def _refusal(status: int, error: str, description: str) -> JSONResponse:
    """The error document of RFC 6749, 5.2."""
    return JSONResponse({"error": error, "error_description": description}, status)
