"""What OpenTelemetry's instrumentation of FastAPI is to find in the environment, which it reads when it is imported."""

from collections.abc import MutableMapping

from mimic_proxy.telemetry.tracing.settings import PROPAGATORS

DEFAULTS = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http,gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS": ".*authorization,.*api-key,.*cookie,.*token,.*secret",
}
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


def prepare(environ: MutableMapping[str, str]) -> None:
    """Sets defaults where nobody has said otherwise, and takes away what would break the import."""
    for name, value in DEFAULTS.items():
        environ.setdefault(name, value)
    for name in LIMITS:
        value = environ.get(name, "").strip()
        if value and not (value.isascii() and value.isdigit()):
            del environ[name]
    words = [word.strip().lower() for word in environ.get("OTEL_PROPAGATORS", "").split(",") if word.strip()]
    if words:
        known = [word for word in words if word in PROPAGATORS]
        environ["OTEL_PROPAGATORS"] = ",".join(known) or "none"
