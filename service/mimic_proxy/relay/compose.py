"""One answer composed of several calls to the backend: embeddings, where it takes one input a call.

1. The order of the inputs is kept, whatever the order of the answers.
2. At most `concurrency` calls of one request are under way. The first error ends them and is the answer.
3. Each call has a valid token; a refused one is replaced once. The slot, the limits and the total timer are those of
   the exchange that all this is done for.
"""

import asyncio
import logging
from collections.abc import Callable

from mimic_proxy.dialects.base import Embedding, Translated
from mimic_proxy.errors import MimicError
from mimic_proxy.http.headers import ResponseFields
from mimic_proxy.http.target import EMBEDDINGS
from mimic_proxy.relay.authorised import Authorised
from mimic_proxy.relay.call import Answer
from mimic_proxy.relay.ports import Composed, Request
from mimic_proxy.telemetry.record import Record

LARGEST_ANSWER_BYTES = 16777216
"""Of one call."""

logger = logging.getLogger("mimic.relay")


class Composer:
    """One for the process. concurrency: calls of one request at once, at least 1."""

    def __init__(self, backend: Authorised, *, concurrency: int) -> None:
        self._backend = backend
        self._concurrency = concurrency

    def compose(
        self,
        embedding: Embedding,
        request: Request,
        record: Record,
        progress: Callable[[], None],
        done: Callable[[Composed], None],
    ) -> "asyncio.Task[None]":
        """Make the calls; progress: one was answered. done: is told how it ended, unless the task is cancelled."""
        composition = _Composition(self._backend, embedding, request, record, progress)
        return asyncio.get_running_loop().create_task(composition.run(self._concurrency, done))


class _Stop(Exception):
    """Ends the other calls of a request; nobody sees it."""


class _Composition:
    def __init__(
        self,
        backend: Authorised,
        embedding: Embedding,
        request: Request,
        record: Record,
        progress: Callable[[], None],
    ) -> None:
        self.backend = backend
        self.embedding = embedding
        self.request = request
        self.progress = progress
        self.waiting = iter(range(len(embedding.bodies)))
        self.calls = [_part_of(record) for _ in range(len(embedding.bodies))]
        self.heads: list[ResponseFields | None] = [None] * len(self.calls)
        self.refusal: Translated | None = None

    async def run(self, concurrency: int, done: Callable[[Composed], None]) -> None:
        try:
            answer = await self._all(concurrency)
        except Exception:
            logger.exception("A fault while an answer was composed")
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
        return self.refusal or (failed[0] if failed else self.embedding.answer())

    async def _work(self) -> None:
        for index in self.waiting:
            refusal = await self._call(index)
            self.progress()
            if refusal is not None:
                self.refusal = self.refusal or refusal
                raise _Stop

    async def _call(self, index: int) -> Translated | None:
        def take(answer: Answer) -> Translated | None:
            self.heads[index] = answer.fields
            return self.embedding.take(index, answer.fields.status, answer.plain(LARGEST_ANSWER_BYTES))

        _, refusal = await self.backend.ask(
            b"POST",
            EMBEDDINGS,
            self.request.fields,
            self.request.query,
            self.calls[index],
            body=self.embedding.bodies[index],
            limit=LARGEST_ANSWER_BYTES,
            read=take,
        )
        return refusal


def _part_of(record: Record) -> Record:
    part = Record(record.started, record.operation, record.method, record.path)
    part.trace, part.traced = record.trace, record.traced
    return part


def _first(group: BaseExceptionGroup[MimicError]) -> MimicError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, MimicError)
    return found
