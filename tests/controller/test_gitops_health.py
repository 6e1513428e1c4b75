"""What Argo CD and Flux make of the conditions, by the expressions of examples/kubernetes/gitops."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cel
import pytest
import yaml
from lupa import LuaRuntime

from mimic_operator.errors import Problem
from mimic_operator.reconcile.rollout import Situation, decide
from mimic_operator.reconcile.status import Condition, Observed, status_of
from mimic_operator.reconcile.workload import Counts, Ref
from mimic_operator.resource.backend import parse
from mimic_operator.resource.cluster_backend import Created, invalid_status, parse_cluster
from mimic_operator.resource.cluster_backend import status_of as cluster_status_of

GITOPS = Path(__file__).parent.parent.parent / "examples" / "kubernetes" / "gitops"
SCRIPTS = yaml.safe_load((GITOPS / "argocd-health.yaml").read_text("utf-8"))["data"]
EXPRESSIONS = yaml.safe_load((GITOPS / "flux-health.yaml").read_text("utf-8"))["spec"]["healthCheckExprs"]
NOW = "2026-01-01T00:00:00Z"
SPEC = {"chat": {"url": "https://llm.example/v1"}, "auth": {"grant": "None"}}
SHARED = {"mode": "Deployment", "deployment": {"access": "Open"}}
INVALID = [Problem("spec.chat.url", "must begin with https://")]


def single(spec: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """A MimicBackend with the status of what was observed."""
    head = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": {"name": "corp", "generation": 3}}
    backend = parse({**head, "spec": {**SPEC, **(spec or {})}})
    idle = decide(Situation(now=0.0, backend="corp", target="mimic-corp-1", revised=0.0))
    found = Observed(
        generation=3, mode=backend.mode, backend=backend, target="mimic-corp-1", current="mimic-corp-1", plan=idle
    )
    return {**head, "status": status_of(replace(found, **changed), {}, NOW)}


def cluster(created: dict[str, Created], failed: dict[str, str] | None = None) -> dict[str, Any]:
    head = {"apiVersion": "mimic.dev/v1alpha1", "kind": "ClusterMimicBackend"}
    head |= {"metadata": {"name": "corp", "generation": 3}}
    found = parse_cluster({**head, "spec": {"namespaces": {"selector": {}}, "backend": SPEC}})
    return {**head, "status": cluster_status_of(found, [*created], created, failed or {}, {}, NOW)}


READY = Created(ready="True", reason="Ready")
STORED = {"kind": "MimicBackend", "metadata": {"generation": 3}}
OLD = single() | {"metadata": {"name": "corp", "generation": 4}}
CASES = {
    "ready": (single(), "Healthy"),
    "not looked at yet": ({**STORED, "status": {}}, "Progressing"),
    "changed since": (OLD, "Progressing"),
    "invalid": (single(backend=None, problems=INVALID, plan=None), "Degraded"),
    "without a revision yet": (single(current=""), "Progressing"),
    "without its Secret": (single(secret=Condition("False", "SecretMissing", "a proxy reports it")), "Degraded"),
    "refused by a quota": (single(refused="exceeded quota: cpu"), "Degraded"),
    "in conflict": (single(lost=[(Ref("team", "Deployment", "web"), "older")]), "Degraded"),
    "shared and starting": (single(SHARED, pods=Counts(desired=2, available=0)), "Progressing"),
    "shared and available": (single(SHARED, pods=Counts(desired=2, available=2)), "Healthy"),
    "suspended": (single({"suspend": True}), "Suspended"),
    "ready in every namespace": (cluster({"a": READY, "b": READY}), "Healthy"),
    "ready in some namespaces": (cluster({"a": READY, "b": Created()}), "Progressing"),
    "in conflict in a namespace": (cluster({"a": READY}, {"b": "Conflict"}), "Degraded"),
    "invalid for all": (
        {"kind": "ClusterMimicBackend", "metadata": {"generation": 3}, "status": invalid_status(3, INVALID, {}, NOW)},
        "Degraded",
    ),
}


@pytest.mark.parametrize(("manifest", "health"), CASES.values(), ids=CASES)
def test_argo_cd_shows_the_health(manifest: dict[str, Any], health: str):
    lua = LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(manifest, recursive=True)
    found = lua.execute(SCRIPTS[f"resource.customizations.health.mimic.dev_{manifest['kind']}"])
    assert found["status"] == health
    assert isinstance(found["message"], str)


@pytest.mark.parametrize(("manifest", "health"), CASES.values(), ids=CASES)
def test_flux_waits_for_what_may_come_and_fails_at_once_for_the_rest(manifest: dict[str, Any], health: str):
    (expressions,) = [each for each in EXPRESSIONS if each["kind"] == manifest["kind"]]
    # In the order in which Flux evaluates them.
    order = (("inProgress", "Progressing"), ("failed", "Degraded"), ("current", "Healthy"))
    found = next(word for name, word in order if cel.evaluate(expressions[name], manifest))
    assert found == ("Degraded" if health == "Suspended" else health)
