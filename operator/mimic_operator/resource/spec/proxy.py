"""`spec.proxy`: the container, what its environment may hold, and amounts that must fit each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from mimic_operator.resource.fields import (
    Duration,
    Flag,
    Items,
    Match,
    OneOf,
    Quantity,
    Ratio,
    Rule,
    Section,
    SectionRule,
    Table,
    Text,
    Whole,
    amount,
    cel_amount,
    words,
)
from mimic_operator.resource.spec.common import DIGEST, IMAGE, RESOURCE_NAME, TAG, EnvVar, SecretName, web_address

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
    *("ADMIN_HOST", "ADMIN_PORT", "ALLOWED_HOSTS", "DRAIN_DELAY", "DRAIN_TIMEOUT", "HOST", "PORT"),
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
"""Each of these settings has a field under `dialect.envelope`."""


def is_owned(name: str) -> bool:
    return name in OWNED or name.startswith(OWNED_PREFIX)


SECONDS = (
    *("BREAKER_COOLDOWN", "HEAD_TIMEOUT", "HEARTBEAT_AFTER", "KEEP_ALIVE_TIMEOUT", "MODELS_CACHE_SECONDS"),
    *("QUEUE_TIMEOUT", "SEND_TIMEOUT", "TOKEN_MIN_REFRESH_INTERVAL"),
)
NUMBERS = ("BREAKER_FAILURES", "MAX_BUFFERED_BYTES")
FLAGS = (
    *("INCLUDE_USAGE", "MIMIC_GENAI_METRICS", "MIMIC_GENAI_SPANS", "MIMIC_TRACE_UPSTREAM"),
    "RETRY_DEAD_CONNECTION",
)
"""The proxy's settings that have no field here, by type; tests/contract compares them with the proxy."""
VALUES = (
    (SECONDS, Match(r"^([0-9]{1,9}(\.[0-9]{1,6})?)?$", "must be a number of seconds like 10 or 0.5")),
    (NUMBERS, Match("^[0-9]{0,15}$", "must be a whole number like 1024")),
    (FLAGS, Match("^(?i:true|false|)$", "must be true or false")),
)


def _holds(names: tuple[str, ...], match: Match) -> SectionRule:
    return SectionRule(
        "value",
        f"!(self.name in {words(names)}) || {match.rule('self.value')['rule']}",
        lambda entry: entry.name not in names or match.allows(entry.value),
        match.sentence,
    )


ENV_RULES = (
    SectionRule(
        "name",
        f"!(self.name in {words(OWNED)}) && !self.name.startsWith('{OWNED_PREFIX}')",
        lambda entry: not is_owned(entry.name),
        "must not be {value}: other fields of this resource decide what it sets, and secrets belong in the Secret",
    ),
    *(_holds(names, match) for names, match in VALUES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What is left out is taken from the operator's own image."""

    repository: Annotated[str | None, Text("Registry and path of the image.", most=255, matches=(IMAGE,))] = None
    tag: Annotated[str | None, Text("Tag of the image.", most=128, matches=(TAG,))] = None
    digest: Annotated[
        str | None, Text("Digest of the image, sha256:...; it overrides the tag.", most=71, matches=(DIGEST,))
    ] = None
    pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"] | None,
        OneOf("When the image is pulled, as Kubernetes defines it.", ("Always", "IfNotPresent", "Never")),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Requests and limits by resource name; what is left out takes the operator's defaults."""

    requests: Annotated[
        Mapping[str, str],
        Table("What the scheduler reserves.", Quantity("A quantity like 250m or 64Mi."), most=8, keys=(RESOURCE_NAME,)),
    ] = field(default_factory=dict)
    limits: Annotated[
        Mapping[str, str],
        Table("What the container may use.", Quantity("A quantity like 250m or 64Mi."), most=8, keys=(RESOURCE_NAME,)),
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityContext:
    run_as_user: Annotated[
        int | None,
        Whole("User id. null leaves it to the platform, as OpenShift requires.", 1, 2**31 - 1, nullable=True),
    ] = 65_532


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    otlp_endpoint: Annotated[
        str | None, web_address("OTLP/HTTP endpoint that receives traces. Without it there are no traces.")
    ] = None
    trace_sample_ratio: Annotated[
        float | None, Ratio('Share of new traces to sample, as text from "0" to "1". The default is all of them.')
    ] = None
    metrics: Annotated[
        bool, Flag("Annotate pods for scraping (prometheus.io/*). The metrics are served in any case.")
    ] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    image: Annotated[Image, Section("Image of the proxy.", Image)] = field(default_factory=Image)
    image_pull_secrets: Annotated[
        tuple[SecretName, ...], Items("Secrets for pulling the image.", Section("A Secret.", SecretName), most=8)
    ] = ()
    resources: Annotated[Resources, Section("Requests and limits of the container.", Resources)] = field(
        default_factory=Resources
    )
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        OneOf("The lowest level that is logged.", ("DEBUG", "INFO", "WARNING", "ERROR")),
    ] = "INFO"
    log_format: Annotated[Literal["json", "console"], OneOf("Format of log lines.", ("json", "console"))] = "json"
    drain_timeout: Annotated[
        float,
        Duration(
            "Time that running calls have to end once the pod stops. The grace period of a shared proxy's pods follows "
            "it; beside an application, the pod's terminationGracePeriodSeconds must be at least as long.",
            most=3600.0,
        ),
    ] = 25.0
    env: Annotated[
        tuple[EnvVar, ...],
        Items(
            "Further settings of the proxy as environment variables. Secrets do not belong here.",
            Section("A variable.", EnvVar, ENV_RULES),
            most=64,
        ),
    ] = ()
    security_context: Annotated[
        SecurityContext, Section("The part of the security context that can be chosen.", SecurityContext)
    ] = field(default_factory=SecurityContext)
    telemetry: Annotated[Telemetry, Section("Traces and metrics.", Telemetry)] = field(default_factory=Telemetry)


LEAST_MEMORY_BYTES = 2**26
ALIKE = 1.000000001
"""CEL counts in floating point: what is so near is equal."""
MEMORY = cel_amount("self.limits['memory']")


def _names_of(proxy: Proxy) -> set[str]:
    return {entry.name for entry in proxy.env}


def _within_limit(name: str) -> Rule:
    """One rule for each resource: Kubernetes 1.29 finds one for all of them too costly."""
    requested, limited = (cel_amount(f"self.{kind}['{name}']") for kind in ("requests", "limits"))
    return Rule(
        ("proxy", "resources"),
        ("requests",),
        f"!('{name}' in self.requests) || !('{name}' in self.limits) || {requested} <= {limited} * {ALIKE}",
        lambda resources: (
            name not in resources.requests
            or amount(resources.requests[name]) <= amount(resources.limits.get(name, resources.requests[name]))
        ),
        "must not be more than the limit",
    )


RULES = (
    Rule(
        ("proxy",),
        ("env",),
        "self.env.all(entry, self.env.exists_one(other, other.name == entry.name))",
        lambda proxy: len(_names_of(proxy)) == len(proxy.env),
        "must not name a variable twice",
    ),
    Rule(
        ("proxy",),
        ("image_pull_secrets",),
        "self.imagePullSecrets.all(one, self.imagePullSecrets.exists_one(other, other.name == one.name))",
        lambda proxy: len(set(proxy.image_pull_secrets)) == len(proxy.image_pull_secrets),
        "must not name a Secret twice",
    ),
    *(_within_limit(name) for name in ("cpu", "memory", "ephemeral-storage")),
    Rule(
        ("proxy", "resources"),
        ("limits",),
        f"!('memory' in self.limits) || {MEMORY} >= {LEAST_MEMORY_BYTES}000.0",
        lambda resources: amount(resources.limits.get("memory", str(LEAST_MEMORY_BYTES))) >= LEAST_MEMORY_BYTES,
        "must give memory at least 64Mi, which the proxy uses before the first call",
    ),
    Rule(
        (),
        ("call_limits", "max_body_bytes"),
        "!has(self.callLimits.maxBodyBytes) || !('memory' in self.proxy.resources.limits)"
        " || double(self.callLimits.maxBodyBytes) * 4000.0"
        f" <= {MEMORY.replace('self', 'self.proxy.resources')} * {ALIKE}",
        lambda spec: (
            spec.call_limits.max_body_bytes is None
            or 4 * spec.call_limits.max_body_bytes <= amount(spec.proxy.resources.limits.get("memory", f"{2**40}"))
        ),
        "must fit four times into proxy.resources.limits.memory",
    ),
)
