"""The fields of a MimicBackend's spec, each declared once: reading, schema and reference follow from it."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from mimic_operator.resource.fields import Flag, OneOf, Renamed, Section
from mimic_operator.resource.spec.auth import Auth, Grant
from mimic_operator.resource.spec.common import EnvVar, LabelSelector, SecretName
from mimic_operator.resource.spec.deployment import AllowedNamespaces, Autoscaling, Deployment
from mimic_operator.resource.spec.dialect import Dialect, Envelope
from mimic_operator.resource.spec.injection import InjectedEnv, Injection, Rollout
from mimic_operator.resource.spec.proxy import Image, Proxy
from mimic_operator.resource.spec.upstream import CaBundleFrom, CallLimits, Endpoint, Models, Timeouts, Tls

__all__ = [
    "AllowedNamespaces",
    "Auth",
    "Autoscaling",
    "CaBundleFrom",
    "CallLimits",
    "Deployment",
    "Dialect",
    "Endpoint",
    "EnvVar",
    "Envelope",
    "Grant",
    "Image",
    "InjectedEnv",
    "Injection",
    "LabelSelector",
    "Mode",
    "Models",
    "Proxy",
    "Rollout",
    "SecretName",
    "Spec",
    "Timeouts",
    "Tls",
]

Mode = Literal["Sidecar", "Deployment"]
EARLIER_LIMITS = {
    "type": "object",
    "properties": {
        name: {"type": "integer", "format": "int64", "description": "Removed."}
        for name in ("maxConcurrency", "maxQueue", "maxBodyBytes")
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    RENAMED: ClassVar = {"limits": Renamed("callLimits", EARLIER_LIMITS)}

    chat: Annotated[Endpoint, Section("The chat completion API.", Endpoint)]
    auth: Annotated[Auth, Section("How Mimic obtains the access token and sends it.", Auth)]
    mode: Annotated[
        Mode,
        OneOf(
            "Sidecar: each pod has a proxy of its own. Deployment: many pods share one Deployment of the proxy.",
            ("Sidecar", "Deployment"),
        ),
    ] = "Sidecar"
    suspend: Annotated[
        bool, Flag("Stop applying changes of this resource. New pods still get the current revision.")
    ] = False
    dialect: Annotated[Dialect, Section("The API that the backend offers.", Dialect)] = field(default_factory=Dialect)
    embedding: Annotated[
        Endpoint | None,
        Section("The embedding API. On the OpenAI dialect it defaults to the URL of the chat API.", Endpoint),
    ] = None
    models: Annotated[Models, Section("The models that `GET /v1/models` lists.", Models)] = field(
        default_factory=Models
    )
    tls: Annotated[Tls, Section("TLS of connections to the backend and the token service.", Tls)] = field(
        default_factory=Tls
    )
    timeouts: Annotated[Timeouts, Section("Time limits of a call.", Timeouts)] = field(default_factory=Timeouts)
    call_limits: Annotated[
        CallLimits,
        Section("Limits on the calls through each proxy; limits of its container are in proxy.resources.", CallLimits),
    ] = field(default_factory=CallLimits)
    injection: Annotated[Injection, Section("How pods get the proxy.", Injection)] = field(default_factory=Injection)
    rollout: Annotated[Rollout, Section("How changes reach running workloads.", Rollout)] = field(
        default_factory=Rollout
    )
    deployment: Annotated[
        Deployment | None, Section("Pods and Service of the shared proxy; only in mode Deployment.", Deployment)
    ] = None
    proxy: Annotated[Proxy, Section("The proxy's container.", Proxy)] = field(default_factory=Proxy)
