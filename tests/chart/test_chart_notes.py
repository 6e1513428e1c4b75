"""What helm says after an install: the next steps, and what it should warn of."""

from pathlib import Path

import pytest

from fakes.helm import CHART, CI_VALUES, run

WARNINGS = {
    "webhook.replicaCount=1": "webhook.replicaCount is below 2",
    "reconciler.replicaCount=1": "reconciler.replicaCount is below 2",
    "webhook.failurePolicy=Ignore": "pods start without the proxy they ask for",
    "crds.enabled=false": "have to keep the CRD as new as this chart",
    "policy.confineReconciler=false": "is not confined",
    "demo.enabled=true": "It is not for production",
    "rbac.create=false": "bind the accounts",
}


def notes(*options: str, folder: Path) -> str:
    """The notes of an install that reaches no cluster; helm takes itself to be as new as Kubernetes."""
    command = ["install", "mimic", str(CHART), "--namespace", "mimic-system", "--dry-run=client", *options]
    said = run(*command, environ={"HOME": str(folder), "PATH": "/usr/bin:/bin", "KUBECONFIG": "/nonexistent"})
    return said.split("NOTES:\n", 1)[1]


def test_the_defaults_give_no_warning_and_say_what_comes_next(tmp_path: Path):
    said = notes(folder=tmp_path)
    assert "WARNING" not in said
    for step in ("rollout status deployment/mimic-webhook", "helm test mimic", "mimic.dev/inject", "release --all"):
        assert step in said


@pytest.mark.parametrize("option", WARNINGS)
def test_it_warns(option: str, tmp_path: Path):
    said = notes("--set", option, folder=tmp_path)
    assert said.count("WARNING: ") == 1
    assert WARNINGS[option] in said


@pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem)
def test_every_values_file_has_notes(file: Path, tmp_path: Path):
    assert "mimic" in notes(f"--values={file}", folder=tmp_path)


def test_the_demo_is_described_as_it_is(tmp_path: Path):
    said = notes("--set", "demo.enabled=true", folder=tmp_path)
    assert "http://mimic-demo.mimic-system.svc/v1" in said
    assert "http://mimic-demo.mimic-system.svc/token" in said
