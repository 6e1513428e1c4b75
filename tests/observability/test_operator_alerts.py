"""Alerts on the operator: each fires by what it is for, alone, and clears, as promtool finds by the chart's rules."""

from pathlib import Path

import pytest

from fakes.rule_trial import Firing, Series, Values, complaints, growing, scraped_operator, steady, steps, trial
from mimic_operator.catalogue import CLOSED, DEGRADATIONS, FAULTS
from mimic_operator.webhook.outcomes import OUTCOMES
from observability.places import RULES

FILES = (RULES / "operator.yaml", RULES / "operator-absent.yaml")
FROM, TO, CLEAR_AT = 10, 50, 98
"""Minutes between which something is wrong, and when all is long past."""
DAY = 86400.0
NEVER = 1e9
LEADS, STANDS_BY, WEBHOOK = "reconciler-1", "reconciler-2", "webhook-1"


def while_wrong(value: float, usual: float = 0) -> Values:
    return steps({0: usual, FROM: value, TO: usual})


def admissions(reason: str, verdict: str) -> str:
    return f'mimic_operator_admissions_total{{reason="{reason}",verdict="{verdict}",source="label"}}'


def reviews(slow: bool) -> dict[str, Values]:
    """One each second; the slow ones take two seconds for a while."""
    quick = growing({0: 60, FROM: 0, TO: 60}) if slow else growing({0: 60})
    bounds = {"0.016": quick, "1.024": quick, "2.048": growing({0: 60}), "+Inf": growing({0: 60})}
    name = "mimic_operator_admission_duration_seconds_bucket"
    return {f'{name}{{handler="pods",le="{bound}"}}': values for bound, values in bounds.items()}


def webhook() -> dict[str, Values]:
    return {
        "up": steady(1),
        **{admissions(word, str(outcome.verdict)): growing({0: 0}) for word, outcome in OUTCOMES.items()},
        admissions("Injected", "admitted"): growing({0: 60}),
        **reviews(slow=False),
        "mimic_operator_webhook_certificate_expiry_timestamp_seconds": steady(NEVER),
        'mimic_operator_watch_age_seconds{kind="mimicbackends"}': steady(55),
        'mimic_operator_index_objects{kind="MimicBackend"}': steady(4),
    }


def reconciler(*, leads: bool) -> dict[str, Values]:
    return {
        "up": steady(1),
        "mimic_operator_leader": steady(float(leads)),
        **{f'mimic_operator_failing{{reason="{reason}"}}': steady(0) for reason in FAULTS},
        **{f'mimic_operator_degraded{{reason="{reason}"}}': steady(0) for reason in DEGRADATIONS},
        **{f'mimic_operator_pods{{state="{state}"}}': steady(0) for state in CLOSED["state"]},
        "mimic_operator_queue_age_seconds": steady(0),
        **({'mimic_operator_watch_age_seconds{kind="pods"}': steady(55)} if leads else {}),
    }


def installation(**wrong: Series) -> dict[str, Series]:
    """Its processes by their names, with `_` for `-`; what is wrong with one stands instead of what is right."""
    pods = {
        LEADS: reconciler(leads=True),
        STANDS_BY: reconciler(leads=False),
        WEBHOOK: webhook(),
        "webhook-2": webhook(),
    }
    return {name: {**series, **wrong.get(name.replace("-", "_"), {})} for name, series in pods.items()}


TROUBLES: dict[str, tuple[dict[str, Series], int, Firing]] = {
    "one of two webhooks down": ({"webhook_1": {"up": while_wrong(0, 1)}}, 16, {("MimicOperatorDown", "warning")}),
    "both reconcilers down": (
        {"reconciler_1": {"up": while_wrong(0, 1)}, "reconciler_2": {"up": while_wrong(0, 1)}},
        16,
        {("MimicOperatorDown", "warning"), ("MimicOperatorDown", "critical")},
    ),
    "nobody leads": (
        {"reconciler_1": {"mimic_operator_leader": while_wrong(0, 1)}},
        13,
        {("MimicOperatorNoLeader", "critical")},
    ),
    "a workload is denied": (
        {"webhook_1": {admissions("PortTaken", "denied"): growing({0: 0, FROM: 6, FROM + 3: 0.1, TO: 0})}},
        24,
        {("MimicWebhookDenials", "warning")},
    ),
    "the API server does not answer the webhook": (
        {"webhook_1": {admissions("Undecided", "denied"): growing({0: 0, FROM: 2, TO: 0})}},
        18,
        {("MimicWebhookUndecided", "warning")},
    ),
    "slow reviews": (
        {"webhook_1": reviews(slow=True), "webhook_2": reviews(slow=True)},
        25,
        {("MimicWebhookSlow", "warning")},
    ),
    "a certificate that ends this week": (
        {"webhook_1": {"mimic_operator_webhook_certificate_expiry_timestamp_seconds": while_wrong(5 * DAY, NEVER)}},
        26,
        {("MimicWebhookCertificateExpiring", "warning")},
    ),
    "a certificate that ends tonight": (
        {"webhook_1": {"mimic_operator_webhook_certificate_expiry_timestamp_seconds": while_wrong(DAY / 2, NEVER)}},
        26,
        {("MimicWebhookCertificateExpiring", "warning"), ("MimicWebhookCertificateExpiring", "critical")},
    ),
    "a backend that fails, for one reason and then another": (
        {
            "reconciler_1": {
                'mimic_operator_failing{reason="timeout"}': steps({0: 0, FROM: 1, 20: 0}),
                'mimic_operator_failing{reason="forbidden"}': steps({0: 0, 20: 1, TO: 0}),
            }
        },
        31,
        {("MimicReconcileFailing", "warning")},
    ),
    "an old queue": (
        {"reconciler_1": {"mimic_operator_queue_age_seconds": while_wrong(90)}},
        21,
        {("MimicOperatorQueueOld", "warning")},
    ),
    "a deaf reconciler": (
        {"reconciler_1": {'mimic_operator_watch_age_seconds{kind="pods"}': while_wrong(400, 55)}},
        16,
        {("MimicOperatorWatchOld", "warning")},
    ),
    "a deaf webhook": (
        {"webhook_1": {'mimic_operator_watch_age_seconds{kind="mimicbackends"}': while_wrong(400, 55)}},
        16,
        {("MimicOperatorWatchOld", "warning")},
    ),
    "a halted rollout": (
        {"reconciler_1": {'mimic_operator_degraded{reason="ProgressTimeout"}': while_wrong(1)}},
        16,
        {("MimicRolloutHalted", "warning")},
    ),
    "a secret that is missing": (
        {"reconciler_1": {'mimic_operator_not_ready{reason="SecretMissing"}': while_wrong(1)}},
        26,
        {("MimicBackendNotReady", "warning")},
    ),
    "workloads that another writer changes back": (
        {"reconciler_1": {'mimic_operator_degraded{reason="Contended"}': while_wrong(1)}},
        26,
        {("MimicBackendDegraded", "warning")},
    ),
    "pods without the sidecar": (
        {"reconciler_1": {'mimic_operator_pods{state="missing"}': while_wrong(3)}},
        26,
        {("MimicPodsWithoutSidecar", "warning")},
    ),
}
FINE: dict[str, dict[str, Series]] = {
    "a healthy operator": {},
    "a change of leaders": {"reconciler_1": {"mimic_operator_leader": steps({0: 1, FROM: 0, FROM + 1: 1})}},
    "conflicts that heal": {
        "reconciler_1": {'mimic_operator_failing{reason="conflict"}': steps({0: 0, 10: 1, 12: 0, 30: 1, 31: 0})}
    },
    "four denials": {"webhook_1": {admissions("NotReconciled", "denied"): growing({0: 0, 10: 4, 11: 0})}},
    "a backend that was suspended": {"reconciler_1": {'mimic_operator_not_ready{reason="Suspended"}': steady(1)}},
    "a credential that is for one pod": {
        "reconciler_1": {'mimic_operator_degraded{reason="SingleUseCredential"}': steady(1)}
    },
    "no backend at all": {
        "webhook_1": {
            'mimic_operator_index_objects{kind="MimicBackend"}': steady(0),
            'mimic_operator_watch_age_seconds{kind="mimicbackends"}': steady(58),
        }
    },
    "a pod that is made before its webhook": {
        "reconciler_1": {'mimic_operator_pods{state="missing"}': steps({0: 0, 10: 2, 20: 0})}
    },
}


def placed(stories: dict[str, dict[str, Series]]) -> dict[str, Series]:
    """A namespace for each."""
    return {f"{name}/{pod}": series for name, wrong in stories.items() for pod, series in installation(**wrong).items()}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One run for all, since most of it is the start."""
    nothing: Firing = set()
    fires = {
        name: {FROM - 1: nothing, minute: alerts, CLEAR_AT: nothing} for name, (_, minute, alerts) in TROUBLES.items()
    }
    pods = placed({name: wrong for name, (wrong, _, _) in TROUBLES.items()})
    document = trial(FILES, pods, fires, 60, scraped_operator)
    return complaints(document, tmp_path_factory.mktemp("operator-troubles"))


@pytest.mark.parametrize("name", TROUBLES)
def test_an_alert_on_the_operator_fires_by_its_trouble_alone_and_clears(name: str, judged: str):
    assert name not in judged


@pytest.fixture(scope="module")
def judged_as_fine(tmp_path_factory: pytest.TempPathFactory) -> str:
    fires: dict[str, dict[int, Firing]] = {name: {7: set(), 21: set(), 60: set()} for name in FINE}
    document = trial(sorted(RULES.glob("*.yaml")), placed(FINE), fires, 60, scraped_operator)
    return complaints(document, tmp_path_factory.mktemp("operator-fine"))


@pytest.mark.parametrize("name", FINE)
def test_what_is_fine_with_the_operator_does_not_alert(name: str, judged_as_fine: str):
    assert name not in judged_as_fine


@pytest.mark.parametrize("gone", ["webhook", "reconciler"])
def test_no_process_of_a_kind_at_all_is_critical(gone: str, tmp_path: Path):
    left = {f"mimic/{name}": series for name, series in installation().items() if not name.startswith(gone)}
    fires: dict[str, dict[int, Firing]] = {"": {9: set(), 12: {("MimicOperatorAbsent", "critical")}}}
    assert complaints(trial(FILES, left, fires, 60, scraped_operator), tmp_path) == ""


def test_what_alerts_on_the_operator_say_can_be_read(tmp_path: Path):
    """promtool shows it when it is told to expect none."""
    document = trial(
        FILES,
        placed({name: wrong for name, (wrong, _, _) in TROUBLES.items()}),
        {"": {TO: set()}},
        60,
        scraped_operator,
    )
    (test,) = document["tests"]  # type: ignore[misc]
    names = {name for _, _, alerts in TROUBLES.values() for name, _ in alerts}
    test["promql_expr_test"] = []
    test["alert_rule_test"] = [
        {"alertname": name, "eval_time": f"{minute}m", "exp_alerts": []} for name in names for minute in (18, 26, 40)
    ]
    said = complaints(document, tmp_path)
    assert {name for name in names if f"alertname: {name}" in said} == names
    for wrong in ("error expanding", "no value", "{{", "NaN", "%!"):
        assert wrong not in said
    assert "No reconciler of namespace both reconcilers down answers Prometheus" in said
    assert "denies pods: PortTaken" in said
    assert "ends in 4d 23h" in said
