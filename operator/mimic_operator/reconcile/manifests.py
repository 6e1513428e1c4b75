"""What the cluster should hold for a backend, one function for each kind. Pure."""

from typing import Any

from mimic_operator.reconcile.deployment import deployment
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.container import ADMIN_PORT_NAME, API_PORT_NAME
from mimic_operator.resource.naming import (
    ANNOTATION_CONFIG_HASH,
    API_VERSION,
    KIND,
    child_name,
    labels_of,
    selector_of,
)
from mimic_operator.resource.places import CONFIG_FILE
from mimic_operator.resource.revision import Revision, to_data
from mimic_operator.resource.shape import write_fields

Manifest = dict[str, Any]


def desired(backend: Backend, revision: Revision) -> tuple[Manifest, ...]:
    """The objects, in the order in which they are applied: what others mount or name comes first.

    Kinds that a cluster may lack (PodMonitor) are among them only if the backend asks for them.
    """
    if backend.mode == "Sidecar":
        return (config_map(backend, revision), controller_revision(backend, revision))
    settings = backend.deployment
    wanted = [
        service_account(backend),
        config_map(backend, revision),
        network_policy(backend) if settings.network_policy.enabled else None,
        deployment(_head(backend, "apps/v1", "Deployment"), backend, revision),
        service(backend),
        disruption_budget(backend) if settings.pdb.enabled else None,
        autoscaler(backend) if settings.autoscaling is not None else None,
        pod_monitor(backend) if settings.pod_monitor.enabled else None,
    ]
    return tuple(manifest for manifest in wanted if manifest is not None)


def config_map(backend: Backend, revision: Revision) -> Manifest:
    """The configuration file; it changes while the pods that mount it run."""
    head = _head(backend, "v1", "ConfigMap", revision.config_map)
    head["metadata"]["annotations"] = {ANNOTATION_CONFIG_HASH: revision.config_hash}
    return {**head, "data": {CONFIG_FILE: revision.config_text}}


def controller_revision(backend: Backend, revision: Revision) -> Manifest:
    """What the webhook injects into pods whose template names this revision.

    `revision` is the number by which they are ordered, and cannot be left out; the generation would change it with
    each edit of the backend, so age is told by creationTimestamp.
    """
    head = _head(backend, "apps/v1", "ControllerRevision", revision.name)
    return {**head, "revision": 1, "data": to_data(revision, backend.spec)}


def service_account(backend: Backend) -> Manifest:
    """An identity without rights, and without a token in the pods."""
    return {**_head(backend, "v1", "ServiceAccount"), "automountServiceAccountToken": False}


def service(backend: Backend) -> Manifest:
    """The API port alone; probes and metrics are asked of the pods."""
    wanted = backend.deployment.service
    head = _head(backend, "v1", "Service")
    if wanted.annotations:
        head["metadata"]["annotations"] = dict(wanted.annotations)
    port = {"name": "http", "port": wanted.port, "targetPort": API_PORT_NAME, "protocol": "TCP"}
    return {**head, "spec": {"type": wanted.type, "selector": selector_of(backend.name), "ports": [port]}}


def disruption_budget(backend: Backend) -> Manifest:
    """One pod at a time; with `minAvailable` a single replica would block every node's drain."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": selector_of(backend.name)}}
    return {**_head(backend, "policy/v1", "PodDisruptionBudget"), "spec": spec}


def autoscaler(backend: Backend) -> Manifest:
    """By running calls, which are what fills a proxy that waits, or by CPU."""
    wanted = backend.deployment.autoscaling
    assert wanted is not None
    if wanted.target_in_flight is not None:
        target: Manifest = {"type": "AverageValue", "averageValue": str(wanted.target_in_flight)}
        metric: Manifest = {"type": "Pods", "pods": {"metric": {"name": "mimic_requests_in_flight"}, "target": target}}
    else:
        target = {"type": "Utilization", "averageUtilization": wanted.target_cpu_utilization}
        metric = {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": child_name(backend.name)},
        "minReplicas": wanted.min_replicas,
        "maxReplicas": wanted.max_replicas,
        "metrics": [metric],
    }
    return {**_head(backend, "autoscaling/v2", "HorizontalPodAutoscaler"), "spec": spec}


def network_policy(backend: Backend) -> Manifest:
    """Who reaches the API port. The admin port stays open: from afar it answers probes and scrapes alone."""
    wanted = [dict(peer) for peer in backend.deployment.network_policy.allow_from] or [_allowed_peer(backend)]
    ingress = [
        {"from": wanted, "ports": [{"port": API_PORT_NAME, "protocol": "TCP"}]},
        {"ports": [{"port": ADMIN_PORT_NAME, "protocol": "TCP"}]},
    ]
    selector = {"matchLabels": selector_of(backend.name)}
    spec = {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": ingress}
    return {**_head(backend, "networking.k8s.io/v1", "NetworkPolicy"), "spec": spec}


def pod_monitor(backend: Backend) -> Manifest:
    """For the Prometheus operator."""
    head = _head(backend, "monitoring.coreos.com/v1", "PodMonitor")
    head["metadata"]["labels"] |= backend.deployment.pod_monitor.labels
    endpoint = {"port": ADMIN_PORT_NAME, "path": "/metrics"}
    selector = {"matchLabels": selector_of(backend.name)}
    return {**head, "spec": {"selector": selector, "podMetricsEndpoints": [endpoint]}}


def owner_reference(backend: Backend) -> dict[str, Any]:
    """By which the cluster deletes the children together with the backend."""
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": backend.name, "uid": backend.uid}
    # Blocking would need a right on the backend's finalizers, and nobody waits for the children.
    return {**owner, "controller": True, "blockOwnerDeletion": False}


def _head(backend: Backend, api_version: str, kind: str, name: str | None = None) -> Manifest:
    metadata: Manifest = {
        "name": name or child_name(backend.name),
        "namespace": backend.namespace,
        "labels": labels_of(backend.name),
    }
    if backend.uid:
        metadata["ownerReferences"] = [owner_reference(backend)]
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _allowed_peer(backend: Backend) -> Manifest:
    allowed = backend.deployment.allowed_namespaces
    if allowed.from_ == "All":
        return {"namespaceSelector": {}}
    if allowed.selector is None:
        return {"podSelector": {}}
    written = write_fields(allowed.selector)
    return {"namespaceSelector": {key: value for key, value in written.items() if value}}
