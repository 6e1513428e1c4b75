"""The operator's catalogue, and what its processes count by it."""

from typing import get_args

import pytest
from prometheus_client import CollectorRegistry

from mimic_operator import catalogue
from mimic_operator.reconcile.metrics import ReconcileMetrics
from mimic_operator.runtime.faults import Reason
from mimic_operator.runtime.kinds import Key
from mimic_operator.runtime.metrics import process_registry
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
    metrics.turned(A, 0.1, "timeout")
    metrics.turned(B, 0.1, "forbidden")
    metrics.turned(A, 0.1, "forbidden")
    assert failing(registry) == {"forbidden": 2}
    metrics.turned(B, 0.1, "")
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
