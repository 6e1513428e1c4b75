"""The examples for Kubernetes: what the API server, the operator and the SDKs would say of them."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from fakes.helm import CHART, NEWEST, OLDEST, Rendering, of_kind, one, render
from mimic_operator.resource.backend import parse
from mimic_operator.resource.cluster_backend import parse_cluster

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "kubernetes"
FILES = sorted(file for file in EXAMPLES.rglob("*.yaml") if file.name != "values.yaml" and "backends" not in file.parts)
FOREIGN = ("argoproj.io/", "toolkit.fluxcd.io/")


def documents(file: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text("utf-8")) if document]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(EXAMPLES)))
def test_every_manifest_is_valid(file: Path):
    for document in documents(file):
        if document["kind"] == "MimicBackend":
            metadata = {"namespace": "default", "uid": "1", "generation": 1, **document["metadata"]}
            parse({**document, "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z", **metadata}}, strict=True)
        elif document["kind"] == "ClusterMimicBackend":
            parse_cluster(document, strict=True)
        elif not any(word in document["apiVersion"] for word in FOREIGN):
            for version in (OLDEST, NEWEST):
                kubernetes_validate.validate(document, version, strict=True)


def test_the_demo_is_where_the_chart_puts_it():
    manifests = render(Rendering(sets={"demo.enabled": "true"}))
    service = one(manifests, "Service", "mimic-demo")
    code = one(manifests, "Secret", "mimic-demo")["stringData"]["DEMO_CODE"]
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    for file in FILES:
        for document in documents(file):
            if document["kind"] in ("MimicBackend", "ClusterMimicBackend"):
                spec = document["spec"].get("backend", document["spec"])
                assert spec["chat"]["url"] == f"http://{host}/v1", file
                assert spec["auth"]["tokenURL"] == f"http://{host}/token", file
            if document["kind"] == "Secret" and "AUTH_CODE" in document["stringData"]:
                assert document["stringData"]["AUTH_CODE"] == code, file


def test_applications_know_nothing_of_mimic():
    for file in (*EXAMPLES.rglob("app.*"), *EXAMPLES.rglob("Dockerfile"), *EXAMPLES.rglob("package.json")):
        source = re.sub(r"mimic-example", "", file.read_text("utf-8"))
        assert not re.search(r"mimic|base_?url|api_?key|localhost|18480", source, re.IGNORECASE), file


def test_the_values_beside_prometheus_render_all_that_it_selects():
    manifests = render(Rendering(values=[EXAMPLES / "prometheus" / "values.yaml"]))
    found = list(of_kind(manifests, "PodMonitor", "ServiceMonitor", "PrometheusRule"))
    assert len(found) == 3
    for manifest in found:
        assert manifest["metadata"]["labels"]["release"] == "monitoring"


def test_gitops_renders_the_chart_that_is_here():
    for file in (EXAMPLES / "gitops").glob("*.yaml"):
        for document in documents(file):
            text = yaml.safe_dump(document)
            if "helm" in text and document["kind"] != "GitRepository":
                assert f"helm/{CHART.name}" in text
