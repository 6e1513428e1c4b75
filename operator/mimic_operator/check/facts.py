"""The facts that a check judges, as they were read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """A pod that asks for the proxy, created in a dry run. message: of a refusal."""

    namespace: str
    status: int
    injected: bool
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Everything that is judged."""

    version: str
    """Of this command."""
    server: str
    definitions: Mapping[str, Object] = field(default_factory=dict)
    """The CustomResourceDefinitions that are there, by name."""
    deployments: Sequence[Object] = ()
    """The operator's own."""
    leases: Sequence[Object] = ()
    endpoints: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Ready addresses of the Services that the configurations call, by namespace and name."""
    configurations: Sequence[Object] = ()
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Their labels, by name."""
    backends: Sequence[Object] = ()
    clusters: Sequence[Object] = ()
    """ClusterMimicBackends."""
    pods: Sequence[Object] = ()
    """Pods that ask for the proxy, or have it."""
    trial: Trial | None = None
    denied: Sequence[tuple[str, str]] = ()
    """A process, and what it is not allowed to do."""
    unread: Sequence[str] = ()
    """What could not be read, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """pod: None if there is none. events: messages of warnings. labels, annotations: of its namespace."""

    namespace: str
    name: str
    pod: Object | None
    events: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    backends: Sequence[Object] = ()
    clusters: Sequence[Object] = ()
    revisions: Sequence[Object] = ()
