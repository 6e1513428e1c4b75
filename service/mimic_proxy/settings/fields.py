"""What can be set: read once, at the entry, into one frozen object.

Every setting is one field of `Settings`: its name in upper case is the variable, in lower case the key of the YAML
file, and its type names the reader of the value, and when a change of it holds if that is not at once.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_type_hints

from mimic_proxy.settings import grants, presets, relations, values
from mimic_proxy.settings.sources import Names, Problem, gather


class Applies(Enum):
    """When a changed value holds for a Mimic that runs."""

    REQUESTS = "at once"
    """The next request finds it."""
    TOKENS = "to the next token"
    CONNECTIONS = "to new connections"
    """Present connections to backend and token service are used no more."""
    RESTART = "after a restart"
    """It belongs to a listening socket, or to what is told of it."""


TOKENS, CONNECTIONS, RESTART = Applies.TOKENS, Applies.CONNECTIONS, Applies.RESTART

Text = Annotated[str, values.text]
Flag = Annotated[bool, values.flag]
Seconds = Annotated[float, values.seconds]
PositiveSeconds = Annotated[float, values.positive_seconds]
PortNumber = Annotated[int, values.whole(0, 65535)]
Count = Annotated[int, values.whole(0)]
Bytes = Annotated[int, values.whole(1)]
Addresses = Annotated[tuple[str, ...], values.addresses]
Items = Annotated[tuple[str, ...], values.comma_list]
ExtraRoutes = Annotated[tuple[str, ...], values.extra_routes]
HostNames = Annotated[tuple[str, ...], values.host_names]
Networks = Annotated[tuple[str, ...], values.networks]
Origins = Annotated[tuple[str, ...], values.origins]
File = Annotated[Path, values.path]
Url = Annotated[str, values.url]
Proxy = Annotated[str, values.proxy]
Pointer = Annotated[str, values.one_pointer]
Pairs = Annotated[values.Pairs, values.pairs]
HeaderPairs = Annotated[values.Pairs, values.header_pairs]
Pointers = Annotated[tuple[str, ...], values.pointers]
Segment = Annotated[str, values.segment]
Grant = Literal[
    "auth_code", "client_credentials", "private_key_jwt", "token_exchange", "refresh_token", "static", "none"
]
Encoding = Literal["json", "form", "query"]
SecretIn = Literal["body", "header", "basic"]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


@dataclass(frozen=True, slots=True)
class SecretRef:
    """The source of a secret: its value, or a file that is read again whenever it changes.

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
        count = "1 invalid setting" if len(problems) == 1 else f"{len(problems)} invalid settings"
        super().__init__("\n".join([f"{count}:", *(f"  {name}: {wrong}" for name, wrong in problems)]))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """All settings. Durations are seconds and 0 switches that limit off; sizes are bytes."""

    # The backend and its token service.
    chat_api_url: Url
    """Base URL of the chat completion API, and of every other path that is passed through."""
    embedding_api_url: Url
    """Base URL of the embedding API."""
    token_url: Annotated[Url | None, TOKENS] = None
    """Where access tokens are fetched."""
    auth_code: Annotated[SecretRef | None, TOKENS] = None
    """Authorization code for the token request."""
    grant: Annotated[Grant, values.one_of(*get_args(Grant)), TOKENS] = "auth_code"
    """How access tokens are obtained; docs/tokens.md describes each grant."""
    dialect: Annotated[Literal["openai", "envelope"], values.one_of("openai", "envelope")] = "openai"
    """The API of the backend: OpenAI's, or an envelope of its own."""
    preset: Annotated[str | None, values.one_of(*presets.PRESETS), TOKENS] = None
    """The name of a ready recipe; settings that are given besides take precedence."""
    extra_routes: ExtraRoutes = ()
    """Routes that pass beside OpenAI's own, as in `POST /v1/rerank, GET /v1/reports/*`."""
    models: Items = ()
    """A fixed list of model ids; if empty, the backend is asked for its list."""
    models_cache_seconds: Seconds = 10.0
    """How long the backend's list of models is cached."""

    # What a backend of DIALECT=envelope is sent, and where things stand in its answers; docs/dialects.md.
    envelope_request_under: Pointer | None = None
    """Path in the request under which the caller's body is sent; without it the body is sent as it is."""
    envelope_request_rename: Annotated[tuple[str, ...], values.renames] = ()
    """Renames top-level fields: `messages=conversation,model=modelName`."""
    envelope_request_add: Annotated[str, values.json_object] = "{}"
    """A JSON object whose fields are added to every request. It may hold an application's key: only names are shown."""
    envelope_history: Annotated[Literal["openai", "flat"], values.one_of("openai", "flat")] = "openai"
    """How tool calls in earlier messages are sent."""
    envelope_text_path: Annotated[tuple[str, ...], values.some_pointers] = ("data.content.content",)
    """Path of the text in the response."""
    envelope_tool_calls_path: Pointers = ("data.content.tool_calls",)
    """Path of an array of calls `{name, arguments}`; arguments are JSON or text, an `id` is optional."""
    envelope_finish_reason_path: Pointers = (
        "data.content.finish_reason",
        "data.finish_reason",
        "finish_reason",
    )
    """Path of the reason why the response ended."""
    envelope_usage_path: Pointers = ("data.content.usage", "data.usage", "usage")
    """Path of the token usage."""
    envelope_model_path: Pointers = ("data.model", "model")
    """Path of the model's name."""
    envelope_error_code_path: Pointers = ("errorCode", "error.code", "error")
    """Path of the error code."""
    envelope_error_message_path: Pointers = ("errorMessage", "errorMsg", "message", "msg", "error")
    """Path of the error message."""
    envelope_success_codes: Items = ("0", "200", "success", "ok")
    """Values of the error code that report success, in addition to null and an empty text."""
    envelope_refused_codes: Items = ("401",)
    """Values of the error code that report a refused access token."""
    envelope_stream: Annotated[
        Literal["auto", "sse", "ndjson", "off"], values.one_of("auto", "sse", "ndjson", "off")
    ] = "auto"
    """`sse` or `ndjson` if the first byte cannot tell; `ndjson` also reads `application/json` as lines; `off` asks
    the gateway for no stream."""
    envelope_stream_text: Annotated[Literal["delta", "cumulative"], values.one_of("delta", "cumulative")] = "delta"
    """`delta`: each event holds what is new; `cumulative`: all there is so far, tool calls included."""
    envelope_stream_end: Annotated[Literal["auto", "marker", "body"], values.one_of("auto", "marker", "body")] = "auto"
    """Which end of a stream is taken as complete; docs/dialects.md."""
    envelope_done_path: Pointers = ("data.done", "done")
    """Path of a flag that is true in the last event."""
    envelope_embedding_input: Text = "text"
    """The request field that carries the input."""
    envelope_embedding_batch: Annotated[int, values.whole(1, 2048)] = 1
    """Number of inputs in one call. 1 sends each as a text, more as an array of texts."""
    envelope_embedding_concurrency: Annotated[int, values.whole(1, 256)] = 8
    """Number of concurrent calls for one request."""
    envelope_embedding_path: Annotated[tuple[str, ...], values.some_pointers] = ("data.content",)
    """Path of the vector, or of the array of a batch."""
    envelope_embedding_item_path: Pointers = (".", "embedding")
    """Path of the vector in each element of a batch's array."""
    envelope_embedding_encoding: Annotated[Literal["asked", "float"], values.one_of("asked", "float")] = "asked"
    """`float` answers with arrays of numbers even if base64 was requested."""
    envelope_models_url: Url | None = None
    """URL of the list of models; without it `/v1/models` lists `MODELS`, else what has worked so far."""
    envelope_models_path: Pointers = ("data", "models", "data.models")
    """Path of the list of models."""
    envelope_model_id_path: Pointers = ("id", "name", "model")
    """Path of the id in an element that is not a text."""

    # Who asks for a token, and for what.
    access_token: Annotated[SecretRef | None, TOKENS] = None
    """The access token itself."""
    client_id: Annotated[Text | None, TOKENS] = None
    """The name under which the token service knows this client."""
    client_secret: Annotated[SecretRef | None, TOKENS] = None
    """The client's secret."""
    scope: Annotated[Text | None, TOKENS] = None
    """Scopes to request, separated by blanks."""
    audience: Annotated[Text | None, TOKENS] = None
    """The field `audience` of the token request: who the token is for."""
    resource: Annotated[Text | None, TOKENS] = None
    """The field `resource` of the token request: the URI of the backend (RFC 8707)."""
    issuer: Annotated[str | None, values.base_url, TOKENS] = None
    """Base URL of the identity provider, from which a preset derives TOKEN_URL."""
    tenant: Annotated[Segment | None, TOKENS] = None
    """Tenant at the identity provider, from which a preset derives TOKEN_URL."""
    refresh_token: Annotated[SecretRef | None, TOKENS] = None
    """The first refresh token; Mimic keeps those that the token service replaces it with."""
    token_store: Annotated[File | None, TOKENS] = None
    """File in which Mimic keeps refresh tokens across restarts, mode 0600."""
    private_key: Annotated[SecretRef | None, TOKENS] = None
    """Key that signs assertions: PEM (with its certificate if a thumbprint is wanted), a JWK, or a cloud's JSON key
    file."""
    private_key_id: Annotated[Text | None, TOKENS] = None
    """The key's id (`kid`) in the head of assertions; else the key file's own."""
    assertion_as: Annotated[Literal["client", "grant"], values.one_of("client", "grant"), TOKENS] = "client"
    """What the assertion does: authenticates the client (RFC 7523, 2.2), or is the grant (2.1)."""
    assertion_algorithm: Annotated[Algorithm | None, values.one_of(*get_args(Algorithm)), TOKENS] = None
    """Signature algorithm of assertions; default: RS256, ES256 or EdDSA, depending on the key."""
    assertion_audience: Annotated[Text | None, TOKENS] = None
    """Audience of assertions (`aud`); default: TOKEN_URL."""
    assertion_lifetime: Annotated[PositiveSeconds, TOKENS] = 60.0
    """Validity of an assertion."""
    assertion_claims: Annotated[Pairs, TOKENS] = ()
    """Claims to add to assertions or to replace in them; null removes one."""
    subject_token: Annotated[SecretRef | None, TOKENS] = None
    """Token to exchange, such as a projected service-account token."""
    subject_token_type: Annotated[str, values.token_type, TOKENS] = "urn:ietf:params:oauth:token-type:jwt"
    """Type of that token: `jwt`, `access_token`, `id_token`, `refresh_token`, `saml1`, `saml2`, or a URI."""
    requested_token_type: Annotated[str | None, values.token_type, TOKENS] = None
    """Type of the token to request in exchange, in the same words; default: the token service chooses."""
    auth_code_single_use: Annotated[Flag, TOKENS] = False
    """The code is valid for one token request and is not sent again."""

    # How a token is asked for, and where the answer holds it.
    token_method: Annotated[Literal["POST", "GET", "PUT"], values.one_of("POST", "GET", "PUT"), TOKENS] = "POST"
    """Method of the token request."""
    token_encoding: Annotated[
        Literal["json", "form", "query"] | None, values.one_of("json", "form", "query"), TOKENS
    ] = None
    """Encoding of its fields; default: `json` for auth_code, `form` for all other grants."""
    token_secret_in: Annotated[SecretIn | None, values.one_of(*get_args(SecretIn)), TOKENS] = None
    """Where the secret goes, AUTH_CODE or CLIENT_SECRET; else AUTH_CODE to the `body`, CLIENT_SECRET to `basic`
    authentication."""
    token_secret_as: Annotated[Text | None, TOKENS] = None
    """The field or header field that carries it (or an assertion), or the user of basic authentication; else `code`,
    `client_secret`, `client_assertion` or `assertion`, or CLIENT_ID."""
    token_secret_format: Annotated[str, values.secret_format, TOKENS] = "{secret}"
    """The value that is sent; `{secret}` stands for the secret."""
    token_refresh_as: Annotated[Text, TOKENS] = "refresh_token"
    """The field that carries a refresh token."""
    token_fields: Annotated[Pairs, TOKENS] = ()
    """Fields to add to the token request or to replace in it; null removes one."""
    token_request_headers: Annotated[HeaderPairs, TOKENS] = ()
    """Header fields to add to the token request."""
    token_pointer: Annotated[Pointers, TOKENS] = ()
    """Path of the token in the response, a JSON Pointer too; default: `data.access_token` or `access_token`."""
    token_lifetime_pointer: Annotated[Pointers, TOKENS] = ()
    """Path of the lifetime in seconds; default: `expires_in` beside the token."""
    token_expiry_pointer: Annotated[Pointers, TOKENS] = ()
    """Where it holds the time of expiry (Unix seconds, milliseconds, or ISO 8601); else `expires_at` beside the
    token."""
    token_error_pointer: Annotated[Pointers, TOKENS] = ()
    """Path of an error's code; default: the usual ones, `error` and `errorCode` among them."""
    token_refresh_pointer: Annotated[Pointers, TOKENS] = ()
    """Path of the next refresh token; default: `refresh_token` beside the token."""

    # How a token is kept and sent.
    token_header: Annotated[str, values.header_name, TOKENS] = "Authorization"
    """Header field that carries the token to the backend."""
    token_format: Annotated[str, values.token_format, TOKENS] = "Bearer {token}"
    """Value of that field; `{token}` stands for the token. With DIALECT=envelope the default is `{token}`."""
    token_default_lifetime: Annotated[PositiveSeconds, TOKENS] = 300.0
    """Assumed lifetime if neither the token response nor a JWT states one."""
    token_timeout: Annotated[Seconds, TOKENS] = 10.0
    """Time limit of one token request."""
    token_min_refresh_interval: Annotated[Seconds, TOKENS] = 1.0
    """Minimum time between two refreshes that are forced by the backend's 401."""

    # Where Mimic listens, and to whom.
    host: Annotated[Addresses, RESTART] = ("127.0.0.1", "::1")
    """Addresses of the API port."""
    port: Annotated[PortNumber, RESTART] = 8000
    """Port of the API; 0 takes any free one, which the log names."""
    admin_host: Annotated[Addresses, RESTART] = ("127.0.0.1", "::1")
    """Addresses of the admin port."""
    admin_port: Annotated[PortNumber, RESTART] = 8001
    """The admin port."""
    status_networks: Annotated[Networks, RESTART] = ()
    """Networks from which the status page and `/config` may be read beside this machine, as in `172.16.0.0/12`."""
    allowed_hosts: Annotated[HostNames, RESTART] = ()
    """Host names that callers may use for Mimic in addition to loopback ones; `*` for all."""
    allowed_origins: Annotated[Origins, RESTART] = ()
    """Origins of web pages that may call it, as in `https://app.example.com`; `*` for all."""
    client_keys: SecretRef | None = None
    """Keys of which callers must present one: `name: key` on each line. CLIENT_KEYS_FILE may name a folder with a
    file for each name. Without it every caller is accepted."""
    tls_cert: Annotated[File | None, RESTART] = None
    """Certificate chain for TLS on the API port."""
    tls_key: Annotated[File | None, RESTART] = None
    """Its key, if it is not in the same file."""

    # TLS and the way to the backend and the token service. A proxy's URL may hold a password: never to be shown but
    # through `redacted`.
    verify_ssl: Annotated[Flag, CONNECTIONS] = True
    """Verify the TLS certificates of backend and token service."""
    ca_bundle: Annotated[File | None, CONNECTIONS] = None
    """Certificates (PEM) of the issuers to trust, instead of the system's."""
    client_cert: Annotated[File | None, CONNECTIONS] = None
    """Client certificate (PEM) for backend and token service."""
    client_key: Annotated[File | None, CONNECTIONS] = None
    """Its key, if it is not in the same file."""
    http_proxy: Annotated[Proxy | None, CONNECTIONS] = None
    """Outbound proxy for http:// URLs; `http://user:password@host:port`."""
    https_proxy: Annotated[Proxy | None, CONNECTIONS] = None
    """Outbound proxy for https:// URLs; itself an http:// proxy."""
    no_proxy: Annotated[Items, CONNECTIONS] = ()
    """Hosts, domains and networks that are reached without the proxy; loopback always is."""

    # Limits.
    max_body_bytes: Bytes = 33_554_432
    """Largest request body that is JSON, and so is held in memory."""
    max_upload_bytes: Bytes = 536_870_912
    """Largest request body that streams through: files, audio, images."""
    max_buffered_bytes: Bytes = 268_435_456
    """Memory for all request bodies together."""
    max_concurrency: Count = 512
    """Concurrent calls to the backend; 0 is no limit."""
    max_queue: Count = 1024
    """Calls that may wait for one of these slots; 0 is no queue."""
    queue_timeout: Seconds = 10.0
    """Longest wait in that queue."""
    head_timeout: Annotated[Seconds, RESTART] = 10.0
    """Time limit for a caller to send the head of a request."""
    keep_alive_timeout: Annotated[Seconds, RESTART] = 75.0
    """How long a caller's idle connection stays open."""
    connect_timeout: Annotated[Seconds, CONNECTIONS] = 5.0
    """Time limit for connecting to the backend, TLS included."""
    first_byte_timeout: Seconds = 600.0
    """Time limit from the request sent to the first byte or event."""
    idle_timeout: Seconds = 300.0
    """Time limit between two reads of a response."""
    send_timeout: Seconds = 60.0
    """Time limit while a caller or the backend neither takes nor sends more of a body."""
    total_timeout: Seconds = 900.0
    """Time limit of the whole call."""
    heartbeat_after: Seconds = 0.0
    """Silence of the backend after which the callers of streams receive a comment."""
    drain_delay: Seconds = 0.0
    """Time between the signal to stop and the end of accepting connections."""
    drain_timeout: Seconds = 25.0
    """Time limit for running calls to end after that."""
    breaker_failures: Count = 0
    """Failures in a row that open the backend's circuit breaker; 0 is no breaker."""
    breaker_cooldown: PositiveSeconds = 30.0
    """How long the breaker stays open before it lets one call try."""
    retry_dead_connection: Flag = True
    """Repeat a request whose kept connection the backend had just closed."""
    include_usage: Flag = False
    """Request usage in streams whose caller did not, and remove it from the response."""

    # Logs.
    log_level: Annotated[str, values.one_of("DEBUG", "INFO", "WARNING", "ERROR")] = "INFO"
    """Least level that is logged; the line of a call is `INFO`, or `WARNING` if it went wrong."""
    log_format: Annotated[Literal["json", "console"], values.one_of("json", "console"), RESTART] = "json"
    """`json`, or `console` for a person's eyes (the default of `make run`)."""

    # Traces and metrics; what is OpenTelemetry's own stands in OTEL_* variables.
    mimic_trace_upstream: Flag = True
    """Send traceparent and tracestate to the backend."""
    mimic_genai_spans: Annotated[Flag, RESTART] = True
    """Put attributes of models and tokens on CLIENT spans; otherwise those of HTTP only."""
    mimic_genai_metrics: Annotated[Flag, RESTART] = False
    """Export OpenTelemetry's metrics for generative AI in addition to Mimic's."""
    mimic_genai_provider: Annotated[Text, RESTART] = "openai"
    """`gen_ai.provider.name`: whose flavour of telemetry this is, not who runs the model."""

    warnings: tuple[str, ...] = ()
    """Sentences for the log that do not stop the start; no setting."""

    @property
    def translates(self) -> bool:
        """The backend does not speak as callers do, and each of its URLs is that of one call."""
        return self.dialect != "openai"

    @property
    def models_url(self) -> str | None:
        """Where the list of models is asked for; None: no such place is known."""
        return self.envelope_models_url if self.translates else self.chat_api_url

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in redacted(self).items())})"


def _reader(hint: Any) -> values.Reader | None:
    """The reader that a field's type names, also inside `... | None`."""
    for found in getattr(hint, "__metadata__", ()):
        if not isinstance(found, Applies):
            reader: values.Reader = found
            return reader
    return next((found for part in get_args(hint) if (found := _reader(part))), None)


def _applies(hint: Any) -> Applies:
    return next((found for found in getattr(hint, "__metadata__", ()) if isinstance(found, Applies)), Applies.REQUESTS)


def _parts(hint: Any) -> tuple[Any, ...]:
    """The types of `... | None`, whatever else is said of them."""
    return get_args(get_args(hint)[0] if hasattr(hint, "__metadata__") else hint)


HINTS = get_type_hints(Settings, include_extras=True)
READERS = {name.upper(): reader for name, hint in HINTS.items() if (reader := _reader(hint))}
SECRETS = tuple(name.upper() for name, hint in HINTS.items() if SecretRef in _parts(hint))
APPLIES = {name.upper(): _applies(hint) for name, hint in HINTS.items()}
DEFAULTS = {entry.name.upper(): entry.default for entry in fields(Settings) if entry.default is not MISSING}
NAMES = Names(plain=frozenset(READERS), secrets=frozenset(SECRETS))
BARE_TOKEN = "{token}"
"""How a gateway with an envelope of its own is sent the token, unless TOKEN_FORMAT says otherwise."""


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
    given, lacking = dict(gathered.values), _apply_preset(gathered.values)
    found: dict[str, Any] = {}
    for name, reader in READERS.items():
        if name in gathered.values:
            try:
                found[name] = reader(gathered.values[name])
            except ValueError as wrong:
                problems.append(Problem(name, str(wrong)))
    for name in SECRETS:
        secret = _secret_ref(name, gathered.values, problems)
        if secret is not None:
            found[name] = secret
    if found.get("DIALECT") == "envelope":
        found.setdefault("TOKEN_FORMAT", BARE_TOKEN)
    problems.extend(Problem(name, f"is missing: {purpose}") for name, purpose in lacking.items())
    refused = {problem.name.removesuffix("_FILE") for problem in problems}
    if lacking:
        refused.add("TOKEN_URL")
    if refused & {"PRESET", "GRANT"}:
        # What the right word needs nobody knows.
        refused |= {*grants.SPECIFIC, "TOKEN_URL"}
    more = relations.problems(found, DEFAULTS, is_file)
    problems.extend(problem for problem in more if problem.name not in refused)
    if problems:
        raise SettingsError(sorted(problems))
    warnings.extend(relations.warnings(found, found.get("GRANT", DEFAULTS["GRANT"]), given))
    return Settings(**{name.lower(): value for name, value in found.items()}, warnings=tuple(warnings))


def _apply_preset(gathered: dict[str, object]) -> dict[str, str]:
    """Adds what PRESET stands for where nothing is set; the variables that it misses, and what for."""
    word = str(gathered.get("PRESET", "")).strip().lower()
    if word not in presets.PRESETS:
        return {}
    more, missing = presets.completed(word, gathered)
    gathered.update(more)
    return missing


def load_port(name: str, environ: Mapping[str, str], dotenv: Path | None = None) -> int:
    """PORT or ADMIN_PORT alone, for a command that has to find a running Mimic. Raises SettingsError."""
    only = Names(plain=frozenset({name}), secrets=frozenset())
    gathered = gather(only, environ, dotenv, overrides={}, defaults={name: str(DEFAULTS[name])})
    port = 0
    try:
        port = values.whole(1, 65535)(gathered.values[name])
    except ValueError as wrong:
        gathered.problems.append(Problem(name, str(wrong)))
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
        elif isinstance(value, str) and READERS[name] in (values.url, values.base_url, values.proxy):
            shown[name] = values.masked_url(value)
        elif isinstance(value, str) and READERS.get(name) is values.json_object:
            shown[name] = dict.fromkeys(json.loads(value), "***")
        elif isinstance(value, Path):
            shown[name] = str(value)
        elif READERS.get(name) in (values.pairs, values.header_pairs):
            shown[name] = {key: "***" for key, _ in value}
        else:
            shown[name] = list(value) if isinstance(value, tuple) else value
    return shown


def by_name(settings: Settings) -> dict[str, object]:
    """Every setting by its variable name, as it is: not to be shown."""
    return {entry.name.upper(): getattr(settings, entry.name) for entry in fields(Settings) if entry.name != "warnings"}


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
