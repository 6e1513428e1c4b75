"""The kinds that the operator works with, and where the API server has them."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from lightkube.core import resource
from lightkube.generic_resource import Generic

from mimic_operator.resource.naming import GROUP, KIND, PLURAL, VERSION


class Kind(NamedTuple):
    """One kind as the API server serves it."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Of the collection, or of one object (Kubernetes API concepts, resource URIs)."""
        parts = ["apis", self.group] if self.group else ["api"]
        parts.append(self.version)
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        return "/" + "/".join([*parts, name] if name else parts)


BACKEND = Kind(GROUP, VERSION, KIND, PLURAL)
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments")
STATEFUL_SET = Kind("apps", "v1", "StatefulSet", "statefulsets")
DAEMON_SET = Kind("apps", "v1", "DaemonSet", "daemonsets")
CRON_JOB = Kind("batch", "v1", "CronJob", "cronjobs")
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets")
JOB = Kind("batch", "v1", "Job", "jobs")
POD = Kind("", "v1", "Pod", "pods")
EVENT = Kind("", "v1", "Event", "events")
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
SECRET = Kind("", "v1", "Secret", "secrets")
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts")
SERVICE = Kind("", "v1", "Service", "services")
CONTROLLER_REVISION = Kind("apps", "v1", "ControllerRevision", "controllerrevisions")
BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
AUTOSCALER = Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
POD_MONITOR = Kind("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors")
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")
MUTATING = Kind(
    "admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", False
)
VALIDATING = Kind(
    "admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", False
)
CRD = Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False)

WORKLOADS = (DEPLOYMENT, STATEFUL_SET, DAEMON_SET, CRON_JOB)
"""What can be selected; it carries a pod template that may be changed."""
CHILDREN = (
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    SERVICE,
    BUDGET,
    AUTOSCALER,
    NETWORK_POLICY,
    POD_MONITOR,
)
"""What a backend owns; the last is there only where the Prometheus operator is."""
KINDS = {(kind.api_version, kind.kind): kind for kind in (BACKEND, *CHILDREN, *WORKLOADS, SECRET, LEASE)}
KIND_BY_NAME: Mapping[str, Kind] = {kind.kind: kind for kind in KINDS.values()}


_VERBS = ["delete", "get", "global_list", "global_watch", "list", "patch", "post", "put", "watch"]


@cache
def resource_of(kind: Kind, status: bool = False) -> Any:
    """lightkube's class for a kind, or for its status; its objects are plain mappings.

    Not lightkube's own registry of generic resources: there no kind may be twice, and its typed core kinds are in it.
    """
    definition = resource.ResourceDef(kind.group, kind.version, kind.kind)
    base: Any = resource.NamespacedResourceG if kind.namespaced else resource.GlobalResource
    info = resource.ApiInfo(resource=definition, plural=kind.plural, verbs=_VERBS)
    if status:
        info = resource.ApiInfo(
            resource=definition, parent=definition, plural=kind.plural, verbs=["get", "patch", "put"], action="status"
        )
    return type(kind.kind, (base, Generic), {"_api_info": info})


@cache
def eviction() -> Any:
    """lightkube's class for the eviction of a pod."""
    info = resource.ApiInfo(
        resource=resource.ResourceDef("policy", "v1", "Eviction"),
        parent=resource.ResourceDef("", "v1", "Pod"),
        plural="pods",
        verbs=["post"],
        action="eviction",
    )
    return type("Eviction", (resource.NamespacedSubResource, Generic), {"_api_info": info})
