"""What the chart and the examples write for cert-manager, the Prometheus operator and Argo CD, by the schemas of these.

Their CustomResourceDefinitions come with their Go modules. Those of Flux are in no module that can be had alone.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.applied import Cluster
from fakes.chart_release import eventually
from fakes.control_plane import running
from fakes.helm import CI_VALUES, Rendering, render
from fakes.tools import lacking

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples" / "kubernetes"
MONITORS = "github.com/prometheus-operator/prometheus-operator"
MODULES = {
    "github.com/cert-manager/cert-manager@v1.21.2": "deploy/crds/cert-manager.io_{}.yaml",
    f"{MONITORS}@v0.85.0": "example/prometheus-operator-crd/monitoring.coreos.com_{}.yaml",
    "github.com/argoproj/argo-cd/v3@v3.2.1": "manifests/crds/{}-crd.yaml",
}
KINDS = {
    "certificates": ("cert-manager", "cert-manager.io/v1"),
    "issuers": ("cert-manager", "cert-manager.io/v1"),
    "podmonitors": ("prometheus-operator", "monitoring.coreos.com/v1"),
    "servicemonitors": ("prometheus-operator", "monitoring.coreos.com/v1"),
    "prometheusrules": ("prometheus-operator", "monitoring.coreos.com/v1"),
    "application": ("argo-cd", "argoproj.io/v1alpha1"),
}
"""File, part of the module's name, group and version."""


def definition(kind: str) -> dict[str, Any]:
    """The CustomResourceDefinition, from its module's folder; skips or fails the test where no Go is."""
    ((module, file),) = ((name, file) for name, file in MODULES.items() if f"/{KINDS[kind][0]}" in name.split("@")[0])
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/go/bin"])
    if (go := shutil.which("go", path=search)) is None:
        lacking("there is no Go, which fetches the modules with other projects' definitions")
    ended = subprocess.run(
        [go, "mod", "download", "-json", module], capture_output=True, text=True, timeout=150, check=False, cwd="/"
    )
    assert ended.returncode == 0, f"{module}: {ended.stdout}{ended.stderr}"
    loaded: dict[str, Any] = yaml.safe_load((Path(json.loads(ended.stdout)["Dir"]) / file.format(kind)).read_text())
    return loaded


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server that knows these kinds; the other tests' does not."""
    definitions = [definition(kind) for kind in KINDS]
    with running(tmp_path_factory.mktemp("foreign"), controllers=False) as plane, plane.http() as client:
        made = Cluster(client)
        made.apply_all(definitions)
        for name in ("mimic-system", "argocd", "shop"):
            made.apply_all([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
        for version in {version for _, version in KINDS.values()}:
            expected = sum(entry == version for _, entry in KINDS.values())
            eventually(version, lambda version=version, expected=expected: served(made, version) == expected)
        yield made


def served(cluster: Cluster, version: str) -> int:
    answer = cluster.client.get(f"/apis/{version}")
    return sum("/" not in entry["name"] for entry in answer.json()["resources"]) if answer.is_success else 0


def judge(cluster: Cluster, manifests: list[dict[str, Any]], at_least: int) -> None:
    """Assert that every field of those of foreign kinds is one that their schemas know."""
    foreign = [entry for entry in manifests if entry["apiVersion"] in {version for _, version in KINDS.values()}]
    assert len(foreign) >= at_least
    for manifest in foreign:
        answer = cluster.apply(manifest, dry_run=True)
        assert answer.is_success, f"{manifest['kind']} {manifest['metadata']['name']}: {answer.text}"
        assert "warning" not in answer.headers, answer.headers


@pytest.mark.parametrize(("values", "at_least"), [("everything", 3), ("cert-manager", 1), ("self-signed", 2)])
def test_monitors_rules_and_certificates_of_the_chart(values: str, at_least: int, cluster: Cluster):
    (file,) = (file for file in CI_VALUES if file.stem == f"{values}-values")
    judge(cluster, render(Rendering(values=[file])), at_least)


def test_monitors_and_rules_beside_kube_prometheus_stack(cluster: Cluster):
    judge(cluster, render(Rendering(values=[EXAMPLES / "prometheus" / "values.yaml"])), 3)


def test_an_application_of_argo_cd(cluster: Cluster):
    judge(cluster, list(yaml.safe_load_all((EXAMPLES / "gitops" / "argocd.yaml").read_text("utf-8"))), 1)


def test_the_podmonitor_of_a_shared_proxy(cluster: Cluster):
    golden = ROOT / "tests" / "controller" / "golden" / "render" / "autoscaled-deployment.yaml"
    judge(cluster, [entry for entry in yaml.safe_load_all(golden.read_text("utf-8")) if entry], 1)


def test_an_unknown_field_is_told(cluster: Cluster):
    (application,) = yaml.safe_load_all((EXAMPLES / "gitops" / "argocd.yaml").read_text("utf-8"))
    application["spec"]["syncPolicy"]["selfHealing"] = True
    answer = cluster.apply(application, dry_run=True)
    assert not answer.is_success
    assert "selfHealing" in answer.text
