"""The fields of a MimicBackend's spec, each declared once: reading, schema and reference follow from it."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from mimic_operator.resource.fields import Flag, OneOf, Section
from mimic_operator.resource.spec.auth import Auth, Grant
from mimic_operator.resource.spec.common import EnvVar, LabelSelector, SecretName
from mimic_operator.resource.spec.deployment import AllowedNamespaces, Autoscaling, Deployment
from mimic_operator.resource.spec.dialect import Dialect, Envelope
from mimic_operator.resource.spec.injection import InjectedEnv, Injection, Rollout
from mimic_operator.resource.spec.proxy import Image, Proxy
from mimic_operator.resource.spec.upstream import CaBundle, Endpoint, Limits, Models, Timeouts, Tls

__all__ = [
    "AllowedNamespaces",
    "Auth",
    "Autoscaling",
    "CaBundle",
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
    "Limits",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    chat: Annotated[Endpoint, Section("The chat completion API.", Endpoint)]
    auth: Annotated[Auth, Section("How the access token is had and sent.", Auth)]
    mode: Annotated[Mode, OneOf("The proxy in each pod, or one Deployment for many.", ("Sidecar", "Deployment"))] = (
        "Sidecar"
    )
    suspend: Annotated[bool, Flag("Change nothing any more; pods still get the current revision.")] = False
    dialect: Annotated[Dialect, Section("How the backend speaks.", Dialect)] = field(default_factory=Dialect)
    embedding: Annotated[
        Endpoint | None, Section("The embedding API; the chat URL if left out on the OpenAI dialect.", Endpoint)
    ] = None
    models: Annotated[Models, Section("What `GET /v1/models` answers.", Models)] = field(default_factory=Models)
    tls: Annotated[Tls, Section("TLS towards backend and token service.", Tls)] = field(default_factory=Tls)
    timeouts: Annotated[Timeouts, Section("Time limits of a call.", Timeouts)] = field(default_factory=Timeouts)
    limits: Annotated[Limits, Section("Limits of each pod.", Limits)] = field(default_factory=Limits)
    injection: Annotated[Injection, Section("How pods get the proxy.", Injection)] = field(default_factory=Injection)
    rollout: Annotated[Rollout, Section("How changes reach workloads.", Rollout)] = field(default_factory=Rollout)
    deployment: Annotated[Deployment | None, Section("Deployment mode alone: pods and Service.", Deployment)] = None
    proxy: Annotated[Proxy, Section("The proxy's container.", Proxy)] = field(default_factory=Proxy)
