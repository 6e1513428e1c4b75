"""`spec.dialect`: the API of the backend, and where an envelope holds each value."""

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
    return Items(f"{about} The first pointer that finds a value counts.", PLACE, most=8, least=least)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeRequest:
    under: Annotated[
        str | None,
        Text(
            "Pointer to the place of the caller's body in the request. Without it the body is sent unchanged.",
            most=256,
            matches=DOCUMENT_PLACES,
        ),
    ] = None
    rename: Annotated[
        Mapping[str, str],
        Table(
            "New names of top-level fields, by their names in the API of OpenAI.", FIELD_NAME, most=32, keys=(FIELD,)
        ),
    ] = field(default_factory=dict)
    add: Annotated[Mapping[str, Any] | None, Foreign("Fields to add to every request. Secrets do not belong here.")] = (
        None
    )
    history: Annotated[
        Literal["OpenAI", "Flat"] | None,
        OneOf("How tool calls of earlier messages are sent. The default is OpenAI.", ("OpenAI", "Flat")),
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
    text_path: Annotated[Places, _places("The text. The default is data.content.content.", least=1)] = None
    tool_calls_path: Annotated[Places, _places("The tool calls. The default is data.content.tool_calls.")] = None
    finish_reason_path: Annotated[Places, _places("The finish reason.")] = None
    usage_path: Annotated[Places, _places("The token usage.")] = None
    model_path: Annotated[Places, _places("The name of the model.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeErrors:
    code_path: Annotated[Places, _places("The code of an error. The default is errorCode.")] = None
    message_path: Annotated[Places, _places("The message of an error.")] = None
    success_codes: Annotated[
        tuple[str, ...] | None,
        Items("Codes that report success. The default is 0, 200, success and ok.", CODE, most=32),
    ] = None
    refused_codes: Annotated[
        tuple[str, ...] | None, Items("Codes that report a refused token. The default is 401.", CODE, most=32)
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeStream:
    form: Annotated[
        Literal["Auto", "SSE", "NDJSON", "Off"] | None,
        OneOf("Framing of streams. The default is Auto.", ("Auto", "SSE", "NDJSON", "Off")),
    ] = None
    text: Annotated[
        Literal["Delta", "Cumulative"] | None,
        OneOf(
            "Delta: an event holds the new text; Cumulative: the text so far. The default is Delta.",
            ("Delta", "Cumulative"),
        ),
    ] = None
    end: Annotated[
        Literal["Auto", "Marker", "Body"] | None,
        OneOf("What ends a stream: a marker, or the end of the body. The default is Auto.", ("Auto", "Marker", "Body")),
    ] = None
    done_path: Annotated[Places, _places("The marker of the last event. The default is data.done, then done.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeEmbedding:
    input: Annotated[
        str | None, Text("Name of the field for the input. The default is text.", most=128, matches=(PLAIN,))
    ] = None
    batch: Annotated[int | None, Whole("Number of inputs per call. The default is 1.", 1, 2048)] = None
    concurrency: Annotated[
        int | None, Whole("Number of calls at the same time for one request. The default is 8.", 1, 256)
    ] = None
    encoding: Annotated[
        Literal["Asked", "Float"] | None,
        OneOf(
            "Asked: requests base64 from the gateway if the caller does; Float: requests floats. The default is Asked.",
            ("Asked", "Float"),
        ),
    ] = None
    path: Annotated[Places, _places("The vector. The default is data.content.", least=1)] = None
    item_path: Annotated[Places, _places("The vector in each element of a batch.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeModels:
    url: Annotated[str | None, web_address("URL that lists the models.")] = None
    path: Annotated[Places, _places("The list in the response.")] = None
    id_path: Annotated[Places, _places("The id in each element.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What is left out has the default of the original gateway."""

    request: Annotated[EnvelopeRequest, Section("The request.", EnvelopeRequest, (NAMES_DIFFER,))] = field(
        default_factory=EnvelopeRequest
    )
    answer: Annotated[EnvelopeAnswer, Section("Where a response holds each value.", EnvelopeAnswer)] = field(
        default_factory=EnvelopeAnswer
    )
    errors: Annotated[EnvelopeErrors, Section("How the gateway reports errors.", EnvelopeErrors)] = field(
        default_factory=EnvelopeErrors
    )
    stream: Annotated[EnvelopeStream, Section("How the gateway sends streams.", EnvelopeStream)] = field(
        default_factory=EnvelopeStream
    )
    embedding: Annotated[EnvelopeEmbedding, Section("Calls for embeddings.", EnvelopeEmbedding)] = field(
        default_factory=EnvelopeEmbedding
    )
    models: Annotated[EnvelopeModels, Section("The list of models.", EnvelopeModels)] = field(
        default_factory=EnvelopeModels
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    type: Annotated[
        Literal["OpenAI", "Envelope"],
        OneOf("OpenAI: the API of OpenAI. Envelope: an API that wraps requests and responses.", ("OpenAI", "Envelope")),
    ] = "OpenAI"
    envelope: Annotated[
        Envelope | None,
        Section("How the envelope is built. The default is the envelope of the original gateway.", Envelope),
    ] = None
