"""Mimic's own calls to the backend: the list of models, `check --chat`, and the calls of which one response to a caller
is composed. Tokens, connections and replays are those of an exchange (`relay.attempt`); the response is read whole.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from mimic_proxy.dialects.base import Embedding, Translated
from mimic_proxy.errors import MimicError, UpstreamBadResponse, UpstreamTimeout
from mimic_proxy.http.coding import decoded
from mimic_proxy.http.framing import Buffer
from mimic_proxy.http.headers import RequestFields, ResponseFields, head_end, head_start
from mimic_proxy.http.target import EMBEDDINGS, Base, operation_target
from mimic_proxy.relay.attempt import Attempt
from mimic_proxy.relay.ports import Composed, ConnectionPort, PoolPort, Request, Services
from mimic_proxy.telemetry.propagation import trace_lines
from mimic_proxy.telemetry.record import Record
from mimic_proxy.tokens.token import AccessToken

LARGEST_COMPOSED_BYTES = 16777216
"""Of the response to one call."""
OFFLOAD_BYTES = 1048576
"""A larger response is read in a worker thread: all streams would wait for it on the event loop."""

logger = logging.getLogger("mimic.relay")


@dataclass(frozen=True, slots=True)
class BackendResponse:
    """A whole response of the backend."""

    fields: ResponseFields
    body: bytes

    def plain(self, limit: int) -> bytes:
        """The body without its content coding, at most `limit` bytes. Raises UpstreamBadResponse."""
        try:
            return decoded(self.body, self.fields.coding, limit)
        except ValueError as wrong:
            message = f"The backend answered {self.fields.status} {wrong}."
            raise UpstreamBadResponse(message, error_type="other") from None


def as_it_came(response: BackendResponse) -> None:
    """The backend speaks as the caller does."""


class Client:
    """Makes calls to one backend. name: its setting, for messages. timeout: seconds of one attempt, 0 for none."""

    def __init__(self, services: Services, pool: PoolPort, base: Base, *, name: str, timeout: float) -> None:
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
        read: Callable[[BackendResponse], Translated | None] = as_it_came,
    ) -> tuple[BackendResponse, Translated | None]:
        """The whole response to one call, and what `read` made of it.

        suffix: path below the base. limit: bytes of the response's body. read: its status, if it makes anything of a
        response, says whether the token was refused. Raises MimicError.
        """
        call = _Call(self, record, limit)
        call.start = head_start(
            method, operation_target(self.base, suffix, query), self.base.host_field, fields, b"", identity=True
        )
        lines = b""
        if self.services.trace_upstream and record.trace is not None:
            lines = trace_lines(record.trace, fields.traceparent, fields.tracestate, traced=record.traced)
        call.rest = head_end(lines, length=None if body is None else len(body), chunked=False)
        call.body = body or b""
        try:
            call.proceed(call.attempt.obtain())
            while True:
                response = await call.response
                status = response.fields.status
                if 300 <= status < 400 and status != 304:
                    record.error_type = "other"
                    message = f"The backend answered with a redirect, which is not followed. Check {self.name}."
                    raise UpstreamBadResponse(message, error_type="other")
                if len(response.body) > OFFLOAD_BYTES:
                    made = await asyncio.to_thread(read, response)
                else:
                    made = read(response)
                if (status if made is None else made.status) != 401:
                    call.attempt.accepted()
                    return response, made
                record.error_type = "unauthorized"
                call.proceed(call.attempt.refused(record.model or self.name, reusable=True))
        finally:
            call.end()


class _Call:
    """The listener of one call: puts its response together."""

    start = b""
    rest = b""
    body = b""

    def __init__(self, client: Client, record: Record, limit: int) -> None:
        self.client = client
        self.record = record
        self.limit = limit
        self.attempt = Attempt(client.services, client.pool, record, self)
        self.loop = asyncio.get_running_loop()
        self.response: asyncio.Future[BackendResponse] = self.loop.create_future()
        self.fields: ResponseFields | None = None
        self.gathered = Buffer()
        self.timer: asyncio.TimerHandle | None = None

    def proceed(self, got: AccessToken | MimicError | None) -> None:
        """Go on with a token, if there is one; the response, or the error, ends up in `response`."""
        if self.response.done():
            self.response = self.loop.create_future()
        if isinstance(got, MimicError):
            self.fail(got)
        elif got is not None:
            self._connect()

    def token_ready(self, error: MimicError | None) -> None:
        if error is not None:
            self.fail(error)
        else:
            self._connect()

    def token_lapsed(self, error: MimicError | None) -> None:
        self._stop_timer()
        if error is not None:
            self.fail(error)

    def _connect(self) -> None:
        self._stop_timer()
        if self.client.timeout:
            self.timer = self.loop.call_later(self.client.timeout, self._expire)
        connection = self.attempt.connect()
        if connection is not None:
            self.connected(connection)

    def connected(self, connection: ConnectionPort) -> None:
        token = self.attempt.token
        assert token is not None
        self.fields = None
        self.gathered.clear()
        connection.attach(self)
        self.attempt.send(self.start + token.field + self.rest, self.body)

    def not_connected(self, error: MimicError) -> None:
        self.fail(error)

    def upstream_received(self, fields: ResponseFields | None, body: bytes, ended: bool) -> None:
        record = self.record
        record.upstream = self.client.services.clock()
        if fields is not None:
            self.fields = fields
            record.head_came(record.upstream, fields.status, fields.request_id)
        self.gathered.append(body)
        if self.gathered.size > self.limit:
            self.fail(UpstreamBadResponse(f"The backend's answer is longer than {self.limit} bytes."))
        elif ended and self.fields is not None:
            self._stop_timer()
            self.attempt.release(reusable=True)
            if not self.response.done():
                self.response.set_result(BackendResponse(self.fields, self.gathered.take()))

    def upstream_lost(self, error: MimicError) -> None:
        self.record.upstream = self.client.services.clock()
        if self.attempt.replays_loss():
            self.attempt.replay_loss()
        else:
            self.attempt.connection = None
            self.fail(error)

    def upstream_writable(self, writable: bool) -> None:
        """The requests are small: they wait in the transport's buffer."""

    def _expire(self) -> None:
        seconds = self.client.timeout
        message = f"The backend did not answer within {seconds:g} s (total timer)."
        self.fail(UpstreamTimeout(message, timer="total", should_retry=False))

    def fail(self, error: MimicError) -> None:
        self.end()
        if self.record.attempts:
            self.record.error_type = error.error_type or self.record.error_type or "other"
        if not self.response.done():
            self.response.set_exception(error)

    def end(self) -> None:
        """Give up what is still under way."""
        self._stop_timer()
        self.attempt.end()

    def _stop_timer(self) -> None:
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()


class Composer:
    """Embeddings, where the backend takes one input a call. One for the process.

    1. The order of the inputs is kept, whatever the order of the responses.
    2. At most `concurrency` calls of one request are under way, at least 1. The first error ends them and is the
       response.
    3. The slot, the limits and the total timer are those of the exchange that all this is done for.
    """

    def __init__(self, client: Client, *, concurrency: int) -> None:
        self._client = client
        self._concurrency = concurrency

    def compose(
        self,
        embedding: Embedding,
        request: Request,
        record: Record,
        progress: Callable[[], None],
        done: Callable[[Composed], None],
    ) -> "asyncio.Task[None]":
        """Make the calls. progress: one was answered. done: gets how it ended, unless the task is cancelled."""
        composition = _Composition(self._client, embedding, request, record, progress)
        return asyncio.get_running_loop().create_task(composition.run(self._concurrency, done))


class _Stop(Exception):
    """Ends the other calls of a request; nobody sees it."""


class _Composition:
    def __init__(
        self,
        client: Client,
        embedding: Embedding,
        request: Request,
        record: Record,
        progress: Callable[[], None],
    ) -> None:
        self.client = client
        self.embedding = embedding
        self.request = request
        self.progress = progress
        self.waiting = iter(range(len(embedding.bodies)))
        self.calls = [record.part() for _ in range(len(embedding.bodies))]
        self.heads: list[ResponseFields | None] = [None] * len(self.calls)
        self.size = 0
        self.refusal: Translated | None = None

    async def run(self, concurrency: int, done: Callable[[Composed], None]) -> None:
        try:
            answer = await self._all(concurrency)
        except Exception:
            logger.exception("A fault while a response was composed")
            answer = MimicError("Mimic could not answer this; its log says why.")
        done(Composed(answer, self.calls, self._head()))

    def _head(self) -> ResponseFields | None:
        """Of the call that the record shows."""
        head = None
        for call, fields in zip(self.calls, self.heads, strict=True):
            if call.attempts:
                head = fields
                if call.error_type is not None:
                    break
        return head

    async def _all(self, concurrency: int) -> Translated | MimicError:
        failed: list[MimicError] = []
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(self.calls))):
                    group.create_task(self._work())
        except* _Stop:
            pass
        except* MimicError as errors:
            failed.append(_first(errors))
        if self.refusal is not None or failed:
            return self.refusal or failed[0]
        if self.size > OFFLOAD_BYTES:
            return await asyncio.to_thread(self.embedding.answer)
        return self.embedding.answer()

    async def _work(self) -> None:
        for index in self.waiting:
            refusal = await self._call(index)
            self.progress()
            if refusal is not None:
                self.refusal = self.refusal or refusal
                raise _Stop

    async def _call(self, index: int) -> Translated | None:
        def take(response: BackendResponse) -> Translated | None:
            self.heads[index] = response.fields
            return self.embedding.take(index, response.fields.status, response.plain(LARGEST_COMPOSED_BYTES))

        response, refusal = await self.client.ask(
            b"POST",
            EMBEDDINGS,
            self.request.fields,
            self.request.query,
            self.calls[index],
            body=self.embedding.bodies[index],
            limit=LARGEST_COMPOSED_BYTES,
            read=take,
        )
        self.size += len(response.body)
        return refusal


def _first(group: BaseExceptionGroup[MimicError]) -> MimicError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, MimicError)
    return found
