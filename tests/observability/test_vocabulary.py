"""Dashboards, rules and runbooks use the words of the catalogue: metrics, labels and values of labels that exist."""

import re
from pathlib import Path

import pytest

from fakes.chart_files import BOARD_FILES, RUNBOOKS, alerts, board, records, runbook_queries, targets
from fakes.promql import Matcher, Selector, read
from mimic_operator import catalogue as operator
from mimic_operator.webhook.outcomes import NOTES, OUTCOMES
from mimic_proxy.telemetry import catalogue as proxy
from mimic_proxy.telemetry.catalogue import PLAIN_RESULTS

CATALOGUE: dict[str, proxy.Metric | operator.Metric] = {**proxy.CATALOGUE, **operator.CATALOGUE}
REASONS = {**proxy.REASONS, **operator.REASONS, operator.ADMISSIONS.name: tuple(OUTCOMES)}
SCRAPED = frozenset({"namespace", "pod", "job", "instance"})
FOREIGN: dict[str, frozenset[str]] = {
    "up": frozenset({"component"}),
    "scrape_duration_seconds": frozenset(),
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
    "process_start_time_seconds": frozenset(),
    "process_cpu_seconds_total": frozenset(),
    "process_resident_memory_bytes": frozenset(),
    "process_open_fds": frozenset(),
    "process_max_fds": frozenset(),
    "python_gc_collections_total": frozenset({"generation"}),
}
"""Metrics that Mimic's own code does not declare, with their labels."""
ANNOTATIONS = [found["expr"] for file in BOARD_FILES for found in board(file)["annotations"]["list"]]
EXPRESSIONS = sorted(
    {*(target.expr for target in targets()), *ANNOTATIONS, *records().values(), *(rule["expr"] for rule in alerts())}
)


def labels_of(metric: str) -> frozenset[str] | None:
    """Labels of a series of this name; None if there is none."""
    if metric in records():
        return frozenset({"namespace", "job"})
    if metric in FOREIGN:
        return SCRAPED | FOREIGN[metric]
    base = re.sub(r"_(bucket|sum|count)$", "", metric)
    found = CATALOGUE.get(metric) or CATALOGUE.get(base)
    if found is None or (found.kind == "histogram") == (metric == found.name):
        return None
    return SCRAPED | set(found.labels) | ({"le"} if metric.endswith("_bucket") else frozenset())


def values_of(metric: str, label: str) -> tuple[str, ...] | None:
    """The closed list of a label's values; None where it is open."""
    if label == "reason":
        return REASONS[metric]
    if metric in operator.CATALOGUE:
        values = {**operator.CLOSED, "result": operator.RESULTS.get(metric), "note": tuple(NOTES), "kind": None}
        return values.get(label)
    if label == "result" and not metric.startswith("mimic_token_refresh"):
        return PLAIN_RESULTS
    return proxy.CLOSED.get("state" if label == "to" else label)


def bounds_of(metric: str) -> set[str]:
    bounds = CATALOGUE[metric.removesuffix("_bucket")].bounds
    return {*(f"{bound:g}" for bound in bounds), "+Inf", "$slo_ttfc"}


def wrong_value(metric: str, matcher: Matcher) -> bool:
    """A matcher by a word that the label never has; variables of Grafana may be anything."""
    if matcher.label == "le":
        return matcher.value not in bounds_of(metric)
    closed = values_of(metric, matcher.label) if metric in CATALOGUE or metric.startswith("mimic_") else None
    if "$" in matcher.value or "%s" in matcher.value or closed is None:
        return False
    return not set(matcher.values) <= set(closed)


def complaints(selector: Selector) -> list[str]:
    labels = labels_of(selector.metric)
    if labels is None:
        return [f"{selector.metric} does not exist"]
    unknown = [f"{selector.metric} has no {found.label}" for found in selector.matchers if found.label not in labels]
    wrong = [f"{selector.metric}: {found}" for found in selector.matchers if wrong_value(selector.metric, found)]
    return unknown + wrong


def judged(expr: str) -> list[str]:
    """What an expression names that does not exist."""
    found = read(expr)
    assert found.selectors, expr
    known = {label for selector in found.selectors for label in labels_of(selector.metric) or ()}
    unknown = [f"grouped by {label}" for label in found.labels - known]
    return [complaint for selector in found.selectors for complaint in complaints(selector)] + unknown


def test_no_metric_of_the_operator_has_the_name_of_one_of_the_proxy():
    assert not proxy.CATALOGUE.keys() & operator.CATALOGUE.keys()


def test_expressions_know_only_what_mimic_exports():
    assert {expr: judged(expr) for expr in EXPRESSIONS if judged(expr)} == {}


def test_words_that_do_not_exist_are_found():
    assert complaints(read("mimic_request_total").selectors[0])
    assert complaints(read("mimic_overhead_seconds").selectors[0])
    assert complaints(read("mimic_requests_total_bucket").selectors[0])
    assert complaints(read('mimic_requests_total{model="a"}').selectors[0])
    assert complaints(read('mimic_requests_total{outcome=~"completed|complete"}').selectors[0])
    assert complaints(read('mimic_retries_total{reason="draining"}').selectors[0])
    assert complaints(read('mimic_overhead_seconds_bucket{le="0.06"}').selectors[0])
    assert complaints(read('mimic_operator_admissions_total{reason="Denied"}').selectors[0])
    assert complaints(read('mimic_operator_reconciles_total{result="failure"}').selectors[0])
    assert complaints(read('mimic_operator_pods{state="gone"}').selectors[0])
    assert judged("sum by (code) (mimic_overhead_seconds_count)")


def test_texts_of_alerts_ask_for_what_exists():
    """Some of them hold queries."""
    asked = [expr for rule in alerts() for expr in re.findall(r"printf `([^`]+)`", rule["annotations"]["description"])]
    assert asked
    assert [complaint for expr in asked for found in read(expr).selectors for complaint in complaints(found)] == []


def test_every_metric_of_the_catalogue_can_be_seen_somewhere():
    """What nobody looks at need not be counted; those that only join others are named."""
    metrics = {found.metric for expr in EXPRESSIONS for found in read(expr).selectors}
    shown = metrics | {re.sub(r"_(bucket|sum|count)$", "", metric) for metric in metrics}
    assert set(CATALOGUE) - shown == {"mimic_token_expiry_timestamp_seconds"}


@pytest.mark.parametrize("file", sorted(RUNBOOKS.glob("*.md")), ids=lambda file: file.stem)
def test_runbooks_ask_for_what_exists(file: Path):
    found = [selector for expr in runbook_queries(file) for selector in read(expr).selectors]
    assert [complaint for selector in found for complaint in complaints(selector)] == []
    for word in re.findall(r"\bmimic_\w+", file.read_text("utf-8")):
        assert labels_of(word) is not None or word in CATALOGUE, word
