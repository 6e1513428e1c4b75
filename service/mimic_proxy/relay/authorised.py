"""Calls to the backend that Mimic composes itself: each with a valid token, which is replaced once if it is refused."""

import asyncio
from collections.abc import Callable

from mimic_proxy.dialects.base import Translated
from mimic_proxy.errors import MimicError, UpstreamBadResponse
from mimic_proxy.http.headers import RequestFields, head_end, head_start
from mimic_proxy.http.target import Base, operation_target
from mimic_proxy.relay.call import Answer, call
from mimic_proxy.relay.pool import Pool
from mimic_proxy.relay.ports import Services
from mimic_proxy.telemetry.propagation import trace_lines
from mimic_proxy.telemetry.record import Record
from mimic_proxy.tokens.token import AccessToken


def as_it_came(answer: Answer) -> None:
    """The backend speaks as the caller does."""


class Authorised:
    """Makes authorised calls. name: the backend's setting, for messages. timeout: seconds of one call, 0 for none."""

    def __init__(self, services: Services, pool: Pool, base: Base, *, name: str, timeout: float) -> None:
        self.services = services
        self.pool = pool
        self.base = base
        self.name = name
        self.timeout = timeout

    async def ask(
        self,
        method: bytes,
        suffix: bytes,
        fields: RequestFields,
        query: bytes,
        record: Record,
        *,
        body: bytes | None = None,
        limit: int,
        read: Callable[[Answer], Translated | None] = as_it_came,
    ) -> tuple[Answer, Translated | None]:
        """The whole answer to one call, and what `read` made of it; a refused token is replaced once.

        suffix: path below the base. limit: bytes of the answer's body. read: its status, if it makes anything of an
        answer, says whether the token was refused. Raises MimicError.
        """
        services = self.services
        token = await self._token(record)
        refused: tuple[int, ...] = ()
        while True:
            request = self._request(method, suffix, fields, query, token, record, body)
            sent_at = services.clock()
            repeat = services.retry_dead_connection
            answer = await call(self.pool, request, timeout=self.timeout, limit=limit, record=record, repeat=repeat)
            if 300 <= answer.fields.status < 400 and answer.fields.status != 304:
                record.error_type = "other"
                message = f"The backend answered with a redirect, which is not followed. Check {self.name}."
                raise UpstreamBadResponse(message, error_type="other")
            made = read(answer)
            if (answer.fields.status if made is None else made.status) != 401:
                if answer.fields.status < 300:
                    services.tokens.accepted(token, sent_at)
                return answer, made
            record.error_type = "unauthorized"
            generation = token.generation
            token = await self._token(record, token, sent_at, refused)
            refused += (generation,)
            record.repeat("unauthorized", "unauthorized")

    def _request(
        self,
        method: bytes,
        suffix: bytes,
        fields: RequestFields,
        query: bytes,
        token: AccessToken,
        record: Record,
        body: bytes | None,
    ) -> bytes:
        target = operation_target(self.base, suffix, query)
        start = head_start(method, target, self.base.host_field, fields, token.field, identity=True)
        lines = b""
        if self.services.trace_upstream and record.trace is not None:
            lines = trace_lines(record.trace, fields.traceparent, fields.tracestate, traced=record.traced)
        length = None if body is None else len(body)
        return start + head_end(lines, length=length, chunked=False) + (body or b"")

    async def _token(
        self,
        record: Record,
        refused: AccessToken | None = None,
        sent_at: float = 0.0,
        refused_before: tuple[int, ...] = (),
    ) -> AccessToken:
        tokens, clock, trace = self.services.tokens, self.services.clock, record.trace
        future: asyncio.Future[AccessToken | MimicError] = asyncio.get_running_loop().create_future()

        def ready(got: AccessToken | MimicError) -> None:
            if not future.done():
                future.set_result(got)

        if refused is None:
            got = tokens.obtain(ready, trace)
        else:
            got = tokens.replace(refused, sent_at, ready, trace, record.model or self.name, refused_before)
        if got is None:
            since = clock()
            try:
                got = await future
            finally:
                tokens.leave(ready)
                refresh = got.refresh if isinstance(got, AccessToken) else None
                record.token_waited(since, clock(), refresh)
        if isinstance(got, MimicError):
            raise got
        return got
