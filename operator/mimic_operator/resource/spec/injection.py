"""`spec.injection` and `spec.rollout`: how pods get the proxy, and its changes."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from mimic_operator.resource.fields import Duration, Flag, Items, Kind, OneOf, Rule, Section, Text, Whole
from mimic_operator.resource.spec.common import CONTAINER_NAME, ENV_NAME, EnvVar, LabelSelector


@dataclass(frozen=True, slots=True, kw_only=True)
class Workloads:
    selector: Annotated[
        LabelSelector,
        Section("Deployments, StatefulSets, DaemonSets and CronJobs with these labels get the sidecar.", LabelSelector),
    ]


CONTAINER: Kind = Text("A container's name.", most=63, matches=(CONTAINER_NAME,))
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
    overrides: Annotated[
        tuple[str, ...] | None,
        Items(
            "What pods may set for themselves by annotations: mimic.dev/cpu-request, cpu-limit, memory-request and "
            "memory-limit (Resources), mimic.dev/log-level (LogLevel), mimic.dev/port and admin-port (Ports).",
            OneOf("A group of annotations.", ("Resources", "LogLevel", "Ports")),
            most=3,
            unique=True,
        ),
    ] = None


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
        bool,
        Flag(
            "Evict pods that ask for the sidecar and lack it, one a minute. The operator must be allowed to: "
            "reconciler.evictMissing of the chart."
        ),
    ] = False


def _ports_differ(injection: Injection) -> bool:
    return (injection.port or DEFAULT_PORT) != (injection.admin_port or DEFAULT_ADMIN_PORT)


def _extra_names(env: InjectedEnv) -> list[str]:
    return [entry.name for entry in env.extra]


DEFAULT_PORT, DEFAULT_ADMIN_PORT = 18480, 18481


RULES = (
    Rule(
        ("injection",),
        ("admin_port",),
        f"(has(self.port) ? self.port : {DEFAULT_PORT})"
        f" != (has(self.adminPort) ? self.adminPort : {DEFAULT_ADMIN_PORT})",
        _ports_differ,
        "must differ from the port",
    ),
    Rule(
        ("injection", "containers"),
        ("exclude",),
        "self.include.size() == 0 || self.exclude.size() == 0",
        lambda containers: not (containers.include and containers.exclude),
        "cannot stand beside include: what is not included is excluded",
    ),
    Rule(
        ("injection", "env"),
        ("extra",),
        "self.extra.all(entry, self.extra.exists_one(other, other.name == entry.name))",
        lambda env: len(set(_extra_names(env))) == len(env.extra),
        "must not name a variable twice",
    ),
    Rule(
        ("injection", "env"),
        ("extra",),
        "self.extra.all(entry, !(entry.name in self.names))",
        lambda env: not set(_extra_names(env)) & set(env.names),
        "names a variable that gets the base URL or the key: take it out of injection.env.names first",
    ),
)
