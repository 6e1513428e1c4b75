"""POST /v1/embeddings: deterministic unit vectors; texts that share words get vectors that are close."""

import base64
import hashlib
import math
import re
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request, Response
from msgspec import Meta, Struct

from mimic_proxy.demo.assistant import tokens
from mimic_proxy.demo.desk import Desk
from mimic_proxy.demo.refusals import Refusal, model_name, read

DEFAULT_DIMENSIONS: Final = {
    "demo/embed-small": 256,
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
_OTHER_DIMENSIONS: Final = 1536
_MOST_INPUTS: Final = 2048
_PLACES_PER_FEATURE: Final = 8

_WORD = re.compile(r"\w+|[^\w\s]")

Tokens = list[int]


class EmbeddingRequest(Struct):
    model: str
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None


def embedding_router(desk: Desk) -> APIRouter:
    router = APIRouter()

    @router.post("/embeddings")
    async def create(request: Request) -> Response:
        asked = read(await request.body(), EmbeddingRequest)
        faults = desk.faults(request, model_name(asked.model))
        given, size = inputs(asked.input), dimensions(asked)
        as_text = asked.encoding_format == "base64" and not desk.options.always_float
        vectors = [packed(text, size) for text in given]
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector).decode() if as_text else floats(vector),
            }
            for index, vector in enumerate(vectors)
        ]
        count = sum(len(tokens(text)) if isinstance(text, str) else len(text) for text in given)
        usage = {"prompt_tokens": count, "total_tokens": count}
        return desk.answer(faults, {"object": "list", "data": data, "model": asked.model, "usage": usage})

    return router


def inputs(value: str | list[Any]) -> list[str | Tokens]:
    """The texts or token arrays of a request. Raises Refusal (400) for anything else, and for empty ones."""
    if isinstance(value, str) or (value and all(_is_token(item) for item in value)):
        value = [value]
    if not 0 < len(value) <= _MOST_INPUTS:
        message = f"'input' must hold between 1 and {_MOST_INPUTS} items."
        raise Refusal(message, param="input", code="invalid_value")
    for place, item in enumerate(value):
        fits = isinstance(item, str) or (isinstance(item, list) and all(_is_token(one) for one in item))
        if not fits or not item:
            message = f"'input[{place}]' is invalid: expected a text or an array of token ids, not empty."
            raise Refusal(message, param="input", code="invalid_value")
    return value


def dimensions(asked: EmbeddingRequest) -> int:
    """The length of the vectors. Raises Refusal (400) if more is asked than the model gives."""
    most = DEFAULT_DIMENSIONS.get(asked.model, _OTHER_DIMENSIONS)
    if asked.dimensions is None:
        return most
    if asked.dimensions > most:
        message = f"Invalid value for 'dimensions' = {asked.dimensions}. Must be less than or equal to {most}."
        raise Refusal(message, param="dimensions", code="invalid_value")
    return asked.dimensions


def packed(text: str | Tokens, size: int) -> bytes:
    """A unit vector of `size` numbers as little-endian float32.

    Each word (or token id) adds to a few places that its hash chooses, so shared words give close vectors.
    """
    vector = [0.0] * size
    for feature, weight in _features(text):
        digest = hashlib.blake2b(feature.encode("utf-8", "replace"), digest_size=4 * _PLACES_PER_FEATURE).digest()
        for place in struct.unpack(f"<{_PLACES_PER_FEATURE}I", digest):
            vector[(place >> 1) % size] += weight if place & 1 else -weight
    length = math.sqrt(sum(value * value for value in vector))
    if length == 0:
        vector[0] = length = 1.0
    return struct.pack(f"<{size}f", *(value / length for value in vector))


def floats(vector: bytes) -> list[float]:
    """The same numbers that a client reads from the base64 form."""
    return list(struct.unpack(f"<{len(vector) // 4}f", vector))


def _features(text: str | Tokens) -> Sequence[tuple[str, float]]:
    if isinstance(text, str):
        return [(word, 1.0) for word in _WORD.findall(text.lower())] + [(text, 0.25)]
    return [(f"#{token}", 1.0) for token in text]


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
