"""What can be set: read once, at the entry, into one frozen object.

Every setting is one field of `Settings`: its name in upper case is the variable, in lower case the key of the YAML
file, and its type names the reader of the value.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_type_hints

from mimic_proxy.configuration import envelope, grants, values
from mimic_proxy.configuration.sources import Names, Problem, gather

Text = Annotated[str, values.text]
Flag = Annotated[bool, values.flag]
Seconds = Annotated[float, values.seconds]
PositiveSeconds = Annotated[float, values.positive_seconds]
PortNumber = Annotated[int, values.whole(0, 65535)]
Count = Annotated[int, values.whole(0)]
Bytes = Annotated[int, values.whole(1)]
Addresses = Annotated[tuple[str, ...], values.addresses]
Items = Annotated[tuple[str, ...], values.comma_list]
HostNames = Annotated[tuple[str, ...], values.host_names]
Origins = Annotated[tuple[str, ...], values.origins]
File = Annotated[Path, values.path]
Url = Annotated[str, values.url]
Proxy = Annotated[str, values.proxy]
Pointer = Annotated[str, envelope.one_pointer]
Pointers = Annotated[tuple[str, ...], envelope.pointers]
Grant = Literal["auth_code", "static", "none"]


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is to be found: its value, or a file that is read again whenever it changes.

    Neither `repr` nor `str` shows the value.
    """

    name: str
    """The variable, for messages: AUTH_CODE, also when AUTH_CODE_FILE is set."""
    value: str | None = field(default=None, repr=False)
    file: Path | None = None

    @property
    def configured(self) -> bool:
        return self.value is not None or self.file is not None


class SettingsError(Exception):
    """The settings cannot be used; `problems` lists everything that is wrong, `str` is the message for the user."""

    def __init__(self, problems: list[Problem]) -> None:
        count = "1 setting needs" if len(problems) == 1 else f"{len(problems)} settings need"
        super().__init__("\n".join([f"{count} mending:", *(f"  {name}: {wrong}" for name, wrong in problems)]))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """All settings. Durations are seconds and 0 switches that limit off; sizes are bytes."""

    # The backend and its token service.
    chat_api_url: Url
    embedding_api_url: Url
    token_url: Url | None = None
    auth_code: SecretRef | None = None
    grant: Annotated[Grant, values.one_of("auth_code", "static", "none")] = "auth_code"
    dialect: Annotated[Literal["openai", "envelope"], values.one_of("openai", "envelope")] = "openai"
    preset: Annotated[None, values.not_yet] = None
    models: Items = ()
    """A fixed list of model ids; empty asks the backend."""
    models_cache_seconds: Seconds = 10.0

    # What a backend of DIALECT=envelope is sent, and where things stand in its answers; docs/dialects.md.
    envelope_request_under: Pointer | None = None
    """Where the caller's body is put; None sends it as it is."""
    envelope_request_rename: Annotated[tuple[str, ...], envelope.renames] = ()
    envelope_request_add: Annotated[str, envelope.json_object] = "{}"
    """A JSON object whose fields every request gets besides. May hold an application's key: shown by names alone."""
    envelope_history: Annotated[Literal["openai", "flat"], values.one_of("openai", "flat")] = "openai"
    """How tool calls in earlier messages are sent."""
    envelope_text_path: Annotated[tuple[str, ...], envelope.some_pointers] = ("data.content.content",)
    envelope_tool_calls_path: Pointers = ("data.content.tool_calls",)
    envelope_finish_reason_path: Pointers = (
        "data.content.finish_reason",
        "data.finish_reason",
        "finish_reason",
    )
    envelope_usage_path: Pointers = ("data.content.usage", "data.usage", "usage")
    envelope_model_path: Pointers = ("data.model", "model")
    envelope_error_code_path: Pointers = ("errorCode", "error.code", "error")
    envelope_error_message_path: Pointers = ("errorMessage", "errorMsg", "message", "msg", "error")
    envelope_success_codes: Items = ("0", "200", "success", "ok")
    """Values of the error code that report no error, beside null and an empty text."""
    envelope_refused_codes: Items = ("401",)
    """Values of the error code that say that the access token was refused."""
    envelope_stream: Annotated[
        Literal["auto", "sse", "ndjson", "off"], values.one_of("auto", "sse", "ndjson", "off")
    ] = "auto"
    envelope_stream_text: Annotated[Literal["delta", "cumulative"], values.one_of("delta", "cumulative")] = "delta"
    envelope_stream_end: Annotated[Literal["auto", "marker", "body"], values.one_of("auto", "marker", "body")] = "auto"
    envelope_done_path: Pointers = ("data.done", "done")
    envelope_embedding_input: Text = "text"
    """The field that the input stands in."""
    envelope_embedding_batch: Annotated[int, values.whole(1, 2048)] = 1
    """Inputs of one call. 1 sends each as a text, more as an array of texts."""
    envelope_embedding_path: Annotated[tuple[str, ...], envelope.some_pointers] = ("data.content",)
    envelope_embedding_item_path: Pointers = (".", "embedding")
    """Where the vector stands in each element, if a batch answers with an array of them."""
    envelope_models_url: Url | None = None
    envelope_models_path: Pointers = ("data", "models", "data.models")
    envelope_model_id_path: Pointers = ("id", "name", "model")

    # What the other grants need.
    access_token: SecretRef | None = None
    client_id: Text | None = None
    client_secret: SecretRef | None = None
    scope: Text | None = None
    refresh_token: SecretRef | None = None
    private_key_file: File | None = None
    subject_token_file: File | None = None
    token_store: File | None = None
    auth_code_single_use: Flag = False

    # How a token is kept and sent.
    token_header: Annotated[str, values.header_name] = "Authorization"
    token_format: Annotated[str, values.token_format] = "Bearer {token}"
    token_default_lifetime: PositiveSeconds = 300.0
    """Schedules refreshes where neither `expires_in` nor a JWT tells the lifetime."""
    token_timeout: Seconds = 10.0
    token_min_refresh_interval: Seconds = 1.0
    """The floor between two refreshes that the backend's 401 forces."""

    # Where Mimic listens, and to whom.
    host: Addresses = ("127.0.0.1", "::1")
    port: PortNumber = 8000
    """0 takes any free port; the log tells which."""
    admin_host: Addresses = ("127.0.0.1", "::1")
    admin_port: PortNumber = 8001
    allowed_hosts: HostNames = ()
    allowed_origins: Origins = ()
    tls_cert: File | None = None
    """Certificate chain for TLS on the API port."""
    tls_key: File | None = None

    # TLS and the way to the backend and the token service.
    verify_ssl: Flag = True
    ca_bundle: File | None = None
    client_cert: File | None = None
    client_key: File | None = None
    http_proxy: Proxy | None = None
    """May hold a password: never to be shown but through `redacted`."""
    https_proxy: Proxy | None = None
    no_proxy: Items = ()

    # Limits.
    max_body_bytes: Bytes = 33_554_432
    max_buffered_bytes: Bytes = 268_435_456
    """For the bodies of all exchanges together."""
    max_concurrency: Count = 512
    """Exchanges at the backend at once; 0 is unlimited."""
    max_queue: Count = 1024
    """Exchanges that wait for one of those slots; 0 is no queue."""
    queue_timeout: Seconds = 10.0
    head_timeout: Seconds = 10.0
    keep_alive_timeout: Seconds = 75.0
    connect_timeout: Seconds = 5.0
    first_byte_timeout: Seconds = 600.0
    idle_timeout: Seconds = 300.0
    send_timeout: Seconds = 60.0
    total_timeout: Seconds = 900.0
    heartbeat_after: Seconds = 0.0
    drain_delay: Seconds = 0.0
    drain_timeout: Seconds = 25.0
    breaker_failures: Count = 0
    """Failures in a row that open the backend's circuit breaker; 0 is no breaker."""
    breaker_cooldown: PositiveSeconds = 30.0
    retry_dead_connection: Flag = True
    include_usage: Flag = False
    """Ask for usage in streams whose caller did not, and take it out again on the way back."""

    # Logs.
    log_level: Annotated[str, values.one_of("DEBUG", "INFO", "WARNING", "ERROR")] = "INFO"
    log_format: Annotated[Literal["json", "console"], values.one_of("json", "console")] = "json"

    # Traces and metrics; what is OpenTelemetry's own stands in OTEL_* variables.
    mimic_trace_upstream: Flag = True
    """Tell the backend of the trace: traceparent and tracestate."""
    mimic_genai_spans: Flag = True
    """CLIENT spans speak of models and tokens; else of HTTP alone."""
    mimic_genai_metrics: Flag = False
    mimic_genai_provider: Text = "openai"
    """`gen_ai.provider.name`: whose flavour of telemetry this is, not who runs the model."""

    warnings: tuple[str, ...] = ()
    """Sentences for the log that do not stop the start; no setting."""

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in redacted(self).items())})"


def _reader(hint: Any) -> values.Reader | None:
    """The reader that a field's type names, also inside `... | None`."""
    if hasattr(hint, "__metadata__"):
        reader: values.Reader = hint.__metadata__[0]
        return reader
    return next((found for part in get_args(hint) if (found := _reader(part))), None)


HINTS = get_type_hints(Settings, include_extras=True)
READERS = {name.upper(): reader for name, hint in HINTS.items() if (reader := _reader(hint))}
SECRETS = tuple(name.upper() for name, hint in HINTS.items() if SecretRef in get_args(hint))
DEFAULTS = {entry.name.upper(): entry.default for entry in fields(Settings) if entry.default is not MISSING}
NAMES = Names(plain=frozenset(READERS), secrets=frozenset(SECRETS))
BARE_TOKEN = "{token}"
"""How a gateway with an envelope of its own is sent the token, unless TOKEN_FORMAT says otherwise."""
FILES = ("TLS_CERT", "TLS_KEY", "CA_BUNDLE", "CLIENT_CERT", "CLIENT_KEY")
"""Have to be there at the start. The files of secrets may come later."""


def load(
    environ: Mapping[str, str],
    dotenv: Path | None = None,
    *,
    overrides: Mapping[str, str | None] = MappingProxyType({}),
    defaults: Mapping[str, str] = MappingProxyType({}),
    is_file: Callable[[Path], bool] = os.path.isfile,
) -> Settings:
    """Reads the settings, or raises SettingsError with all problems at once.

    dotenv: the `.env` file; None, and a file that does not exist, is none.
    overrides: variables that count before all sources; None takes one away from all of them.
    defaults: variables that count after all sources.
    """
    gathered = gather(NAMES, environ, dotenv, overrides=overrides, defaults=defaults)
    problems, warnings = gathered.problems, gathered.warnings
    found: dict[str, Any] = {}
    for name, reader in READERS.items():
        if name in gathered.values:
            try:
                found[name] = reader(gathered.values[name])
            except ValueError as wrong:
                problems.append(Problem(name, str(wrong)))
    if found.get("DIALECT") == "envelope":
        found.setdefault("TOKEN_FORMAT", BARE_TOKEN)
    for name in SECRETS:
        secret = _secret_ref(name, gathered.values, problems)
        if secret is not None:
            found[name] = secret
    refused = {problem.name.removesuffix("_FILE") for problem in problems}
    problems.extend(problem for problem in _relations(found, is_file) if problem.name not in refused)
    if problems:
        raise SettingsError(sorted(problems))
    if not found.get("VERIFY_SSL", True):
        warnings.append("VERIFY_SSL=False: the certificates of backend and token service are not checked")
    warnings.extend(grants.unused(found.get("GRANT", DEFAULTS["GRANT"]), gathered.values))
    return Settings(**{name.lower(): value for name, value in found.items()}, warnings=tuple(warnings))


def load_admin_port(environ: Mapping[str, str], dotenv: Path | None = None) -> int:
    """ADMIN_PORT alone, for whoever has to find a running Mimic and needs nothing else. Raises SettingsError."""
    only = Names(plain=frozenset({"ADMIN_PORT"}), secrets=frozenset())
    gathered = gather(only, environ, dotenv, overrides={}, defaults={"ADMIN_PORT": str(DEFAULTS["ADMIN_PORT"])})
    port = 0
    try:
        port = values.whole(1, 65535)(gathered.values["ADMIN_PORT"])
    except ValueError as wrong:
        gathered.problems.append(Problem("ADMIN_PORT", str(wrong)))
    if gathered.problems:
        raise SettingsError(sorted(gathered.problems))
    return port


def redacted(settings: Settings) -> dict[str, object]:
    """Every setting by its variable name, fit to be shown: no secret, no password, no value of a query."""
    shown: dict[str, object] = {}
    for name in (entry.name.upper() for entry in fields(Settings) if entry.name != "warnings"):
        value = getattr(settings, name.lower())
        if isinstance(value, SecretRef):
            shown[name] = f"(from {value.file})" if value.file else "(set)"
        elif isinstance(value, str) and READERS[name] in (values.url, values.proxy):
            shown[name] = values.masked_url(value)
        elif isinstance(value, str) and READERS.get(name) is envelope.json_object:
            shown[name] = dict.fromkeys(json.loads(value), "***")
        elif isinstance(value, Path):
            shown[name] = str(value)
        else:
            shown[name] = list(value) if isinstance(value, tuple) else value
    return shown


def config_hash(settings: Settings) -> str:
    """Twelve digits that tell two configurations apart, secrets aside."""
    shown = json.dumps(redacted(settings), sort_keys=True, default=str)
    return hashlib.sha256(shown.encode()).hexdigest()[:12]


def _secret_ref(name: str, merged: Mapping[str, object], problems: list[Problem]) -> SecretRef | None:
    """The secret `name` by its value or by its file."""
    file, value = merged.get(f"{name}_FILE"), merged.get(name)
    try:
        if file is not None:
            return SecretRef(name, file=values.path(file))
        return None if value is None else SecretRef(name, values.secret(value))
    except ValueError as wrong:
        problems.append(Problem(name if file is None else f"{name}_FILE", str(wrong)))
        return None


def _relations(found: Mapping[str, Any], is_file: Callable[[Path], bool]) -> Iterator[Problem]:
    """What must be there, and what must fit together."""
    effective = {**DEFAULTS, **found}
    for name, purpose in grants.required(effective["GRANT"]).items():
        if name not in found:
            yield Problem(name, f"is missing: {purpose}")
    if effective["PORT"] == effective["ADMIN_PORT"] != 0:
        yield Problem("ADMIN_PORT", "must differ from PORT")
    if effective["MAX_BUFFERED_BYTES"] < effective["MAX_BODY_BYTES"]:
        yield Problem("MAX_BUFFERED_BYTES", "must be at least MAX_BODY_BYTES, or the largest bodies could never pass")
    for key, certificate in (("CLIENT_KEY", "CLIENT_CERT"), ("TLS_KEY", "TLS_CERT")):
        if key in found and certificate not in found:
            yield Problem(key, f"needs {certificate}")
    for name in FILES:
        if name in found and not is_file(found[name]):
            yield Problem(name, "must be the path of a file that is there")
    static = found.get("ACCESS_TOKEN")
    if static is not None and static.value is not None and not (static.value.isascii() and static.value.isprintable()):
        yield Problem("ACCESS_TOKEN", "must be printable ASCII, since it goes into a header field")
