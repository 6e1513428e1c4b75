"""What the cluster should hold for a backend, one function for each kind. Pure."""

import json
import math
from typing import Any

from mimic_operator.resource.backend import Backend
from mimic_operator.resource.config import DRAIN_DELAY_SECONDS
from mimic_operator.resource.container import ADMIN_PORT_NAME, API_PORT_NAME, DEPLOYMENT_ADMIN_PORT
from mimic_operator.resource.fields import write_fields
from mimic_operator.resource.mounts import CA_FILE, CONFIG_FILE
from mimic_operator.resource.naming import (
    ANNOTATION_CONFIG_HASH,
    ANNOTATION_TEMPLATE_HASH,
    API_VERSION,
    KIND,
    child_name,
    labels_of,
    selector_of,
    short_hash,
)
from mimic_operator.resource.revision import Revision, to_data
from mimic_operator.resource.spec.common import NAMESPACE_NAME
from mimic_operator.resource.spec.deployment import Deployment, TemplateSpec

Manifest = dict[str, Any]
LEFT_SECONDS = 5
"""Of the pod's grace period, after delay and drain."""
ZONES = "topology.kubernetes.io/zone"
HOSTS = "kubernetes.io/hostname"


def desired(backend: Backend, revision: Revision) -> tuple[Manifest, ...]:
    """The objects, in the order in which they are applied: what others mount or name comes first.

    Kinds that a cluster may lack (PodMonitor) are among them only if the backend asks for them.
    """
    if backend.mode == "Sidecar":
        return (config_map(backend, revision), controller_revision(backend, revision))
    settings = backend.deployment
    wanted = [
        service_account(backend) if settings.pod_template.spec.service_account_name is None else None,
        config_map(backend, revision),
        network_policy(backend) if settings.network_policy.enabled else None,
        deployment(_head(backend, "apps/v1", "Deployment"), backend, revision),
        service(backend),
        disruption_budget(backend) if settings.pod_disruption_budget.enabled else None,
        autoscaler(backend) if settings.autoscaling is not None else None,
        pod_monitor(backend) if settings.pod_monitor.enabled else None,
    ]
    return tuple(manifest for manifest in wanted if manifest is not None)


def config_map(backend: Backend, revision: Revision) -> Manifest:
    """The configuration file, and authorities given inline; both change while the pods that mount them run."""
    head, text = _head(backend, "v1", "ConfigMap", revision.config_map), revision.config_text
    head["metadata"]["annotations"] = {ANNOTATION_CONFIG_HASH: short_hash(text)}
    authorities = {CA_FILE: backend.tls.ca_bundle} if backend.tls.ca_bundle is not None else {}
    return {**head, "data": {CONFIG_FILE: text, **authorities}}


def controller_revision(backend: Backend, revision: Revision) -> Manifest:
    """What the webhook injects into pods whose template names this revision.

    `revision` is the number by which they are ordered, and cannot be left out; the generation would change it with
    each edit of the backend, so creationTimestamp tells their age.
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
    """One pod at a time by default; with `minAvailable: 1` a single replica would block the drain of its node."""
    wanted = backend.deployment.pod_disruption_budget
    spec: Manifest = {"selector": {"matchLabels": selector_of(backend.name)}}
    if wanted.min_available is not None:
        spec["minAvailable"] = wanted.min_available
    else:
        spec["maxUnavailable"] = 1 if wanted.max_unavailable is None else wanted.max_unavailable
    return {**_head(backend, "policy/v1", "PodDisruptionBudget"), "spec": spec}


def autoscaler(backend: Backend) -> Manifest:
    """Scales by running calls, which is what fills a proxy that waits, by CPU, or by metrics of the user's own."""
    wanted = backend.deployment.autoscaling
    assert wanted is not None
    metrics: list[Manifest] = []
    if wanted.target_in_flight is not None:
        target: Manifest = {"type": "AverageValue", "averageValue": str(wanted.target_in_flight)}
        metrics.append({"type": "Pods", "pods": {"metric": {"name": "mimic_requests_in_flight"}, "target": target}})
    if wanted.target_cpu_utilization is not None:
        target = {"type": "Utilization", "averageUtilization": wanted.target_cpu_utilization}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": child_name(backend.name)},
        "minReplicas": wanted.min_replicas,
        "maxReplicas": wanted.max_replicas,
        "metrics": [*metrics, *map(dict, wanted.metrics)],
    }
    if wanted.behavior is not None:
        spec["behavior"] = dict(wanted.behavior)
    return {**_head(backend, "autoscaling/v2", "HorizontalPodAutoscaler"), "spec": spec}


def network_policy(backend: Backend) -> Manifest:
    """Who reaches the API port. The admin port stays open: from afar it answers probes and scrapes alone."""
    wanted = [dict(peer) for peer in backend.deployment.network_policy.allow_from] or _allowed_peers(backend)
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
    # Blocking would need a right on the backend's finalizers, and no one waits for the children.
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


def _allowed_peers(backend: Backend) -> list[Manifest]:
    allowed = backend.deployment.allowed_namespaces
    if allowed.from_ != "Selector":
        return [{"namespaceSelector": {}} if allowed.from_ == "All" else {"podSelector": {}}]
    peers: list[Manifest] = []
    if allowed.selector is not None:
        written = write_fields(allowed.selector)
        peers.append({"namespaceSelector": {key: value for key, value in written.items() if value}})
    if allowed.names:
        named = {"key": NAMESPACE_NAME, "operator": "In", "values": list(allowed.names)}
        peers.append({"namespaceSelector": {"matchExpressions": [named]}})
    return peers


def deployment(head: Manifest, backend: Backend, revision: Revision) -> Manifest:
    """The Deployment; its pods are replaced without a gap. With an autoscaler, `replicas` belongs to that."""
    template = _template(backend, revision)
    digest = short_hash(json.dumps(template, sort_keys=True))
    template["metadata"]["annotations"][ANNOTATION_TEMPLATE_HASH] = digest
    spec: Manifest = {
        "selector": {"matchLabels": selector_of(backend.name)},
        "strategy": _strategy(backend),
        "revisionHistoryLimit": 3,
        "template": template,
    }
    if backend.deployment.autoscaling is None:
        spec = {"replicas": backend.deployment.replicas, **spec}
    head["metadata"]["annotations"] = {ANNOTATION_TEMPLATE_HASH: digest}
    return {**head, "spec": spec}


def _strategy(backend: Backend) -> Manifest:
    if backend.auth.single_use:
        # Two pods at a time would spend each other's credential.
        return {"type": "Recreate"}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def _template(backend: Backend, revision: Revision) -> Manifest:
    annotations = {"kubectl.kubernetes.io/default-container": revision.container["name"]}
    if revision.scrape and not backend.deployment.pod_monitor.enabled:
        scrape = {"scrape": "true", "port": str(DEPLOYMENT_ADMIN_PORT), "path": "/metrics"}
        annotations |= {f"prometheus.io/{name}": value for name, value in scrape.items()}
    overrides = backend.deployment.pod_template
    wanted = overrides.spec
    metadata = {
        "labels": {**overrides.metadata.labels, **labels_of(backend.name)},
        "annotations": {**annotations, **overrides.metadata.annotations},
    }
    proxy = dict(revision.container)
    if overrides.volume_mounts:
        proxy["volumeMounts"] = [*proxy["volumeMounts"], *overrides.volume_mounts]
    spec: Manifest = {
        "serviceAccountName": wanted.service_account_name or child_name(backend.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": DRAIN_DELAY_SECONDS + math.ceil(backend.proxy.drain_timeout) + LEFT_SECONDS,
        "securityContext": {**_pod_security(backend), **(wanted.security_context or {})},
        "containers": [proxy, *wanted.containers],
        "volumes": [*revision.volumes, *wanted.volumes],
        **_placement(backend.deployment, backend.name),
        **_added(wanted),
    }
    if revision.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in revision.image_pull_secrets]
    return {"metadata": metadata, "spec": spec}


def _pod_security(backend: Backend) -> Manifest:
    found: Manifest = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    user = backend.proxy.security_context.run_as_user
    if backend.auth.token_store is not None and user is not None:
        found["fsGroup"] = user
    return found


def _added(wanted: TemplateSpec) -> Manifest:
    """Fields of the pods that Mimic itself leaves alone."""
    found: Manifest = {
        "initContainers": list(wanted.init_containers),
        "dnsConfig": dict(wanted.dns_config or {}),
        "dnsPolicy": wanted.dns_policy,
        "hostAliases": list(wanted.host_aliases),
        "runtimeClassName": wanted.runtime_class_name,
        "schedulerName": wanted.scheduler_name,
    }
    return {key: value for key, value in found.items() if value}


def _placement(wanted: Deployment, name: str) -> Manifest:
    spread = [dict(constraint) for constraint in wanted.topology_spread_constraints] or [
        _spread(key, name) for key in (ZONES, HOSTS)
    ]
    found: Manifest = {
        "topologySpreadConstraints": spread,
        "nodeSelector": dict(wanted.node_selector),
        "tolerations": [dict(toleration) for toleration in wanted.tolerations],
        "affinity": dict(wanted.affinity or {}),
        "priorityClassName": wanted.priority_class_name,
    }
    return {key: value for key, value in found.items() if value}


def _spread(key: str, name: str) -> Manifest:
    selector = {"matchLabels": selector_of(name)}
    return {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": selector}
