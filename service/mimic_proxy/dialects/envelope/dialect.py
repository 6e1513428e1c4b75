"""The envelope dialect: gateways that wrap requests and answers in a form of their own, described by settings."""

from typing import Literal

from mimic_proxy.dialects.base import Stamp, Translated
from mimic_proxy.dialects.envelope.embeddings import EnvelopeEmbedding
from mimic_proxy.dialects.envelope.models import model_list
from mimic_proxy.dialects.envelope.paths import Shape
from mimic_proxy.dialects.envelope.translation import EnvelopeChat
from mimic_proxy.dialects.openai import OpenAI, OpenAIStream
from mimic_proxy.http.body import BodyFields
from mimic_proxy.settings.fields import Settings
from mimic_proxy.telemetry.observation import Shown


class Envelope:
    """See Dialect. What is not translated (anything but chat, embeddings and models) is read as OpenAI's."""

    __slots__ = ("_openai", "_shape")

    def __init__(self, settings: Settings) -> None:
        self._shape = Shape.of(settings)
        self._openai = OpenAI()

    def translate(self, body: bytes, fields: BodyFields, stamp: Stamp) -> EnvelopeChat:
        return EnvelopeChat(self._shape, body, fields, stamp)

    def embed(self, body: bytes, fields: BodyFields) -> EnvelopeEmbedding:
        return EnvelopeEmbedding(self._shape, body, fields)

    def models(self, status: int, body: bytes) -> Translated:
        return model_list(self._shape, status, body)

    def stream(self, fields: BodyFields, route_end: Literal["done", "responses"], remove_usage: bool) -> OpenAIStream:
        return self._openai.stream(fields, route_end, remove_usage)

    def shown(self, body: bytes) -> Shown | None:
        return self._openai.shown(body)
