"""What the OTEL_* variables ask for (OpenTelemetry, "Environment Variable Specification"). Pure.

They are the process's own, not Mimic's: they are read from the environment only, and a wrong one is told but stops
nobody, since telemetry must not keep a proxy from serving.

`importable` repairs for a moment what OpenTelemetry's own code reads while it is imported. FastAPI imports it too,
traces or not: a wrong OTEL_PROPAGATORS alone would keep Mimic from starting.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import unquote

from mimic_proxy.http.target import parse_base
from mimic_proxy.telemetry.propagation import Propagation
from mimic_proxy.telemetry.sampling import Sampler, sampler
from mimic_proxy.telemetry.tracing.spans import Limits, Value

SERVICE_NAME = "mimic-proxy"
TRACES_PATH = "/v1/traces"
PROPAGATORS = ("tracecontext", "baggage")
T = TypeVar("T")

Exporter = Literal["otlp", "console"]


@dataclass(frozen=True, slots=True)
class OTLP:
    """How spans reach the collector. timeout: seconds for one request, repetitions included."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout: float = 3.0
    gzip: bool = False
    certificate: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None


@dataclass(frozen=True, slots=True)
class Batching:
    """OTEL_BSP_*. delay: seconds between two exports. queue, batch: numbers of spans."""

    delay: float = 5.0
    queue: int = 2048
    batch: int = 512


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """All of it, where traces are exported at all."""

    exporter: Exporter
    otlp: OTLP | None
    sampler: Sampler
    batching: Batching
    limits: Limits
    resource: Mapping[str, Value]


class _Reader:
    """Reads variables and keeps what was wrong."""

    def __init__(self, environ: Mapping[str, str], is_file: Callable[[Path], bool]) -> None:
        self._environ = environ
        self.is_file = is_file
        self.problems: list[tuple[str, str]] = []

    def text(self, *names: str) -> tuple[str, str]:
        """The first of the variables that is set, and its value; an empty one counts as not set."""
        for name in names:
            value = self._environ.get(name, "").strip()
            if value:
                return name, value
        return names[-1], ""

    def number(self, names: tuple[str, ...], default: T, read: Callable[[str], T], wanted: str) -> T:
        """read: raises ValueError for what is not `wanted`."""
        name, value = self.text(*names)
        if not value:
            return default
        try:
            return read(value)
        except ValueError:
            self.problems.append((name, f"must be {wanted}; {'none' if default is None else default} is used"))
            return default


def read_propagation(environ: Mapping[str, str]) -> tuple[Propagation, list[tuple[str, str]]]:
    """What passes between caller, Mimic and backend; and what was wrong."""
    words = [word.strip().lower() for word in environ.get("OTEL_PROPAGATORS", "").split(",") if word.strip()]
    if not words:
        return Propagation(), []
    unknown = [word for word in words if word not in (*PROPAGATORS, "none")]
    known = ", ".join(PROPAGATORS)
    wrong = [("OTEL_PROPAGATORS", f"must be none or some of {known}; anything else is left out")] if unknown else []
    return Propagation("tracecontext" in words, "baggage" in words), wrong


def read_tracing(
    environ: Mapping[str, str], version: str, *, is_file: Callable[[Path], bool] = os.path.isfile
) -> tuple[TracingSettings | None, list[tuple[str, str]]]:
    """The settings, None where nothing is to be exported; and what was wrong: a variable's name and a sentence each.

    version: Mimic's own.
    """
    reader = _Reader(environ, is_file)
    exporter = _exporter(reader)
    otlp = _otlp(reader) if exporter == "otlp" else None
    if exporter is None or (exporter == "otlp" and otlp is None):
        return None, reader.problems
    chosen, wrong = sampler(*(environ.get(name, "") for name in ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG")))
    reader.problems += wrong
    settings = TracingSettings(exporter, otlp, chosen, _batching(reader), _limits(reader), _resource(reader, version))
    return settings, reader.problems


def _exporter(reader: _Reader) -> Exporter | None:
    if reader.text("OTEL_SDK_DISABLED")[1].lower() == "true":
        return None
    name, value = reader.text("OTEL_TRACES_EXPORTER")
    match value.lower():
        case "" | "otlp":
            return "otlp"
        case "console":
            return "console"
        case "none":
            return None
        case _:
            reader.problems.append((name, "must be otlp, console or none; no traces are exported"))
            return None


def _otlp(reader: _Reader) -> OTLP | None:
    name, url = reader.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if not url:
        return None
    try:
        parse_base(url)
    except ValueError as wrong:
        reader.problems.append((name, f"{wrong}; no traces are exported"))
        return None
    if name == "OTEL_EXPORTER_OTLP_ENDPOINT":
        url = url.rstrip("/") + TRACES_PATH
    protocol_name, protocol = reader.text("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol.lower() not in ("", "http/protobuf"):
        told = "must be http/protobuf, which is used; a collector listens for it on port 4318, not on that of gRPC"
        reader.problems.append((protocol_name, told))
    timeout = reader.number(
        _both("TIMEOUT"), 3.0, _within(0.0, 600.0, exclusive=True), "a number of seconds above 0 and up to 600"
    )
    return OTLP(
        url,
        _headers(reader),
        timeout,
        _compression(reader),
        _file(reader, "CERTIFICATE"),
        _file(reader, "CLIENT_CERTIFICATE"),
        _file(reader, "CLIENT_KEY"),
    )


def _both(last: str) -> tuple[str, str]:
    return f"OTEL_EXPORTER_OTLP_TRACES_{last}", f"OTEL_EXPORTER_OTLP_{last}"


def _compression(reader: _Reader) -> bool:
    name, value = reader.text(*_both("COMPRESSION"))
    if value.lower() not in ("", "none", "gzip"):
        reader.problems.append((name, "must be gzip or none; none is used"))
    return value.lower() == "gzip"


def _file(reader: _Reader, last: str) -> Path | None:
    name, value = reader.text(*_both(last))
    if not value:
        return None
    if not reader.is_file(Path(value)):
        reader.problems.append((name, "must be the path of a file that is there; without it nothing may be exported"))
    return Path(value)


def _headers(reader: _Reader) -> tuple[tuple[str, str], ...]:
    """`name=value` pairs, comma between them, percent-encoded. No message repeats them: they may be secrets."""
    name, value = reader.text(*_both("HEADERS"))
    pairs, wrong = _pairs(value)
    fit = [(key.lower(), text) for key, text in pairs if key.isascii() and text.isascii() and text.isprintable()]
    if wrong or len(fit) < len(pairs):
        reader.problems.append((name, "must be name=value pairs with commas between them; the others are left out"))
    return tuple(fit)


def _pairs(text: str) -> tuple[list[tuple[str, str]], bool]:
    """The pairs of a list in the manner of W3C Baggage; whether something else stands there too."""
    pairs, wrong = [], False
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        key = unquote(key.strip())
        if equals and key and " " not in key:
            pairs.append((key, unquote(value.strip())))
        else:
            wrong = True
    return pairs, wrong


def _batching(reader: _Reader) -> Batching:
    def whole(name: str, default: int) -> int:
        return reader.number((name,), default, _whole(1, 1_000_000), "a whole number from 1 to 1000000")

    queue = whole("OTEL_BSP_MAX_QUEUE_SIZE", 2048)
    batch = whole("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(512, queue))
    if batch > queue:
        told = f"must not be above OTEL_BSP_MAX_QUEUE_SIZE; {queue} is used"
        reader.problems.append(("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", told))
        batch = queue
    return Batching(whole("OTEL_BSP_SCHEDULE_DELAY", 5000) / 1000, queue, batch)


def _limits(reader: _Reader) -> Limits:
    wanted = "a whole number from 0 to 1000000"
    read = _whole(0, 1_000_000)

    def limit(*names: str, default: T) -> int | T:
        return reader.number(names, default, read, wanted)  # type: ignore[arg-type]

    return Limits(
        limit("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT", default=128),
        limit("OTEL_SPAN_EVENT_COUNT_LIMIT", default=128),
        limit("OTEL_SPAN_LINK_COUNT_LIMIT", default=128),
        limit("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", default=None),
    )


def _resource(reader: _Reader, version: str) -> Mapping[str, Value]:
    name, value = reader.text("OTEL_RESOURCE_ATTRIBUTES")
    pairs, wrong = _pairs(value)
    if wrong:
        reader.problems.append((name, "must be name=value pairs with commas between them; the others are left out"))
    attributes: dict[str, Value] = {
        "service.name": SERVICE_NAME,
        "service.version": version,
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        **dict(pairs),
    }
    service = reader.text("OTEL_SERVICE_NAME")[1]
    if service:
        attributes["service.name"] = service
    return attributes


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if not least <= number <= most:
            raise ValueError
        return number

    return read


def _within(least: float, most: float, *, exclusive: bool) -> Callable[[str], float]:
    def read(text: str) -> float:
        number = float(text)
        if not math.isfinite(number) or not least <= number <= most or (exclusive and number == least):
            raise ValueError
        return number

    return read


DEFAULTS = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http,gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS": ".*authorization,.*api-key,.*cookie,.*token,.*secret",
}
"""For variables that nobody has set."""
LIMITS = (
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
)


def mended(environ: MutableMapping[str, str]) -> dict[str, str | None]:
    """The variables that would break the import, with values that do not; None: better not set."""
    found: dict[str, str | None] = {}
    for name in LIMITS:
        value = environ.get(name, "").strip()
        if value and not (value.isascii() and value.isdigit()):
            found[name] = None
    words = [word.strip().lower() for word in environ.get("OTEL_PROPAGATORS", "").split(",") if word.strip()]
    known = ",".join(word for word in words if word in PROPAGATORS)
    if words and ",".join(words) != known:
        found["OTEL_PROPAGATORS"] = known or "none"
    return found


@contextmanager
def importable(environ: MutableMapping[str, str]) -> Iterator[None]:
    """While this lasts, OpenTelemetry can be imported; afterwards the variables say again what somebody wrote."""
    changed = mended(environ)
    before = {name: environ[name] for name in changed}
    for name, value in changed.items():
        if value is None:
            del environ[name]
        else:
            environ[name] = value
    try:
        yield
    finally:
        environ.update(before)
