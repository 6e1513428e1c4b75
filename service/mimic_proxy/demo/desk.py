"""Where every request of the API is admitted and every answer handed out, with the faults it asks for."""

import gzip
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec
from fastapi import Request
from starlette.responses import Response

from mimic_proxy.demo.delivery import Delivery, Stats, Step, Stream, body_steps, compressed, stream_steps
from mimic_proxy.demo.faults import HEADER, Faults, for_streams_only, parse
from mimic_proxy.demo.options import DemoOptions
from mimic_proxy.demo.refusals import Refusal, server_error
from mimic_proxy.demo.token_service import TokenService, refused_token

_PAGE: Final = b"<!doctype html><title>Maintenance</title><h1>Please come back later</h1>\n"
_REDIRECT_PATH: Final = "/demo/redirected"


@dataclass(frozen=True, slots=True)
class Desk:
    """clock: wall time in seconds since 1970, for `created` fields."""

    options: DemoOptions
    tokens: TokenService
    clock: Callable[[], float]
    stats: Stats = field(default_factory=Stats)
    _refused_words: set[str] = field(default_factory=set, init=False)

    async def admit(self, request: Request) -> None:
        """FastAPI dependency: counts the request and checks its bearer token. Raises Refusal (401)."""
        self.accept(request, "bearer")

    def accept(self, request: Request, scheme: str) -> None:
        """Counts the request and checks its token, which stands after `scheme`. Raises Refusal (401)."""
        self.stats.requests += 1
        try:
            request.state.token = self.tokens.check(request.headers.get("authorization"), scheme)
        except Refusal:
            self.stats.unauthorized += 1
            raise

    def now(self) -> int:
        return int(self.clock())

    def faults(self, request: Request, model: str | None = None) -> Faults:
        """The faults the request asks for. Raises Refusal: 400 for unknown ones, 401 for a token to be refused."""
        faults = parse(request.headers.get(HEADER), model)
        if faults.refuse_token is not None:
            self._refuse_token(faults.refuse_token, request.state.token)
        return faults

    def answer(
        self,
        faults: Faults,
        reply: object | bytes | Stream,
        *,
        media_type: str = "application/json",
    ) -> Response:
        """The reply (a document for JSON, bytes as they are, or a stream), changed by the faults."""
        status, headers = 200, {"content-type": media_type}
        if isinstance(reply, Stream):
            headers = {"content-type": reply.media_type, "cache-control": "no-cache"}
        elif scripted := for_streams_only(faults):
            raise Refusal(f"Only a stream can have the fault '{scripted[0]}'.", param=HEADER, code="invalid_fault")
        if faults.status is not None:
            status, headers, reply = _failure(faults.status, faults.retry_after)
        elif faults.redirect:
            status, headers, reply = 307, {"location": _REDIRECT_PATH}, b""
        elif faults.html:
            headers, reply = {"content-type": "text/html; charset=utf-8"}, _PAGE
        steps = _steps(reply, faults, headers)
        return Delivery(steps, self.stats, status=status, headers=headers, silence=faults.hang_head)

    def _refuse_token(self, word: str, token: str) -> None:
        if word != "always" and word in self._refused_words:
            return
        self._refused_words.add(word)
        self.tokens.revoke(token)
        self.stats.unauthorized += 1
        raise refused_token("The access token is refused, as the request asked.")

    def forget(self) -> int:
        """Revokes all tokens and forgets which words have been refused; how many tokens there were."""
        self._refused_words.clear()
        return self.tokens.revoke_all()


def identity(prefix: str, body: bytes) -> str:
    """An id that is the same for the same request."""
    return prefix + hashlib.blake2b(body, digest_size=12).hexdigest()


def _failure(status: int, retry_after: float | None) -> tuple[int, dict[str, str], object]:
    headers = {"content-type": "application/json"}
    if retry_after is not None:
        headers["retry-after"] = f"{retry_after:g}"
    return status, headers, server_error(status, f"The demo backend answers {status}, as it was asked to.").document()


def _steps(reply: object, faults: Faults, headers: dict[str, str]) -> Iterable[Step]:
    """The reply's steps; adds what they mean for the head to `headers`."""
    if faults.gzip:
        headers["content-encoding"] = "gzip"
    if isinstance(reply, Stream):
        steps = stream_steps(reply, faults)
        return compressed(steps) if faults.gzip else steps
    body = reply if isinstance(reply, bytes) else msgspec.json.encode(reply)
    if faults.gzip:
        body = gzip.compress(body, mtime=0)
    headers["content-length"] = str(len(body))
    return body_steps(body, faults)
