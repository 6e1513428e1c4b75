"""A PodMonitor as the Prometheus operator translates it into a scrape configuration."""

import os
import re
from typing import Any

from e2e.cluster import Manifest

POD = "__meta_kubernetes_pod"


def scrape_config(monitor: Manifest) -> dict[str, Any]:
    """The configuration of its one endpoint; the cluster is that of KUBECONFIG."""
    spec = monitor["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    assert spec["namespaceSelector"] == {"any": True}, "namespaces by name are not translated"
    return {
        "job_name": f"podMonitor/{monitor['metadata']['namespace']}/{monitor['metadata']['name']}/0",
        "metrics_path": endpoint["path"],
        "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": os.environ["KUBECONFIG"]}],
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


def _expression(expression: Manifest) -> Manifest:
    assert expression["operator"] in ("Exists", "DoesNotExist"), expression
    key = re.sub(r"[^a-zA-Z0-9_]", "_", expression["key"])
    action = "keep" if expression["operator"] == "Exists" else "drop"
    return {"source_labels": [f"{POD}_labelpresent_{key}"], "regex": "true", "action": action}


def _relabeling(given: Manifest) -> Manifest:
    """The same in Prometheus' own spelling."""
    return {re.sub("[A-Z]", lambda letter: f"_{letter.group().lower()}", key): value for key, value in given.items()}
