"""A PodMonitor as the Prometheus operator translates it into a scrape configuration, and the pods it is applied to.

Distributions build Prometheus without its discovery of Kubernetes, so the targets are listed here, with the same labels
(prometheus.io/docs, kubernetes_sd_config, role pod); what becomes of them is Prometheus' own doing.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from e2e.cluster import Manifest

POD = "__meta_kubernetes_pod"


def scrape_config(monitor: Manifest, pods: Sequence[Manifest]) -> dict[str, Any]:
    """The configuration of its one endpoint."""
    spec = monitor["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    assert spec["namespaceSelector"] == {"any": True}, "namespaces by name are not translated"
    return {
        "job_name": f"podMonitor/{monitor['metadata']['namespace']}/{monitor['metadata']['name']}/0",
        "metrics_path": endpoint["path"],
        "static_configs": [target for pod in pods if pod["status"].get("podIP") for target in _targets(pod)],
        "relabel_configs": [
            {"source_labels": [f"{POD}_phase"], "regex": "(Failed|Succeeded)", "action": "drop"},
            *map(_expression, spec["selector"].get("matchExpressions", ())),
            {"source_labels": [f"{POD}_container_port_name"], "regex": endpoint["port"], "action": "keep"},
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            {"source_labels": [f"{POD}_container_name"], "target_label": "container"},
            {"source_labels": [f"{POD}_name"], "target_label": "pod"},
            *map(_relabeling, endpoint["relabelings"]),
        ],
    }


def service_scrape_config(monitor: Manifest, services: Sequence[Manifest], pods: Sequence[Manifest]) -> dict[str, Any]:
    """The same of a ServiceMonitor: its Services are selected here, with their pods as endpoints."""
    (endpoint,) = monitor["spec"]["endpoints"]
    chosen = [service for service in services if _selected(service, monitor["spec"]["selector"])]
    assert chosen
    return {
        "job_name": f"serviceMonitor/{monitor['metadata']['namespace']}/{monitor['metadata']['name']}/0",
        "metrics_path": endpoint["path"],
        "static_configs": [
            target for service in chosen for pod in pods for target in _endpoints(service, pod, endpoint["port"])
        ],
        "relabel_configs": [
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            {"source_labels": [f"{POD}_name"], "target_label": "pod"},
            *map(_relabeling, endpoint["relabelings"]),
        ],
    }


def _selected(service: Manifest, selector: Manifest) -> bool:
    labels = service["metadata"].get("labels", {})
    return selector["matchLabels"].items() <= labels.items() and all(
        labels.get(expression["key"]) in expression["values"] for expression in selector["matchExpressions"]
    )


def _endpoints(service: Manifest, pod: Manifest, port: str) -> Iterator[Manifest]:
    """The pod's target behind this port of the Service, whose name is the container's too."""
    same = service["metadata"]["namespace"] == pod["metadata"]["namespace"]
    if same and service["spec"]["selector"].items() <= pod["metadata"].get("labels", {}).items():
        for target in _targets(pod):
            if target["labels"][f"{POD}_container_port_name"] == port:
                yield target


def _targets(pod: Manifest) -> Iterator[Manifest]:
    """One for each port of each container."""
    metadata, address = pod["metadata"], pod["status"]["podIP"]
    shared = {
        "__meta_kubernetes_namespace": metadata["namespace"],
        f"{POD}_name": metadata["name"],
        f"{POD}_phase": pod["status"]["phase"],
        **{f"{POD}_label_{_sanitised(key)}": value for key, value in metadata.get("labels", {}).items()},
        **{f"{POD}_labelpresent_{_sanitised(key)}": "true" for key in metadata.get("labels", {})},
    }
    spec = pod["spec"]
    for container in [*spec["containers"], *spec.get("initContainers", ())]:
        for port in container.get("ports", ()):
            own = {f"{POD}_container_name": container["name"], f"{POD}_container_port_name": port.get("name", "")}
            yield {"targets": [f"{address}:{port['containerPort']}"], "labels": shared | own}


def _sanitised(key: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", key)


def _expression(expression: Manifest) -> Manifest:
    assert expression["operator"] in ("Exists", "DoesNotExist"), expression
    action = "keep" if expression["operator"] == "Exists" else "drop"
    return {"source_labels": [f"{POD}_labelpresent_{_sanitised(expression['key'])}"], "regex": "true", "action": action}


def _relabeling(given: Manifest) -> Manifest:
    """The same in Prometheus' own spelling."""
    return {re.sub("[A-Z]", lambda letter: f"_{letter.group().lower()}", key): value for key, value in given.items()}
