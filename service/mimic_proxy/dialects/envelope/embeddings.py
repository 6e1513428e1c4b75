"""An embeddings request, put to a gateway one input after the other or in batches; the vectors in one answer.

1. The calls are written when they are asked for: a thousand inputs do not make a thousand copies of the rest.
2. `encoding_format` is Mimic's matter and is not sent; a gateway that answers in base64 is understood all the same.
"""

import base64
import binascii
import math
import struct
from array import array
from collections.abc import Sequence
from typing import Any, overload

import msgspec

from mimic_proxy.dialects.base import Translated
from mimic_proxy.dialects.base import text as name_of
from mimic_proxy.dialects.envelope.accounts import usage_object
from mimic_proxy.dialects.envelope.errors import Trouble, bad_response, not_json, reported
from mimic_proxy.dialects.envelope.paths import MODEL, USAGE, Shape, first, keys_of
from mimic_proxy.dialects.envelope.request import Fields, decoded, fields_of, wrapped
from mimic_proxy.dialects.envelope.text import read_json, write_json
from mimic_proxy.errors import InvalidRequest, UnsupportedInput
from mimic_proxy.http.body import BodyFields
from mimic_proxy.pointer import MISSING, written
from mimic_proxy.telemetry.observation import NO_USAGE, Shown, Usage

MOST_INPUTS = 2048
"""OpenAI's own limit."""
TOKENS = (
    "The input is made of token ids, and this backend takes text. Let the client send the text: with langchain-openai "
    "OpenAIEmbeddings(check_embedding_ctx_length=False), elsewhere whatever switches off its tokenizing (tiktoken)."
)


class Unfit(Exception):
    """What stands at the place of a vector is none; the message says what is wrong, and no value."""


class Bodies(Sequence[bytes]):
    """The calls in the order of the inputs, each written when it is asked for."""

    __slots__ = ("_fields", "_inputs", "_shape")

    def __init__(self, shape: Shape, fields: Fields, inputs: list[str]) -> None:
        self._shape = shape
        self._fields = fields
        self._inputs = inputs

    def __len__(self) -> int:
        return math.ceil(len(self._inputs) / self._shape.embedding_batch)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        size, name = self._shape.embedding_batch, self._shape.embedding_input
        some = self._inputs[index * size : (index + 1) * size]
        value: Any = some[0] if size == 1 else some
        return wrapped(
            self._shape,
            {name if key == "input" else key: value if key == "input" else kept for key, kept in self._fields.items()},
        )

    def size(self, index: int) -> int:
        """How many inputs one call has."""
        size = self._shape.embedding_batch
        return min(size, len(self._inputs) - index * size)


class EnvelopeEmbedding:
    """See Embedding."""

    __slots__ = ("_base64", "_length", "_model", "_shape", "_usages", "_vectors", "bodies")

    def __init__(self, shape: Shape, body: bytes, fields: BodyFields) -> None:
        whole = fields_of(body)
        inputs = _inputs(decoded(whole.get("input")))
        whole.pop("encoding_format", None)
        self.bodies = Bodies(shape, whole, inputs)
        self._shape = shape
        self._base64 = shape.base64 and fields.encoding_format == "base64"
        self._model = fields.model or ""
        self._vectors: dict[int, list[array[float]]] = {}
        self._usages: dict[int, dict[str, Any]] = {}
        self._length = 0

    def take(self, index: int, status: int, body: bytes) -> Translated | None:
        try:
            document = read_json(body)
        except ValueError:
            return not_json(status, body).translated()
        found = self._shape.plan.walk(document)
        trouble = reported(self._shape, found, status)
        if trouble is None:
            try:
                self._vectors[index] = self._found(document, self.bodies.size(index))
            except Unfit as fault:
                trouble = self._unfit(document, fault)
        if trouble is not None:
            return trouble.translated()
        usage = usage_object(self._shape.plan.pick(found, USAGE))
        if usage is not None:
            self._usages[index] = usage
        model = self._shape.plan.pick(found, MODEL)
        if isinstance(model, str) and model:
            self._model = model
        return None

    def answer(self) -> Translated:
        vectors = [vector for index in range(len(self.bodies)) for vector in self._vectors[index]]
        parts = [b'{"object":"list","data":[']
        for index, vector in enumerate(vectors):
            if index:
                parts.append(b",")
            parts += (b'{"object":"embedding","index":%d,"embedding":' % index, self._written(vector), b"}")
        prompt = sum(usage["prompt_tokens"] for usage in self._usages.values())
        total = sum(usage["total_tokens"] for usage in self._usages.values())
        usage = {"prompt_tokens": prompt, "total_tokens": total}
        parts += (b'],"model":', write_json(self._model), b',"usage":', write_json(usage), b"}")
        told = len(self._usages) == len(self.bodies)
        shown = Shown(Usage(prompt, None, None, None) if told else NO_USAGE, None, name_of(self._model))
        return Translated(200, b"".join(parts), shown)

    def _written(self, vector: "array[float]") -> bytes:
        if not self._base64:
            return msgspec.json.encode(vector.tolist())
        return b'"%b"' % base64.b64encode(struct.pack(f"<{len(vector)}f", *vector))

    def _found(self, document: Any, count: int) -> "list[array[float]]":
        """The vectors of one answer. Raises Unfit."""
        value = first(document, self._shape.embedding)
        if value is MISSING:
            raise Unfit("is missing")
        if self._shape.embedding_batch == 1:
            vectors = [self._vector(value)]
        else:
            if not isinstance(value, list) or len(value) != count:
                raise Unfit(f"is not an array of {count} embeddings, one for each input")
            vectors = [self._vector(first(item, self._shape.embedding_item)) for item in _ordered(value)]
        for vector in vectors:
            self._length = self._length or len(vector)
            if len(vector) != self._length:
                raise Unfit("has not the same length for every input")
        return vectors

    def _vector(self, value: Any) -> "array[float]":
        if isinstance(value, dict):
            value = first(value, self._shape.embedding_item)
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (list, dict)):
            # A batch of one.
            return self._vector(value[0])
        if isinstance(value, str):
            return _unpacked(value)
        if not isinstance(value, list) or not value:
            raise Unfit("is not an array of numbers")
        # type() and not isinstance(): true and false are no numbers.
        if not all(type(number) is float or type(number) is int for number in value):
            raise Unfit("holds something that is not a number")
        try:
            vector = array("d", value)
            if self._base64:
                struct.pack(f"<{len(vector)}f", *vector)
        except OverflowError:
            raise Unfit("holds a number that is too large") from None
        return vector

    def _unfit(self, document: Any, fault: Unfit) -> Trouble:
        names = " or ".join(map(written, self._shape.embedding))
        place = f"The embedding at {names} (ENVELOPE_EMBEDDING_PATH) in the backend's answer"
        return bad_response(f"{place} {fault}; {keys_of(document)}.")


def _inputs(value: Any) -> list[str]:
    """The texts to embed. Raises InvalidRequest and UnsupportedInput."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise InvalidRequest("'input' has to be a text or an array of texts.", param="input")
    if not 0 < len(value) <= MOST_INPUTS:
        raise InvalidRequest(f"'input' has to hold between 1 and {MOST_INPUTS} texts.", param="input")
    if all(isinstance(item, str) for item in value):
        return value
    if any(_is_token(item) or (isinstance(item, list) and all(map(_is_token, item))) for item in value):
        raise UnsupportedInput(TOKENS, param="input")
    raise InvalidRequest("'input' has to be a text or an array of texts.", param="input")


def _is_token(value: Any) -> bool:
    return type(value) is int


def _ordered(items: list[Any]) -> list[Any]:
    """By their `index`, where each has one."""
    places: list[Any] = [item.get("index") if isinstance(item, dict) else None for item in items]
    if all(type(place) is int for place in places) and sorted(places) == list(range(len(items))):
        return [item for _, item in sorted(zip(places, items, strict=True), key=lambda pair: pair[0])]
    return items


def _unpacked(text: str) -> "array[float]":
    """A vector that came as base64 of little-endian float32."""
    try:
        packed = base64.b64decode(text, validate=True)
        numbers = struct.unpack(f"<{len(packed) // 4}f", packed)
    except (binascii.Error, struct.error, ValueError):
        raise Unfit("is text that is no vector in base64") from None
    if not numbers or not all(map(math.isfinite, numbers)):
        raise Unfit("is empty or holds something that is not a number")
    return array("d", numbers)
