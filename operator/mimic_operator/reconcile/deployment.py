"""The Deployment of a shared proxy. Pure."""

import json
from typing import Any

from mimic_operator.resource.backend import Backend
from mimic_operator.resource.config import DRAIN_DELAY_SECONDS, DRAIN_SECONDS
from mimic_operator.resource.container import DEPLOYMENT_ADMIN_PORT
from mimic_operator.resource.naming import ANNOTATION_TEMPLATE_HASH, child_name, labels_of, selector_of, short_hash
from mimic_operator.resource.revision import Revision
from mimic_operator.resource.spec.deployment import Deployment

DEFAULT_REPLICAS = 2
LEFT_SECONDS = 5
"""Of the pod's grace period, after delay and drain."""
ZONES = "topology.kubernetes.io/zone"
HOSTS = "kubernetes.io/hostname"

Manifest = dict[str, Any]


def deployment(head: Manifest, backend: Backend, revision: Revision) -> Manifest:
    """Two pods unless something else is said, replaced without a gap. An autoscaler's replicas are not ours to set."""
    template = _template(backend, revision)
    digest = short_hash(json.dumps(template, sort_keys=True))
    template["metadata"]["annotations"][ANNOTATION_TEMPLATE_HASH] = digest
    spec: Manifest = {
        "selector": {"matchLabels": selector_of(backend.name)},
        "strategy": _strategy(backend),
        "revisionHistoryLimit": 3,
        "template": template,
    }
    replicas = _replicas(backend)
    if replicas is not None:
        spec = {"replicas": replicas, **spec}
    head["metadata"]["annotations"] = {ANNOTATION_TEMPLATE_HASH: digest}
    return {**head, "spec": spec}


def _replicas(backend: Backend) -> int | None:
    wanted = backend.deployment
    if wanted.autoscaling is not None:
        return None
    if wanted.replicas is not None:
        return wanted.replicas
    return 1 if backend.auth.single_use else DEFAULT_REPLICAS


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
    metadata = {"labels": labels_of(backend.name), "annotations": annotations}
    spec: Manifest = {
        "serviceAccountName": child_name(backend.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": DRAIN_DELAY_SECONDS + DRAIN_SECONDS + LEFT_SECONDS,
        "securityContext": _pod_security(backend),
        "containers": [revision.container],
        "volumes": list(revision.volumes),
        **_placement(backend.deployment, backend.name),
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


def _placement(wanted: Deployment, name: str) -> Manifest:
    spread = [dict(constraint) for constraint in wanted.topology_spread] or [
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
