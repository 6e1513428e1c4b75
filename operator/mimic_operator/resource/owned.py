"""Variables that no `proxy.env` may set: the environment counts before the file that the operator renders, so that
the proxy would do something else than the resource says. tests/contract holds the list against what is rendered."""

SECRETS = (
    *("ACCESS_TOKEN", "AUTH_CODE", "CLIENT_KEYS", "CLIENT_SECRET"),
    *("PRIVATE_KEY", "REFRESH_TOKEN", "SUBJECT_TOKEN"),
)
_BACKEND = ("CHAT_API_URL", "DIALECT", "EMBEDDING_API_URL", "MODELS")
_CREDENTIAL = (
    *("AUDIENCE", "AUTH_CODE_SINGLE_USE", "CLIENT_ID", "GRANT", "PRIVATE_KEY_ID", "REQUESTED_TOKEN_TYPE", "RESOURCE"),
    *("SCOPE", "SUBJECT_TOKEN_TYPE"),
    *(f"ASSERTION_{name}" for name in ("ALGORITHM", "AS", "AUDIENCE", "CLAIMS", "LIFETIME")),
    *(f"TOKEN_{name}" for name in ("DEFAULT_LIFETIME", "ENCODING", "FIELDS", "FORMAT", "HEADER", "METHOD", "POINTER")),
    *(f"TOKEN_{name}_POINTER" for name in ("ERROR", "EXPIRY", "LIFETIME", "REFRESH")),
    *(f"TOKEN_{name}" for name in ("REFRESH_AS", "REQUEST_HEADERS", "SECRET_AS", "SECRET_FORMAT", "SECRET_IN")),
    *(f"TOKEN_{name}" for name in ("STORE", "TIMEOUT", "URL")),
)
_CONNECTIONS = (
    *("CA_BUNDLE", "CLIENT_CERT", "CLIENT_KEY", "TLS_CERT", "TLS_KEY", "VERIFY_SSL"),
    *("ADMIN_HOST", "ADMIN_PORT", "ALLOWED_HOSTS", "HOST", "PORT"),
    *("CONNECT_TIMEOUT", "FIRST_BYTE_TIMEOUT", "IDLE_TIMEOUT", "TOTAL_TIMEOUT"),
    *("MAX_BODY_BYTES", "MAX_CONCURRENCY", "MAX_QUEUE"),
)
_PROCESS = (
    *("LOG_FORMAT", "LOG_LEVEL", "MIMIC_CONFIG", "POD_NAME", "POD_NAMESPACE", "TMPDIR"),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_RESOURCE_ATTRIBUTES"),
    *("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"),
)
OWNED = (*SECRETS, *(f"{name}_FILE" for name in SECRETS), *_BACKEND, *_CREDENTIAL, *_CONNECTIONS, *_PROCESS)
OWNED_PREFIX = "ENVELOPE_"
"""All of these have a field under `dialect.envelope`."""


def is_owned(name: str) -> bool:
    return name in OWNED or name.startswith(OWNED_PREFIX)
