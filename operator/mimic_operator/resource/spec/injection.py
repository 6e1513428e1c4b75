"""`spec.injection` and `spec.rollout`: how pods get the proxy, and its changes."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from mimic_operator.resource.fields import Duration, Flag, Items, Kind, OneOf, Rule, Section, Text, Whole
from mimic_operator.resource.spec.common import CONTAINER_NAME, ENV_NAME, EnvVar, LabelSelector


@dataclass(frozen=True, slots=True, kw_only=True)
class Workloads:
    selector: Annotated[
        LabelSelector,
        Section(
            "Deployments, StatefulSets, DaemonSets and CronJobs with these labels get the sidecar. An empty selector "
            "selects all workloads of the namespace.",
            LabelSelector,
        ),
    ]


CONTAINER: Kind = Text("Name of a container.", most=63, matches=(CONTAINER_NAME,))
DEFAULT_ENV = ("OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_KEY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    include: Annotated[
        tuple[str, ...], Items("Only these containers get the environment.", CONTAINER, most=64, unique=True)
    ] = ()
    exclude: Annotated[
        tuple[str, ...], Items("All containers but these get the environment.", CONTAINER, most=64, unique=True)
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedEnv:
    mode: Annotated[
        Literal["IfAbsent", "Always", "None"],
        OneOf(
            "IfAbsent keeps variables that a container already has, Always replaces them, None sets none.",
            ("IfAbsent", "Always", "None"),
        ),
    ] = "IfAbsent"
    names: Annotated[
        tuple[str, ...],
        Items(
            "Variables that are set to the base URL; those that end in _KEY are set to a placeholder.",
            Text("Name of a variable.", matches=(ENV_NAME,)),
            most=16,
            unique=True,
        ),
    ] = DEFAULT_ENV
    extra: Annotated[
        tuple[EnvVar, ...], Items("Further variables to set.", Section("A variable.", EnvVar), most=32)
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    workloads: Annotated[
        Workloads | None,
        Section(
            "The workloads that get the sidecar. Without it, pods get the sidecar if they have the label "
            "mimic.dev/inject.",
            Workloads,
        ),
    ] = None
    default: Annotated[bool, Flag("This is the backend of pods that name none. A namespace can have one default.")] = (
        False
    )
    containers: Annotated[Containers, Section("The containers that get the environment.", Containers)] = field(
        default_factory=Containers
    )
    port: Annotated[
        int | None,
        Whole("Port of the API in the pod. The default is 18480, or the next free port.", 1024, 65_535),
    ] = None
    admin_port: Annotated[
        int | None,
        Whole("Port of probes and metrics. The default is 18481, or the next free port.", 1024, 65_535),
    ] = None
    env: Annotated[InjectedEnv, Section("The environment of the application's containers.", InjectedEnv)] = field(
        default_factory=InjectedEnv
    )
    native: Annotated[
        Literal["Auto", "Always", "Never"],
        OneOf(
            "Whether the proxy is a native sidecar (an init container with restartPolicy Always). Auto uses one from "
            "Kubernetes 1.32 on.",
            ("Auto", "Always", "Never"),
        ),
    ] = "Auto"
    readiness: Annotated[
        Literal["None", "Process", "Token"],
        OneOf(
            "What the pod's readiness waits for: None of the proxy, its Process, or a Token that it holds.",
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
            "Automatic restarts workloads with an outdated sidecar one after another; Manual reports them.",
            ("Automatic", "Manual"),
        ),
    ] = "Automatic"
    max_unavailable: Annotated[int, Whole("Number of workloads that restart at the same time.", 1, 100)] = 1
    progress_timeout: Annotated[float, Duration("Time without progress after which the rollout halts.", least=10.0)] = (
        600.0
    )
    restart_missing: Annotated[
        bool,
        Flag(
            "Evict pods that ask for the sidecar and do not have it, one per minute. The chart's value "
            "reconciler.evictMissing must allow it."
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
        "must not be set together with include: what is not included is excluded",
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
        "must not name a variable of injection.env.names, which is set to the base URL or the placeholder",
    ),
)
