"""`spec.proxy`: the container itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from mimic_operator.resource.patterns import DIGEST, IMAGE, RESOURCE_NAME, TAG
from mimic_operator.resource.quantity import Quantity
from mimic_operator.resource.shape import Flag, Fraction, Items, OneOf, Section, Table, Text, Whole
from mimic_operator.resource.spec.references import EnvVar, SecretName, web_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What is left out is taken from the operator's own image."""

    repository: Annotated[str | None, Text("Registry and path.", most=255, matches=(IMAGE,))] = None
    tag: Annotated[str | None, Text("Tag.", most=128, matches=(TAG,))] = None
    digest: Annotated[str | None, Text("Digest, sha256:...; it counts before the tag.", most=71, matches=(DIGEST,))] = (
        None
    )
    pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"] | None,
        OneOf("As in Kubernetes.", ("Always", "IfNotPresent", "Never")),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Requests and limits by resource name; what is left out takes the operator's defaults."""

    requests: Annotated[
        Mapping[str, str],
        Table("What the scheduler reserves.", Quantity("An amount."), most=8, keys=(RESOURCE_NAME,)),
    ] = field(default_factory=dict)
    limits: Annotated[
        Mapping[str, str],
        Table("What the container may use.", Quantity("An amount."), most=8, keys=(RESOURCE_NAME,)),
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityContext:
    run_as_user: Annotated[
        int | None,
        Whole("User id; null leaves it to the platform, as OpenShift wants it.", 1, 2**31 - 1, nullable=True),
    ] = 65_532


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    otlp_endpoint: Annotated[str | None, web_address("Where traces are sent, over OTLP/HTTP; none if left out.")] = None
    trace_sample_ratio: Annotated[float | None, Fraction("Share of new traces that are sampled; all if left out.")] = (
        None
    )
    metrics: Annotated[
        bool, Flag("Annotate pods for scraping (prometheus.io/*); the metrics are there in any case.")
    ] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    image: Annotated[Image, Section("The proxy's image.", Image)] = field(default_factory=Image)
    image_pull_secrets: Annotated[
        tuple[SecretName, ...], Items("Secrets for pulling it.", Section("A Secret.", SecretName), most=8)
    ] = ()
    resources: Annotated[Resources, Section("Requests and limits of the container.", Resources)] = field(
        default_factory=Resources
    )
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], OneOf("What is logged.", ("DEBUG", "INFO", "WARNING", "ERROR"))
    ] = "INFO"
    log_format: Annotated[Literal["json", "console"], OneOf("Form of log lines.", ("json", "console"))] = "json"
    env: Annotated[
        tuple[EnvVar, ...],
        Items("Further settings of the proxy, by variable; no secrets.", Section("A variable.", EnvVar), most=64),
    ] = ()
    security_context: Annotated[SecurityContext, Section("What of it can be chosen.", SecurityContext)] = field(
        default_factory=SecurityContext
    )
    telemetry: Annotated[Telemetry, Section("Traces and metrics.", Telemetry)] = field(default_factory=Telemetry)
