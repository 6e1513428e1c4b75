"""`spec.dialect`: how the backend speaks, and where things stand in an envelope."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from mimic_operator.resource.fields import Foreign, Items, Kind, OneOf, Section, SectionRule, Table, Text, Whole
from mimic_operator.resource.spec.common import DOCUMENT_PLACES, FIELD, PLAIN, web_address

PLACE: Kind = Text(
    "Keys joined by dots, or a JSON Pointer (RFC 6901); `.` is the whole.", most=256, matches=DOCUMENT_PLACES
)
CODE: Kind = Text("A code as text.", most=64, matches=(PLAIN,))
FIELD_NAME: Kind = Text("A field's name.", most=128, matches=(FIELD,))
Places = tuple[str, ...] | None


def _places(about: str, least: int = 0) -> Items:
    return Items(f"{about} Of several places the first that holds something counts.", PLACE, most=8, least=least)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeRequest:
    under: Annotated[
        str | None,
        Text("Where the caller's body is put; sent as it is if left out.", most=256, matches=DOCUMENT_PLACES),
    ] = None
    rename: Annotated[
        Mapping[str, str], Table("Other names of top-level fields.", FIELD_NAME, most=32, keys=(FIELD,))
    ] = field(default_factory=dict)
    add: Annotated[Mapping[str, Any] | None, Foreign("Fields that every request gets besides; no secrets.")] = None
    history: Annotated[
        Literal["OpenAI", "Flat"] | None, OneOf("How earlier tool calls are sent; OpenAI.", ("OpenAI", "Flat"))
    ] = None


def _names_differ(request: EnvelopeRequest) -> bool:
    return len(set(request.rename.values())) == len(request.rename)


NAMES_DIFFER = SectionRule(
    "rename",
    "!has(self.rename) || self.rename.all(one, self.rename.exists_one(other, self.rename[other] == self.rename[one]))",
    _names_differ,
    "must not give two fields the same name",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeAnswer:
    text_path: Annotated[Places, _places("The text; data.content.content.", least=1)] = None
    tool_calls_path: Annotated[Places, _places("Tool calls; data.content.tool_calls.")] = None
    finish_reason_path: Annotated[Places, _places("The finish reason.")] = None
    usage_path: Annotated[Places, _places("Usage.")] = None
    model_path: Annotated[Places, _places("The model.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeErrors:
    code_path: Annotated[Places, _places("The error's code; errorCode.")] = None
    message_path: Annotated[Places, _places("Its message.")] = None
    success_codes: Annotated[
        tuple[str, ...] | None, Items("Codes that report no error; 0, 200, success and ok.", CODE, most=32)
    ] = None
    refused_codes: Annotated[
        tuple[str, ...] | None, Items("Codes that say the token was refused; 401.", CODE, most=32)
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeStream:
    form: Annotated[
        Literal["Auto", "SSE", "NDJSON", "Off"] | None,
        OneOf("How streams are framed; Auto.", ("Auto", "SSE", "NDJSON", "Off")),
    ] = None
    text: Annotated[
        Literal["Delta", "Cumulative"] | None,
        OneOf("Whether an event holds what is new, or all so far; Delta.", ("Delta", "Cumulative")),
    ] = None
    end: Annotated[
        Literal["Auto", "Marker", "Body"] | None,
        OneOf("What ends a stream: a marker, or the end of the body; Auto.", ("Auto", "Marker", "Body")),
    ] = None
    done_path: Annotated[Places, _places("The marker in an event; data.done or done.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeEmbedding:
    input: Annotated[str | None, Text("The field that the input stands in; text.", most=128, matches=(PLAIN,))] = None
    batch: Annotated[int | None, Whole("Inputs of one call; 1.", 1, 2048)] = None
    concurrency: Annotated[int | None, Whole("Calls at once for one request; 8.", 1, 256)] = None
    encoding: Annotated[
        Literal["Asked", "Float"] | None,
        OneOf("Whether a base64 answer is asked of the gateway too, or floats alone; Asked.", ("Asked", "Float")),
    ] = None
    path: Annotated[Places, _places("The vector; data.content.", least=1)] = None
    item_path: Annotated[Places, _places("The vector in each element of a batch.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeModels:
    url: Annotated[str | None, web_address("Where models are listed.")] = None
    path: Annotated[Places, _places("The list in the answer.")] = None
    id_path: Annotated[Places, _places("The id in each element.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What is left out is as the original gateway has it."""

    request: Annotated[EnvelopeRequest, Section("What is sent.", EnvelopeRequest, (NAMES_DIFFER,))] = field(
        default_factory=EnvelopeRequest
    )
    answer: Annotated[EnvelopeAnswer, Section("Where an answer holds what.", EnvelopeAnswer)] = field(
        default_factory=EnvelopeAnswer
    )
    errors: Annotated[EnvelopeErrors, Section("How errors are told.", EnvelopeErrors)] = field(
        default_factory=EnvelopeErrors
    )
    stream: Annotated[EnvelopeStream, Section("How streams come.", EnvelopeStream)] = field(
        default_factory=EnvelopeStream
    )
    embedding: Annotated[EnvelopeEmbedding, Section("Embeddings.", EnvelopeEmbedding)] = field(
        default_factory=EnvelopeEmbedding
    )
    models: Annotated[EnvelopeModels, Section("Models.", EnvelopeModels)] = field(default_factory=EnvelopeModels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    type: Annotated[
        Literal["OpenAI", "Envelope"],
        OneOf("OpenAI's own API, or one that wraps requests and answers.", ("OpenAI", "Envelope")),
    ] = "OpenAI"
    envelope: Annotated[
        Envelope | None, Section("Where things stand in it; the original gateway's places if left out.", Envelope)
    ] = None
