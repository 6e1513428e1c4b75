"""One small chat, as `check --chat MODEL` makes it: the whole way to the backend and back, in the backend's dialect."""

import json

import msgspec

from mimic_proxy.app.mimic import Mimic
from mimic_proxy.dialects.base import Stamp, Translated
from mimic_proxy.http.body import read_fields
from mimic_proxy.http.headers import RequestFields
from mimic_proxy.http.target import CHAT
from mimic_proxy.relay.client import BackendResponse, Client
from mimic_proxy.telemetry.propagation import unsampled
from mimic_proxy.telemetry.record import Record

WORDS = "Say hello."
LARGEST_ANSWER_BYTES = 1048576


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said


class _Completion(msgspec.Struct):
    choices: list[_Choice]


async def chat(mimic: Mimic, model: str, timeout: float) -> Translated:
    """What a caller gets who says hello to this model; timeout: seconds.

    Raises MimicError where there is no answer at all, or one that is not understood.
    """
    services = mimic.services
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": WORDS}], "max_tokens": 16}).encode()
    stamp = Stamp(services.new_trace()[:32], int(services.wall()))
    translation = services.dialect.translate(body, read_fields(body), stamp) if services.translates else None

    def read(answer: BackendResponse) -> Translated:
        status, plain = answer.fields.status, answer.plain(LARGEST_ANSWER_BYTES)
        return Translated(status, plain) if translation is None else translation.answer(status, plain)

    place = services.backends["chat"].base
    backend = Client(services, mimic.pools.of(place), place, name="CHAT_API_URL", timeout=timeout)
    fields = RequestFields()
    fields.passing += (b"content-type: application/json\r\n",)
    record = Record(services.clock(), "chat", "POST", "")
    record.trace = unsampled(None, services.new_trace())
    sent = body if translation is None else translation.body
    _, given = await backend.ask(b"POST", CHAT, fields, b"", record, body=sent, limit=LARGEST_ANSWER_BYTES, read=read)
    assert given is not None, "`read` makes something of every answer"
    return given


def characters(answer: Translated) -> int | None:
    """How much the model said; None if the answer is no chat completion. Never what it said."""
    try:
        choices = msgspec.json.decode(answer.body, type=_Completion).choices
    except msgspec.MsgspecError:
        return None
    return sum(len(choice.message.content or "") for choice in choices)
