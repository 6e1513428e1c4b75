"""What OpenTelemetry's own code finds in the environment, which it reads while it is imported.

FastAPI imports it too, traces or not: a wrong OTEL_PROPAGATORS alone would keep Mimic from starting.
"""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

from mimic_proxy.telemetry.tracing.settings import PROPAGATORS

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
