"""The operator's catalogue, and what its processes count by it."""

from typing import get_args

import pytest
from prometheus_client import CollectorRegistry

from mimic_operator import catalogue
from mimic_operator.reconcile.metrics import ReconcileMetrics
from mimic_operator.reconcile.store import Store, keep_backend
from mimic_operator.runtime.faults import Reason
from mimic_operator.runtime.informer import Informers
from mimic_operator.runtime.kinds import Key
from mimic_operator.runtime.metrics import process_registry
from mimic_operator.runtime.queue import Backoff, WorkQueue
from mimic_operator.webhook import review
from mimic_operator.webhook.decide import Trigger
from mimic_operator.webhook.metrics import AdmissionMetrics
from mimic_operator.webhook.outcomes import OUTCOMES, Verdict
from mimic_operator.webhook.process import possible_ends

A, B = Key("shop", "a"), Key("shop", "b")


def test_closed_lists_are_those_of_the_code():
    assert get_args(Reason) == catalogue.FAULTS
    assert catalogue.CLOSED["verdict"] == tuple(Verdict)
    assert catalogue.CLOSED["source"] == get_args(Trigger)
    assert set(catalogue.CLOSED["handler"]) == review.PATHS
    assert set(catalogue.HALTED) < set(catalogue.DEGRADATIONS)


def test_names_tell_kind_and_unit():
    for metric in catalogue.CATALOGUE.values():
        assert metric.name.startswith("mimic_operator_")
        assert metric.name.endswith("_total") is (metric.kind == "counter")
        assert bool(metric.bounds) is (metric.kind == "histogram")
        assert list(metric.bounds) == sorted(metric.bounds)


def test_whatever_may_become_of_a_pod_is_there_from_the_start():
    registry = CollectorRegistry()
    AdmissionMetrics(registry, possible_ends())
    for word, outcome in OUTCOMES.items():
        label = {"reason": word, "verdict": str(outcome.verdict), "source": "label"}
        assert registry.get_sample_value(catalogue.ADMISSIONS.name, label) == 0
        softer = "warned" if outcome.verdict is Verdict.DENIED else str(outcome.verdict)
        label = {"reason": word, "verdict": softer, "source": "namespace"}
        assert registry.get_sample_value(catalogue.ADMISSIONS.name, label) == 0


def failing(registry: CollectorRegistry) -> dict[str, float]:
    values = {
        reason: registry.get_sample_value(catalogue.FAILING.name, {"reason": reason}) for reason in catalogue.FAULTS
    }
    assert None not in values.values()
    return {reason: value for reason, value in values.items() if value}


def test_a_backend_fails_until_a_turn_of_it_goes_well():
    registry = CollectorRegistry()
    metrics = ReconcileMetrics(registry)
    assert failing(registry) == {}
    metrics.reconciled(A, 0.1, "timeout")
    metrics.reconciled(B, 0.1, "forbidden")
    metrics.reconciled(A, 0.1, "forbidden")
    assert failing(registry) == {"forbidden": 2}
    metrics.reconciled(B, 0.1, "")
    assert failing(registry) == {"forbidden": 1}
    for reason, turns in (("timeout", 1), ("forbidden", 2)):
        counted = registry.get_sample_value(catalogue.RECONCILES.name, {"result": "error", "reason": reason})
        assert counted == turns


@pytest.mark.parametrize("process", ["webhook", "reconciler"])
def test_a_process_says_what_runs_and_what_it_takes(process: str):
    registry = process_registry("webhook" if process == "webhook" else "reconciler", "1.2.3")
    names = {sample.name: sample.labels for family in registry.collect() for sample in family.samples}
    assert names[catalogue.BUILD.name]["process"] == process
    assert names[catalogue.BUILD.name]["version"] == "1.2.3"
    assert {"process_resident_memory_bytes", "process_start_time_seconds"} <= names.keys()
    assert [name for name in names if name.endswith("_created")] == []


def test_a_new_leader_shows_pods_and_conditions_from_the_status_that_it_found():
    """They were 0 until each status had changed, so that no alert could fire."""
    status = {
        "injected": {"total": 5, "current": 2, "outdated": 0, "missing": 3},
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Ready"},
            {"type": "Degraded", "status": "True", "reason": "Contended"},
        ],
    }
    metadata = {"name": "a", "namespace": "shop", "uid": "1", "resourceVersion": "1"}
    store = Store(lambda key: None)
    store.set_backend(A, keep_backend({"metadata": metadata, "spec": {}, "status": status}))
    registry = CollectorRegistry()
    queue = WorkQueue(_nothing, lambda: 0.0, Backoff(lambda: 0.0), lambda outcome: None)
    metrics = ReconcileMetrics(registry)
    metrics.states(queue, Informers((), lambda: 0.0), store, lambda key: store.entries[key].status)
    assert registry.get_sample_value("mimic_operator_pods", {"state": "missing"}) == 3
    assert registry.get_sample_value("mimic_operator_degraded", {"reason": "Contended"}) == 1
    assert registry.get_sample_value("mimic_operator_managed", {"mode": "Sidecar", "ready": "True"}) == 1
    assert registry.get_sample_value("mimic_operator_namespaces_skipped") == 0


async def _nothing(key: Key) -> None:
    return None
