"""`spec.deployment`: the proxy as a Deployment that many pods share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from mimic_operator.resource.fields import Flag, Foreign, Items, OneOf, Rule, Section, Table, Text, Whole
from mimic_operator.resource.spec.common import (
    FOREIGN_ITEM,
    LABEL_KEY,
    LABELS,
    SHOWN,
    LabelSelector,
    SecretName,
    object_name,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaling:
    max_replicas: Annotated[int, Whole("Most pods.", 1, 1000)]
    min_replicas: Annotated[int, Whole("Fewest pods.", 1, 1000)] = 2
    target_in_flight: Annotated[
        int | None,
        Whole(
            "Running calls for each pod to aim at (metric mimic_requests_in_flight, needs a metrics adapter).",
            1,
            100_000,
        ),
    ] = None
    target_cpu_utilization: Annotated[int | None, Whole("Per cent of the CPU request to aim at.", 1, 1000)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedNamespaces:
    from_: Annotated[
        Literal["Same", "All", "Selector"],
        OneOf("Whose pods may point at this backend.", ("Same", "All", "Selector")),
    ] = "Same"
    selector: Annotated[LabelSelector | None, Section("Labels of namespaces.", LabelSelector)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdb:
    enabled: Annotated[bool, Flag("A PodDisruptionBudget with maxUnavailable 1.")] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    type: Annotated[
        Literal["ClusterIP", "NodePort", "LoadBalancer"],
        OneOf("As in Kubernetes.", ("ClusterIP", "NodePort", "LoadBalancer")),
    ] = "ClusterIP"
    port: Annotated[int, Whole("The Service's port.", 1, 65_535)] = 80
    annotations: Annotated[
        Mapping[str, str],
        Table(
            "Annotations of the Service.",
            Text("A value.", most=1024, least=0, matches=(SHOWN,)),
            most=32,
            keys=LABEL_KEY,
        ),
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPolicy:
    enabled: Annotated[bool, Flag("Only allowed namespaces, or `allowFrom`, reach the pods.")] = False
    allow_from: Annotated[
        tuple[Mapping[str, Any], ...],
        Items("Peers (Kubernetes, NetworkPolicyPeer) instead of the allowed namespaces.", FOREIGN_ITEM, most=32),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAuth:
    keys_secret_ref: Annotated[
        SecretName, Section("A Secret with the accepted keys: one entry for each caller, by its name.", SecretName)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodMonitor:
    enabled: Annotated[bool, Flag("A PodMonitor for the Prometheus operator.")] = False
    labels: Annotated[
        Mapping[str, str], Table("Labels by which a Prometheus finds it.", LABELS, most=16, keys=LABEL_KEY)
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    replicas: Annotated[
        int | None, Whole("Pods; 2 if left out, 1 with single-use credentials. Forbidden with autoscaling.", 0, 1000)
    ] = None
    autoscaling: Annotated[Autoscaling | None, Section("A HorizontalPodAutoscaler.", Autoscaling)] = None
    allowed_namespaces: Annotated[AllowedNamespaces, Section("Whose pods may point at it.", AllowedNamespaces)] = field(
        default_factory=AllowedNamespaces
    )
    open: Annotated[
        bool,
        Flag(
            "Anybody who reaches the Service may use it; to be said if neither clientAuth nor networkPolicy guards it."
        ),
    ] = False
    pdb: Annotated[Pdb, Section("Disruption budget.", Pdb)] = field(default_factory=Pdb)
    service: Annotated[Service, Section("The Service in front.", Service)] = field(default_factory=Service)
    network_policy: Annotated[NetworkPolicy, Section("Who reaches the pods.", NetworkPolicy)] = field(
        default_factory=NetworkPolicy
    )
    client_auth: Annotated[ClientAuth | None, Section("Keys that callers must show.", ClientAuth)] = None
    pod_monitor: Annotated[PodMonitor, Section("Scraping by the Prometheus operator.", PodMonitor)] = field(
        default_factory=PodMonitor
    )
    topology_spread: Annotated[
        tuple[Mapping[str, Any], ...],
        Items("topologySpreadConstraints; over hosts and zones if left out.", FOREIGN_ITEM, most=8),
    ] = ()
    node_selector: Annotated[Mapping[str, str], Table("Labels of nodes.", LABELS, most=32, keys=LABEL_KEY)] = field(
        default_factory=dict
    )
    tolerations: Annotated[tuple[Mapping[str, Any], ...], Items("Tolerations.", FOREIGN_ITEM, most=32)] = ()
    affinity: Annotated[Mapping[str, Any] | None, Foreign("Affinity, as in Kubernetes.")] = None
    priority_class_name: Annotated[str | None, object_name("Name of a PriorityClass.")] = None


def _deployment(field: str, cel: str, holds: Callable[[Deployment], bool], sentence: str) -> Rule:
    return Rule(("deployment",), (field,), cel, holds, sentence)


def _autoscaling(field: str, cel: str, holds: Callable[[Autoscaling], bool], sentence: str) -> Rule:
    return Rule(("deployment", "autoscaling"), (field,), cel, holds, sentence)


def _selector_fits(allowed: AllowedNamespaces) -> bool:
    return (allowed.selector is not None) == (allowed.from_ == "Selector")


def _guarded(deployment: Deployment) -> bool:
    return deployment.open or deployment.client_auth is not None or deployment.network_policy.enabled


RULES = (
    _deployment(
        "open",
        "self.open || has(self.clientAuth) || self.networkPolicy.enabled",
        _guarded,
        "must be true where neither clientAuth nor networkPolicy guards the Service: anybody could use the credential",
    ),
    _deployment(
        "replicas",
        "!has(self.replicas) || !has(self.autoscaling)",
        lambda deployment: deployment.replicas is None or deployment.autoscaling is None,
        "is the autoscaler's where autoscaling is set: use minReplicas",
    ),
    Rule(
        ("deployment", "allowed_namespaces"),
        ("selector",),
        "has(self.selector) == (self.from == 'Selector')",
        _selector_fits,
        "is required with `from: Selector`, and forbidden without it",
    ),
    Rule(
        ("deployment", "network_policy"),
        ("allow_from",),
        "self.enabled || self.allowFrom.size() == 0",
        lambda policy: policy.enabled or not policy.allow_from,
        "has no effect unless enabled is true",
    ),
    _autoscaling(
        "max_replicas",
        "self.maxReplicas >= self.minReplicas",
        lambda scaling: scaling.max_replicas >= scaling.min_replicas,
        "must be at least minReplicas",
    ),
    _autoscaling(
        "target_in_flight",
        "has(self.targetInFlight) != has(self.targetCPUUtilization)",
        lambda scaling: (scaling.target_in_flight is None) != (scaling.target_cpu_utilization is None),
        "must be set, or targetCPUUtilization; not both",
    ),
)
