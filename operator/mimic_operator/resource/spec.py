"""The fields of a MimicBackend's spec, each declared once: reading, schema and reference follow from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from mimic_operator.resource.patterns import (
    AUDIENCE,
    DNS_LABEL,
    ENV_NAME,
    HEADER,
    IMAGE,
    LABEL_KEY,
    PLAIN,
    POINTER,
    URL,
)
from mimic_operator.resource.quantity import Quantity
from mimic_operator.resource.shape import (
    Duration,
    Flag,
    Foreign,
    Fraction,
    Items,
    Kind,
    OneOf,
    Section,
    Table,
    Text,
    Whole,
)

Mode = Literal["Sidecar", "Deployment"]
Grant = Literal["AuthCode", "ClientCredentials", "PrivateKeyJwt", "TokenExchange", "RefreshToken", "Static", "None"]
GRANTS = ("AuthCode", "ClientCredentials", "PrivateKeyJwt", "TokenExchange", "RefreshToken", "Static", "None")
GIB = 2**30


def _url(about: str) -> Text:
    return Text(about, most=2048, matches=URL)


def _name(about: str) -> Text:
    """The name of an object in the backend's namespace."""
    return Text(about, matches=(DNS_LABEL,), most=253)


LABELS: Kind = Text("The label's value.", most=63, least=0)
FOREIGN_ITEM: Kind = Foreign("As in Kubernetes.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretName:
    name: Annotated[str, _name("Name of a Secret in the same namespace.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOf:
    name: Annotated[str, _name("Name of the object, in the same namespace.")]
    key: Annotated[str, Text("The key in it.", matches=(PLAIN,))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One expression of a label selector (Kubernetes, LabelSelectorRequirement)."""

    key: Annotated[str, Text("A label's key.", most=317, matches=(LABEL_KEY,))]
    operator: Annotated[
        Literal["In", "NotIn", "Exists", "DoesNotExist"],
        OneOf("How the label is compared.", ("In", "NotIn", "Exists", "DoesNotExist")),
    ]
    values: Annotated[tuple[str, ...], Items("Values for In and NotIn.", LABELS, most=32)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    """All conditions must hold; without any it selects everything, as in Kubernetes."""

    match_labels: Annotated[Mapping[str, str], Table("Labels that must be there.", LABELS, most=32, keys=LABEL_KEY)] = (
        field(default_factory=dict)
    )
    match_expressions: Annotated[
        tuple[Requirement, ...], Items("Further conditions.", Section("A condition.", Requirement), most=32)
    ] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected (Kubernetes, labels and selectors)."""
        wanted = all(labels.get(key) == value for key, value in self.match_labels.items())
        return wanted and all(_holds(expression, labels) for expression in self.match_expressions)


def _holds(expression: Requirement, labels: Mapping[str, str]) -> bool:
    match expression.operator:
        case "In":
            return labels.get(expression.key) in expression.values
        case "NotIn":
            return labels.get(expression.key) not in expression.values
        case "Exists":
            return expression.key in labels
        case "DoesNotExist":
            return expression.key not in labels


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVar:
    name: Annotated[str, Text("The variable.", matches=(ENV_NAME,))]
    value: Annotated[str, Text("Its value.", most=4096, least=0)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    type: Annotated[
        Literal["OpenAI", "Envelope"],
        OneOf(
            "The API that the backend speaks: OpenAI's own, or answers wrapped in an envelope.", ("OpenAI", "Envelope")
        ),
    ] = "OpenAI"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    url: Annotated[
        str,
        _url("Base URL, https:// unless `tls.insecure` is set; on the Envelope dialect the URL as it is called."),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    static: Annotated[
        tuple[str, ...],
        Items(
            "Model ids that are offered; empty asks the backend.",
            Text("A model id.", matches=(PLAIN,)),
            most=256,
            unique=True,
        ),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountToken:
    audience: Annotated[
        str,
        Text(
            "Whom the token is for, as the token service wants it; never the API server's own.",
            most=512,
            matches=AUDIENCE,
        ),
    ]
    expiration_seconds: Annotated[int, Whole("Its lifetime; the kubelet renews it at 80 %.", 600, 86_400)] = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    claim_name: Annotated[str, _name("Name of a PersistentVolumeClaim in the same namespace.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Where a token service differs from what its grant prescribes."""

    header: Annotated[
        str | None,
        Text(
            "Header field in which the backend wants the token; `Authorization` if left out.", most=64, matches=HEADER
        ),
    ] = None
    format: Annotated[
        str | None,
        Text("Value of that field, with `{token}` once; `Bearer {token}` if left out.", most=256, matches=POINTER),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    grant: Annotated[Grant, OneOf("How an access token is had.", GRANTS)] = "AuthCode"
    token_url: Annotated[str | None, _url("Where access tokens are fetched.")] = None
    secret_ref: Annotated[
        SecretName | None,
        Section(
            "The Secret with the credential, its keys named as in `.env`: AUTH_CODE; CLIENT_SECRET (and CLIENT_ID, if "
            "not given here); PRIVATE_KEY; SUBJECT_TOKEN; REFRESH_TOKEN; ACCESS_TOKEN. Only the keys that the grant "
            "needs are mounted.",
            SecretName,
        ),
    ] = None
    client_id: Annotated[str | None, Text("The client's id, where it is no secret.", most=512, matches=(PLAIN,))] = None
    scope: Annotated[str | None, Text("Scopes asked for, separated by blanks.", most=1024, matches=(PLAIN,))] = None
    single_use: Annotated[
        bool,
        Flag("The code, or each refresh token, works only once: needs Deployment mode with one replica."),
    ] = False
    recipe: Annotated[Recipe | None, Section("Where the token service differs from the grant's standard.", Recipe)] = (
        None
    )
    service_account_token: Annotated[
        ServiceAccountToken | None,
        Section(
            "TokenExchange without any stored secret: a projected service account token is exchanged.",
            ServiceAccountToken,
        ),
    ] = None
    token_store: Annotated[
        Claim | None, Section("Volume that keeps rotated refresh tokens beyond a pod's life.", Claim)
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaBundle:
    config_map_ref: Annotated[KeyOf | None, Section("A ConfigMap's key that holds PEM certificates.", KeyOf)] = None
    secret_ref: Annotated[KeyOf | None, Section("A Secret's key that holds PEM certificates.", KeyOf)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    verify: Annotated[bool, Flag("Check the certificates of backend and token service.")] = True
    insecure: Annotated[bool, Flag("Allow http:// URLs: tokens and prompts cross the network in the clear.")] = False
    ca_bundle: Annotated[CaBundle | None, Section("Authorities to trust instead of the public ones.", CaBundle)] = None
    client_cert_secret_ref: Annotated[
        SecretName | None,
        Section("A Secret of type kubernetes.io/tls: Mimic's certificate towards the backend.", SecretName),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """`0s` switches one off; one that is left out takes the proxy's default."""

    connect: Annotated[float | None, Duration("Name, TCP and TLS; 5s if left out.")] = None
    first_byte: Annotated[float | None, Duration("From the request to the answer's first byte; 10m if left out.")] = (
        None
    )
    idle: Annotated[float | None, Duration("Between two reads of an answer; 5m if left out.")] = None
    total: Annotated[float | None, Duration("The whole call; 15m if left out.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    max_concurrency: Annotated[
        int | None, Whole("Calls at the backend at once, for each pod; 0 is unlimited, 512 if left out.", 0, 1_000_000)
    ] = None
    max_queue: Annotated[
        int | None, Whole("Calls that wait for one of those; 0 is no queue, 1024 if left out.", 0, 1_000_000)
    ] = None
    max_body_bytes: Annotated[int | None, Whole("Largest request; 33554432 if left out.", 1, 4 * GIB)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workloads:
    selector: Annotated[
        LabelSelector,
        Section("Deployments, StatefulSets, DaemonSets and CronJobs with these labels get the sidecar.", LabelSelector),
    ]


CONTAINER: Kind = Text("A container's name.", most=63, matches=(DNS_LABEL,))
DEFAULT_ENV = ("OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_KEY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    include: Annotated[tuple[str, ...], Items("Only these get the environment.", CONTAINER, most=64, unique=True)] = ()
    exclude: Annotated[tuple[str, ...], Items("All but these get it.", CONTAINER, most=64, unique=True)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedEnv:
    mode: Annotated[
        Literal["IfAbsent", "Always", "None"],
        OneOf(
            "Whether variables that the container already has are kept, replaced, or nothing is set.",
            ("IfAbsent", "Always", "None"),
        ),
    ] = "IfAbsent"
    names: Annotated[
        tuple[str, ...],
        Items(
            "Variables that get the base URL; those that end in _KEY a placeholder.",
            Text("A variable.", matches=(ENV_NAME,)),
            most=16,
            unique=True,
        ),
    ] = DEFAULT_ENV
    extra: Annotated[tuple[EnvVar, ...], Items("Further variables.", Section("A variable.", EnvVar), most=32)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    workloads: Annotated[
        Workloads | None,
        Section("Which workloads get the sidecar; left out: only pods that carry the label themselves.", Workloads),
    ] = None
    default: Annotated[bool, Flag("The backend of pods that name none; at most one in a namespace.")] = False
    containers: Annotated[Containers, Section("Which containers get the environment.", Containers)] = field(
        default_factory=Containers
    )
    port: Annotated[
        int | None, Whole("The API's port in the pod; 18480 or the next free one if left out.", 1024, 65_535)
    ] = None
    admin_port: Annotated[
        int | None, Whole("Port of probes and metrics; 18481 or the next free one if left out.", 1024, 65_535)
    ] = None
    env: Annotated[InjectedEnv, Section("What the application's containers are told.", InjectedEnv)] = field(
        default_factory=InjectedEnv
    )
    native: Annotated[
        Literal["Auto", "Always", "Never"],
        OneOf(
            "Native sidecar (an init container that goes on): Auto from Kubernetes 1.32 on.",
            ("Auto", "Always", "Never"),
        ),
    ] = "Auto"
    readiness: Annotated[
        Literal["None", "Process", "Token"],
        OneOf(
            "What the pod's readiness waits for: nothing of ours, the process, or a token held.",
            ("None", "Process", "Token"),
        ),
    ] = "None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    policy: Annotated[
        Literal["Automatic", "Manual"],
        OneOf(
            "Whether workloads with an outdated sidecar are restarted, one after another, or only reported.",
            ("Automatic", "Manual"),
        ),
    ] = "Automatic"
    max_unavailable: Annotated[int, Whole("Workloads that restart at once.", 1, 100)] = 1
    progress_timeout: Annotated[float, Duration("Time without progress after which a rollout halts.", least=10.0)] = (
        600.0
    )
    restart_missing: Annotated[
        bool, Flag("Restart workloads whose pods lack the sidecar although they ask for it.")
    ] = False


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
        Table("Annotations of the Service.", Text("A value.", most=1024, least=0), most=32, keys=LABEL_KEY),
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
        SecretName, Section("A Secret whose values are the accepted keys, one name for each.", SecretName)
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
    priority_class_name: Annotated[str | None, _name("Name of a PriorityClass.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What is left out is taken from the operator's own image."""

    repository: Annotated[str | None, Text("Registry and path.", most=255, matches=(IMAGE,))] = None
    tag: Annotated[str | None, Text("Tag.", most=128, matches=(PLAIN,))] = None
    digest: Annotated[str | None, Text("Digest, sha256:...; it counts before the tag.", most=71, matches=(PLAIN,))] = (
        None
    )
    pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"] | None,
        OneOf("As in Kubernetes.", ("Always", "IfNotPresent", "Never")),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Requests and limits by resource name; what is left out takes the operator's defaults."""

    requests: Annotated[Mapping[str, str], Table("What the scheduler reserves.", Quantity("An amount."), most=8)] = (
        field(default_factory=dict)
    )
    limits: Annotated[Mapping[str, str], Table("What the container may use.", Quantity("An amount."), most=8)] = field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityContext:
    run_as_user: Annotated[
        int | None,
        Whole("User id; null leaves it to the platform, as OpenShift wants it.", 1, 2**31 - 1, nullable=True),
    ] = 65_532


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    otlp_endpoint: Annotated[str | None, _url("Where traces are sent, over OTLP/HTTP; none if left out.")] = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    chat: Annotated[Endpoint, Section("The chat completion API.", Endpoint)]
    mode: Annotated[Mode, OneOf("The proxy in each pod, or one Deployment for many.", ("Sidecar", "Deployment"))] = (
        "Sidecar"
    )
    suspend: Annotated[bool, Flag("Change nothing any more; pods still get the current revision.")] = False
    dialect: Annotated[Dialect, Section("How the backend speaks.", Dialect)] = field(default_factory=Dialect)
    embedding: Annotated[
        Endpoint | None, Section("The embedding API; the chat URL if left out on the OpenAI dialect.", Endpoint)
    ] = None
    models: Annotated[Models, Section("What `GET /v1/models` answers.", Models)] = field(default_factory=Models)
    auth: Annotated[Auth, Section("How the access token is had and sent.", Auth)] = field(default_factory=Auth)
    tls: Annotated[Tls, Section("TLS towards backend and token service.", Tls)] = field(default_factory=Tls)
    timeouts: Annotated[Timeouts, Section("Time limits of a call.", Timeouts)] = field(default_factory=Timeouts)
    limits: Annotated[Limits, Section("Limits of each pod.", Limits)] = field(default_factory=Limits)
    injection: Annotated[Injection, Section("How pods get the proxy.", Injection)] = field(default_factory=Injection)
    rollout: Annotated[Rollout, Section("How changes reach workloads.", Rollout)] = field(default_factory=Rollout)
    deployment: Annotated[Deployment | None, Section("Deployment mode alone: pods and Service.", Deployment)] = None
    proxy: Annotated[Proxy, Section("The proxy's container.", Proxy)] = field(default_factory=Proxy)
