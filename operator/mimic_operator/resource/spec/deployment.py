"""`spec.deployment`: the proxy as a Deployment that many pods share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from mimic_operator.resource.fields import (
    Flag,
    Foreign,
    IntOrPercent,
    Items,
    Kind,
    OneOf,
    Renamed,
    Rule,
    Section,
    Table,
    Text,
    Whole,
)
from mimic_operator.resource.spec.common import (
    CONTAINER_NAME,
    FOREIGN_ITEM,
    LABEL_KEY,
    LABELS,
    SHOWN,
    LabelSelector,
    NamespaceSelection,
    SecretName,
    object_name,
)

ANNOTATION: Kind = Text("Value of the annotation.", most=1024, least=0, matches=(SHOWN,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaling:
    max_replicas: Annotated[int, Whole("The largest number of pods.", 1, 1000)]
    min_replicas: Annotated[int, Whole("The smallest number of pods.", 1, 1000)] = 2
    target_in_flight: Annotated[
        int | None,
        Whole(
            "Target for the number of running calls per pod. It needs an adapter that serves the metric "
            "mimic_requests_in_flight.",
            1,
            100_000,
        ),
    ] = None
    target_cpu_utilization: Annotated[
        int | None, Whole("Target for the CPU usage, in percent of the CPU request.", 1, 1000)
    ] = None
    metrics: Annotated[
        tuple[Mapping[str, Any], ...],
        Items("Further metrics (Kubernetes, autoscaling/v2 MetricSpec).", FOREIGN_ITEM, most=16),
    ] = ()
    behavior: Annotated[
        Mapping[str, Any] | None,
        Foreign("How fast it scales (Kubernetes, autoscaling/v2 HorizontalPodAutoscalerBehavior)."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedNamespaces:
    from_: Annotated[
        Literal["Same", "All", "Selector"],
        OneOf(
            "The namespaces whose pods may use this backend: its own, all, or those that selector or names select.",
            ("Same", "All", "Selector"),
        ),
    ] = "Same"
    selector: Annotated[LabelSelector | None, Section("Labels of these namespaces.", LabelSelector)] = None
    names: Annotated[
        tuple[str, ...],
        Items(
            "Names of these namespaces.",
            Text("Name of a namespace.", most=63, matches=(CONTAINER_NAME,)),
            most=256,
            unique=True,
        ),
    ] = ()

    def admits(self, labels: Mapping[str, str]) -> bool:
        """Whether pods of another namespace, the one with these labels, may use the backend."""
        if self.from_ == "Selector":
            return NamespaceSelection(names=self.names, selector=self.selector).admits(labels)
        return self.from_ == "All"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodDisruptionBudget:
    enabled: Annotated[bool, Flag("Create a PodDisruptionBudget.")] = True
    min_available: Annotated[
        int | str | None, IntOrPercent("Pods that must stay available, as a number or a percentage.")
    ] = None
    max_unavailable: Annotated[
        int | str | None,
        IntOrPercent("Pods that may be unavailable. The default is 1, unless minAvailable is set."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    type: Annotated[
        Literal["ClusterIP", "NodePort", "LoadBalancer"],
        OneOf("Type of the Service, as Kubernetes defines it.", ("ClusterIP", "NodePort", "LoadBalancer")),
    ] = "ClusterIP"
    port: Annotated[int, Whole("Port of the Service.", 1, 65_535)] = 80
    annotations: Annotated[
        Mapping[str, str], Table("Annotations of the Service.", ANNOTATION, most=32, keys=LABEL_KEY)
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPolicy:
    enabled: Annotated[
        bool, Flag("Create a NetworkPolicy: only allowed namespaces, or `allowFrom`, reach the pods.")
    ] = False
    allow_from: Annotated[
        tuple[Mapping[str, Any], ...],
        Items("Peers (Kubernetes, NetworkPolicyPeer) instead of the allowed namespaces.", FOREIGN_ITEM, most=32),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAuth:
    keys_secret_ref: Annotated[
        SecretName,
        Section("A Secret with the accepted keys: one entry for each caller, under the caller's name.", SecretName),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodMonitor:
    enabled: Annotated[bool, Flag("Create a PodMonitor for the Prometheus operator.")] = False
    labels: Annotated[
        Mapping[str, str], Table("Labels by which a Prometheus selects it.", LABELS, most=16, keys=LABEL_KEY)
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateMetadata:
    labels: Annotated[Mapping[str, str], Table("Labels to add.", LABELS, most=32, keys=LABEL_KEY)] = field(
        default_factory=dict
    )
    annotations: Annotated[Mapping[str, str], Table("Annotations to add.", ANNOTATION, most=32, keys=LABEL_KEY)] = (
        field(default_factory=dict)
    )


NAMED: Kind = Foreign("An object as Kubernetes defines it.", texts=("name",))
MOUNT: Kind = Foreign("A VolumeMount as Kubernetes defines it.", texts=("name", "mountPath"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateSpec:
    service_account_name: Annotated[
        str | None, object_name("A ServiceAccount of yours instead of the one that Mimic creates.")
    ] = None
    volumes: Annotated[tuple[Mapping[str, Any], ...], Items("Volumes to add.", NAMED, most=32)] = ()
    init_containers: Annotated[tuple[Mapping[str, Any], ...], Items("Init containers to add.", NAMED, most=8)] = ()
    containers: Annotated[
        tuple[Mapping[str, Any], ...], Items("Containers to add beside the proxy.", NAMED, most=8)
    ] = ()
    security_context: Annotated[
        Mapping[str, Any] | None, Foreign("Merged into the security context of the pod; what is set here wins.")
    ] = None
    dns_config: Annotated[Mapping[str, Any] | None, Foreign("DNS configuration of the pods.")] = None
    dns_policy: Annotated[
        Literal["ClusterFirst", "Default", "None"] | None,
        OneOf("DNS policy of the pods.", ("ClusterFirst", "Default", "None")),
    ] = None
    host_aliases: Annotated[tuple[Mapping[str, Any], ...], Items("Entries for /etc/hosts.", FOREIGN_ITEM, most=32)] = ()
    runtime_class_name: Annotated[str | None, object_name("Name of a RuntimeClass.")] = None
    scheduler_name: Annotated[str | None, object_name("Name of the scheduler.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTemplate:
    metadata: Annotated[TemplateMetadata, Section("Metadata of the pods.", TemplateMetadata)] = field(
        default_factory=TemplateMetadata
    )
    spec: Annotated[TemplateSpec, Section("Fields of the pods' spec.", TemplateSpec)] = field(
        default_factory=TemplateSpec
    )
    volume_mounts: Annotated[
        tuple[Mapping[str, Any], ...], Items("Mounts to add to the proxy's container.", MOUNT, most=32)
    ] = ()


EARLIER_BUDGET = {
    "type": "object",
    "properties": {"enabled": {"type": "boolean", "description": "Removed."}},
}
EARLIER_CONSTRAINTS = {"type": "array", "maxItems": 8, "items": FOREIGN_ITEM.schema()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    RENAMED: ClassVar = {
        "open": Renamed("access: Open where open was true", {"type": "boolean"}),
        "pdb": Renamed("podDisruptionBudget", EARLIER_BUDGET),
        "topologySpread": Renamed("topologySpreadConstraints", EARLIER_CONSTRAINTS),
    }

    replicas: Annotated[
        int,
        Whole("Number of pods. It has no effect with autoscaling, and must be 1 with auth.singleUse.", 0, 1000),
    ] = 2
    autoscaling: Annotated[Autoscaling | None, Section("Create a HorizontalPodAutoscaler.", Autoscaling)] = None
    allowed_namespaces: Annotated[
        AllowedNamespaces, Section("The namespaces whose pods may use this backend.", AllowedNamespaces)
    ] = field(default_factory=AllowedNamespaces)
    access: Annotated[
        Literal["Protected", "Open"],
        OneOf(
            "Protected: clientAuth or networkPolicy must protect the Service. Open: every caller that reaches the "
            "Service uses the credential.",
            ("Protected", "Open"),
        ),
    ] = "Protected"
    pod_disruption_budget: Annotated[
        PodDisruptionBudget, Section("How many pods a node drain may stop at the same time.", PodDisruptionBudget)
    ] = field(default_factory=PodDisruptionBudget)
    service: Annotated[Service, Section("The Service in front of the pods.", Service)] = field(default_factory=Service)
    network_policy: Annotated[NetworkPolicy, Section("Which pods reach the proxy.", NetworkPolicy)] = field(
        default_factory=NetworkPolicy
    )
    client_auth: Annotated[ClientAuth | None, Section("Keys that callers must send.", ClientAuth)] = None
    pod_monitor: Annotated[PodMonitor, Section("Scraping by the Prometheus operator.", PodMonitor)] = field(
        default_factory=PodMonitor
    )
    pod_template: Annotated[
        PodTemplate, Section("Additions to the pods, merged into what Mimic creates.", PodTemplate)
    ] = field(default_factory=PodTemplate)
    topology_spread_constraints: Annotated[
        tuple[Mapping[str, Any], ...],
        Items(
            "How pods spread over the cluster, as Kubernetes defines it. The default spreads them over zones and nodes "
            "where that is possible.",
            FOREIGN_ITEM,
            most=8,
        ),
    ] = ()
    node_selector: Annotated[
        Mapping[str, str], Table("Labels that a node must have.", LABELS, most=32, keys=LABEL_KEY)
    ] = field(default_factory=dict)
    tolerations: Annotated[tuple[Mapping[str, Any], ...], Items("Tolerations of the pods.", FOREIGN_ITEM, most=32)] = ()
    affinity: Annotated[Mapping[str, Any] | None, Foreign("Affinity of the pods, as Kubernetes defines it.")] = None
    priority_class_name: Annotated[str | None, object_name("Name of a PriorityClass.")] = None


def _deployment(field: str, cel: str, holds: Callable[[Deployment], bool], sentence: str) -> Rule:
    return Rule(("deployment",), (field,), cel, holds, sentence)


def _autoscaling(field: str, cel: str, holds: Callable[[Autoscaling], bool], sentence: str) -> Rule:
    return Rule(("deployment", "autoscaling"), (field,), cel, holds, sentence)


def _selector_fits(allowed: AllowedNamespaces) -> bool:
    return (allowed.selector is not None or bool(allowed.names)) == (allowed.from_ == "Selector")


def _protected(deployment: Deployment) -> bool:
    guarded = deployment.client_auth is not None or deployment.network_policy.enabled
    return deployment.access == "Open" or guarded


def _without(field: str, prefix: str, key: str, sentence: str) -> Rule:
    """No entry of a list in podTemplate may have a text that begins so."""
    name = {"init_containers": "initContainers"}.get(field, field)
    return Rule(
        ("deployment", "pod_template", "spec"),
        (field,),
        f"self.{name}.all(entry, !entry.{key}.startsWith('{prefix}'))",
        lambda spec: not any(entry.get(key, "").startswith(prefix) for entry in getattr(spec, field)),
        sentence,
    )


OWN_PATHS = ("/etc/mimic", "/run/mimic", "/var/lib/mimic", "/var/run/secrets")
"""Where the proxy's own volumes are mounted."""


def _own_path(path: str) -> bool:
    return any(path == own or path.startswith(f"{own}/") for own in OWN_PATHS)


def _own_path_cel() -> str:
    return " && ".join(f"entry.mountPath != '{own}' && !entry.mountPath.startsWith('{own}/')" for own in OWN_PATHS)


TEMPLATE = (
    Rule(
        ("deployment", "pod_template", "metadata"),
        ("labels",),
        "self.labels.all(key, !key.startsWith('mimic.dev/') && !key.startsWith('app.kubernetes.io/'))",
        lambda metadata: not any(key.startswith(("mimic.dev/", "app.kubernetes.io/")) for key in metadata.labels),
        "must not have keys under mimic.dev/ and app.kubernetes.io/, which Mimic sets",
    ),
    Rule(
        ("deployment", "pod_template", "metadata"),
        ("annotations",),
        "self.annotations.all(key, !key.startsWith('mimic.dev/'))",
        lambda metadata: not any(key.startswith("mimic.dev/") for key in metadata.annotations),
        "must not have keys under mimic.dev/, which Mimic sets",
    ),
    _without("volumes", "mimic-", "name", "must not name a volume mimic-..., which Mimic mounts"),
    *(
        _without(field, "mimic-proxy", "name", "must not name a container mimic-proxy; spec.proxy configures that one")
        for field in ("containers", "init_containers")
    ),
    Rule(
        ("deployment", "pod_template"),
        ("volume_mounts",),
        f"self.volumeMounts.all(entry, !entry.name.startsWith('mimic-') && {_own_path_cel()})",
        lambda template: (
            not any(
                entry.get("name", "").startswith("mimic-") or _own_path(entry.get("mountPath", ""))
                for entry in template.volume_mounts
            )
        ),
        "must not use volumes mimic-... and the paths /etc/mimic, /run/mimic, /var/lib/mimic and /var/run/secrets",
    ),
)
RULES = (
    _deployment(
        "access",
        "self.access == 'Open' || has(self.clientAuth) || self.networkPolicy.enabled",
        _protected,
        "must be Open, unless clientAuth or networkPolicy protects the Service: every caller could use the credential",
    ),
    Rule(
        ("deployment", "allowed_namespaces"),
        ("selector",),
        "(has(self.selector) || self.names.size() > 0) == (self.from == 'Selector')",
        _selector_fits,
        "or names is required with `from: Selector`, and both are forbidden without it",
    ),
    Rule(
        ("deployment", "network_policy"),
        ("allow_from",),
        "self.enabled || self.allowFrom.size() == 0",
        lambda policy: policy.enabled or not policy.allow_from,
        "has no effect unless enabled is true",
    ),
    Rule(
        ("deployment", "pod_disruption_budget"),
        ("min_available",),
        "!has(self.minAvailable) || !has(self.maxUnavailable)",
        lambda budget: budget.min_available is None or budget.max_unavailable is None,
        "must not be set together with maxUnavailable",
    ),
    _autoscaling(
        "max_replicas",
        "self.maxReplicas >= self.minReplicas",
        lambda scaling: scaling.max_replicas >= scaling.min_replicas,
        "must be at least minReplicas",
    ),
    _autoscaling(
        "metrics",
        "has(self.targetInFlight) || has(self.targetCPUUtilization) || self.metrics.size() > 0",
        lambda scaling: bool(scaling.target_in_flight or scaling.target_cpu_utilization or scaling.metrics),
        "is required, unless targetInFlight or targetCPUUtilization is set",
    ),
    *TEMPLATE,
)
