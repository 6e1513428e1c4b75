"""The models of /v1/models: a fixed list, else the backend's, kept a short while and served stale while it is down.

1. `MODELS` wins over everything.
2. The backend's own list passes as the bytes it is; one model is asked for by its raw path.
3. A backend without the route (404, 405, 501) is answered for: one model from its list, a list from the ids that have
   worked since the start.
4. Callers share a list, and the call for it, only where the backend is told the same: another organisation may have
   another list. A request for a part of the list, or for it under a condition, shares nothing.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import msgspec

from mimic_proxy.dialects.base import Translated
from mimic_proxy.errors import MimicError, ModelNotFound, UpstreamBadResponse, UpstreamError
from mimic_proxy.http.body import UNREADABLE
from mimic_proxy.http.headers import RequestFields, ResponseFields
from mimic_proxy.relay.client import BackendResponse, Client, as_it_came
from mimic_proxy.relay.ports import Services
from mimic_proxy.relay.response import JSON_LINE
from mimic_proxy.telemetry.propagation import unsampled
from mimic_proxy.telemetry.record import Record

WITHOUT_ROUTE = frozenset({404, 405, 501})
LONGEST_LIST_BYTES = 16777216
MOST_LISTS = 8
"""Callers choose the fields that tell lists apart: so many lists are kept, LONGEST_LIST_BYTES in all."""
ALONE = frozenset({b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"})
"""Fields with which a caller gets an answer of its own (RFC 9110, 13.1 and 14.2)."""
WITHOUT_CALL = BackendResponse(ResponseFields(404), b"")

Variant = tuple[bytes, ...]

logger = logging.getLogger("mimic.models")


class _Listed(msgspec.Struct):
    id: str


class _List(msgspec.Struct):
    data: list[msgspec.Raw]


_LIST = msgspec.json.Decoder(_List)
_LISTED = msgspec.json.Decoder(_Listed)


@dataclass(frozen=True, slots=True)
class ModelsAnswer:
    """What goes to the caller; `lines` are the backend's header lines that pass."""

    status: int
    body: bytes
    lines: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class _Kept:
    """A list of the backend's, and when it was asked for."""

    answer: BackendResponse
    since: float


class Models:
    """One for the process."""

    def __init__(
        self, services: Services, backend: Client | None, *, fixed: Sequence[str], cache_seconds: float
    ) -> None:
        """backend: None where no place is known to ask."""
        self.settle: Callable[[], None] = lambda: None
        """Called before the models that worked are listed: makes known what has ended but was not reported yet."""
        self.follow(services, backend, fixed=fixed, cache_seconds=cache_seconds)

    def follow(self, services: Services, backend: Client | None, *, fixed: Sequence[str], cache_seconds: float) -> None:
        """Other settings from now on: what was kept of another backend's list is none of this one's."""
        self.services = services
        self.backend = backend
        self.fixed = tuple(fixed)
        self.cache_seconds = cache_seconds
        self.told = False
        self.kept: dict[Variant, _Kept] = {}
        """The backend's lists by what it was told, the one that was asked for last at the end."""
        self.flights: dict[Variant, asyncio.Task[ModelsAnswer]] = {}
        """The calls for them that are under way: whoever comes meanwhile gets their answer."""

    def untraced(self, fields: RequestFields) -> Record:
        record = Record(self.services.clock(), "models", "GET", "/v1/models")
        record.trace = unsampled(fields.traceparent, self.services.new_trace())
        return record

    async def list(self, fields: RequestFields, query: bytes, record: Record | None = None) -> ModelsAnswer:
        """All models. record: notes the call to the backend, if this request makes one. Raises MimicError."""
        record = record or self.untraced(fields)
        if self.fixed:
            return ModelsAnswer(200, _as_list(self.fixed))
        variant = _variant(fields)
        if query or variant is None:
            return await self._fresh_list(fields, query, record, variant)
        kept = self.kept.get(variant)
        if kept is not None and self.services.clock() - kept.since < self.cache_seconds:
            return _passed(kept.answer)
        flight = self.flights.get(variant)
        if flight is None:
            flight = asyncio.create_task(self._fresh_list(fields, query, record, variant))
            self.flights[variant] = flight
            flight.add_done_callback(functools.partial(_landed, self.flights, variant))
        # Nobody's leaving ends the call for the others.
        return await asyncio.shield(flight)

    def _keep(self, variant: Variant, answer: BackendResponse, since: float) -> None:
        self.kept.pop(variant, None)
        self.kept[variant] = _Kept(answer, since)
        while len(self.kept) > MOST_LISTS or self._kept_bytes() > LONGEST_LIST_BYTES:
            del self.kept[next(iter(self.kept))]

    def _kept_bytes(self) -> int:
        return sum(len(kept.answer.body) for kept in self.kept.values())

    async def _fresh_list(
        self, fields: RequestFields, query: bytes, record: Record, variant: Variant | None
    ) -> ModelsAnswer:
        services, now = self.services, self.services.clock()
        kept = None if variant is None else self.kept.get(variant)
        try:
            answer = await self.ask(b"/models", fields, query, record)
        except MimicError:
            if kept is None:
                raise
            return _passed(kept.answer)
        if answer.fields.status in WITHOUT_ROUTE:
            self._tell(answer.fields.status)
            self.settle()
            return ModelsAnswer(200, _as_list(self.services.worked))
        if answer.fields.status == 200 and not query and variant is not None and self.services is services:
            self._keep(variant, answer, now)
        elif answer.fields.status >= 500 and kept is not None:
            return _passed(kept.answer)
        return _passed(answer)

    async def one(
        self, raw_id: bytes, fields: RequestFields, query: bytes, record: Record | None = None
    ) -> ModelsAnswer:
        """One model by its raw, still percent-encoded id. record: as for the list.

        Raises MimicError, ModelNotFound among them.
        """
        record = record or self.untraced(fields)
        name = unquote(raw_id.decode("ascii", "replace"))
        if self.fixed:
            if name not in self.fixed:
                raise _not_found(name)
            return ModelsAnswer(200, msgspec.json.encode(_as_model(name)))
        try:
            # A gateway of another dialect has no call for one model.
            one = not self.services.translates
            answer = await self.ask(b"/models/" + raw_id, fields, query, record) if one else WITHOUT_CALL
        except UpstreamError:
            found = self._in_kept(name, fields)
            if found is None:
                raise
            return ModelsAnswer(200, found)
        if answer.fields.status not in WITHOUT_ROUTE:
            return _passed(answer)
        await self.list(fields, b"", record)
        found = self._in_kept(name, fields)
        if found is None and not self.kept and name in self.services.worked:
            found = msgspec.json.encode(_as_model(name))
        if found is None:
            if answer.fields.status == 404 and b'"error"' in answer.body:
                return _passed(answer)
            raise _not_found(name)
        return ModelsAnswer(200, found)

    def _in_kept(self, name: str, fields: RequestFields) -> bytes | None:
        variant = _variant(fields)
        kept = None if variant is None else self.kept.get(variant)
        if kept is None:
            return None
        try:
            entries = _LIST.decode(kept.answer.body).data
        except UNREADABLE:
            return None
        return next((bytes(entry) for entry in entries if _is_named(entry, name)), None)

    def _tell(self, status: int) -> None:
        if not self.told:
            self.told = True
            why = f"The backend has no list of models (status {status})"
            if self.backend is None:
                why = "ENVELOPE_MODELS_URL is not set"
            logger.warning("%s. Mimic lists the ids that have worked since it started; MODELS sets a fixed list.", why)

    async def ask(self, suffix: bytes, fields: RequestFields, query: bytes, record: Record) -> BackendResponse:
        """One authorised GET, its answer as OpenAI's."""
        record.begin_call()
        if self.backend is None:
            return BackendResponse(ResponseFields(404), b"")
        read = self._translated if self.services.translates else as_it_came
        answer, translated = await self.backend.ask(
            b"GET", suffix, fields, query, record, limit=LONGEST_LIST_BYTES, read=read
        )
        if answer.fields.status > 599:
            message = f"The backend answered with status {answer.fields.status}, which HTTP does not have."
            raise UpstreamBadResponse(message, error_type="protocol")
        if translated is None:
            return answer
        shown = ResponseFields(translated.status)
        shown.request_id = answer.fields.request_id
        shown.lines = [JSON_LINE, *answer.fields.lines_beside_body]
        return BackendResponse(shown, translated.body)

    def _translated(self, answer: BackendResponse) -> Translated | None:
        return self.services.dialect.models(answer.fields.status, answer.plain(LONGEST_LIST_BYTES))


def _variant(fields: RequestFields) -> Variant | None:
    """What the backend is told of a request, but for what cannot mean another list; None: it wants its own answer."""
    lines = [line for line in b"".join(fields.passing).lower().split(b"\r\n") if line]
    names = [line.partition(b":")[0] for line in lines]
    if not ALONE.isdisjoint(names):
        return None
    return tuple(
        sorted(
            line
            for name, line in zip(names, lines, strict=True)
            if name != b"user-agent" and not name.startswith(b"x-stainless-")
        )
    )


def _landed(
    flights: "dict[Variant, asyncio.Task[ModelsAnswer]]", variant: Variant, flight: "asyncio.Task[ModelsAnswer]"
) -> None:
    if flights.get(variant) is flight:
        del flights[variant]
    if not flight.cancelled():
        flight.exception()


def _is_named(entry: msgspec.Raw, name: str) -> bool:
    try:
        return _LISTED.decode(entry).id == name
    except UNREADABLE:
        return False


def _passed(answer: BackendResponse) -> ModelsAnswer:
    return ModelsAnswer(answer.fields.status, answer.body, tuple(answer.fields.lines))


def _as_model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "backend"}


def _as_list(names: Sequence[str] | dict[str, None]) -> bytes:
    return msgspec.json.encode({"object": "list", "data": [_as_model(name) for name in names]})


def _not_found(name: str) -> ModelNotFound:
    shown = name if len(name) <= 100 else name[:100] + "..."
    return ModelNotFound(f"The model '{shown}' does not exist at this backend. GET /v1/models lists what does.")
