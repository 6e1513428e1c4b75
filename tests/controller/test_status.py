"""What stands in a status, and when it is written."""

from dataclasses import replace
from typing import Any

import pytest

from mimic_operator.errors import Problem
from mimic_operator.reconcile.rollout import Situation, decide
from mimic_operator.reconcile.status import Condition, Injected, Observed, conditions_of, due, status_of
from mimic_operator.reconcile.workload import Counts, Ref
from mimic_operator.resource.backend import parse

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def observed(spec: dict[str, Any] | None = None, **changed: Any) -> Observed:
    given = {"chat": {"url": "https://llm.example/v1"}, "auth": {"grant": "None"}, **(spec or {})}
    head = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": {"name": "corp", "generation": 3}}
    backend = parse({**head, "spec": given})
    idle = decide(Situation(now=0.0, backend="corp", target="mimic-corp-1", revised=0.0))
    found = Observed(
        generation=3, mode=backend.mode, backend=backend, target="mimic-corp-1", current="mimic-corp-1", plan=idle
    )
    return replace(found, **changed)


SHARED = {"mode": "Deployment", "deployment": {"access": "Open"}}
LACKS = Condition("False", "SecretMissing", "a proxy reports: CLIENT_SECRET does not exist")
INVALID = [Problem("spec.chat.url", "must begin with https://")]


@pytest.mark.parametrize(
    ("seen", "condition", "status", "reason"),
    [
        (observed(), "Ready", "True", "Ready"),
        (observed(), "SecretResolved", "Unknown", "NotAsked"),
        (observed(), "Progressing", "False", "Idle"),
        (observed(backend=None, problems=INVALID, plan=None), "ConfigValid", "False", "Invalid"),
        (observed(backend=None, problems=INVALID, plan=None), "Ready", "False", "Invalid"),
        (observed(lost=[(Ref("team", "Deployment", "web"), "older")]), "Injectable", "False", "Conflict"),
        (observed(lost=[(Ref("team", "Deployment", "web"), "older")]), "Ready", "False", "Conflict"),
        (observed(refused="exceeded quota: cpu"), "Injectable", "False", "QuotaOrLimits"),
        (observed(current=""), "Injectable", "False", "NoRevision"),
        (observed(SHARED), "Available", "False", "NoDeployment"),
        (observed(SHARED, pods=Counts(desired=2, available=1)), "Ready", "True", "Ready"),
        (observed(SHARED, pods=Counts(desired=2, available=0)), "Ready", "False", "Unavailable"),
        (observed(SHARED, pods=Counts(desired=0)), "Available", "True", "ScaledToZero"),
        (observed(SHARED, pods=Counts(desired=0)), "Ready", "True", "Ready"),
        (observed(secret=LACKS), "Ready", "False", "SecretMissing"),
        (observed(secret=Condition("Unknown", "Unreachable")), "Ready", "True", "Ready"),
        (observed({"suspend": True}), "Ready", "False", "Suspended"),
        (observed(SHARED), "Insecure", "True", "Open"),
        (observed({"tls": {"insecureSkipVerify": True}}), "Insecure", "True", "NotVerified"),
        (observed(), "Insecure", "False", "Secure"),
        (observed(), "Degraded", "False", "AsExpected"),
    ],
)
def test_conditions(seen: Observed, condition: str, status: str, reason: str):
    condition = conditions_of(seen)[condition]
    assert (condition.status, condition.reason) == (status, reason)


def test_fault_11_pods_that_still_call_the_shared_proxy_are_reported():
    status = status_of(observed(injected=Injected(pointed=3)), {}, NOW)
    assert status["rollout"]["message"].startswith("3 pods still call the shared proxy")


def test_problems_name_their_fields_and_say_no_value():
    (invalid,) = [
        each
        for each in status_of(observed(backend=None, problems=INVALID, plan=None), {}, NOW)["conditions"]
        if each["type"] == "ConfigValid"
    ]
    assert invalid["message"] == "spec.chat.url: must begin with https://"


def test_a_condition_keeps_its_time_until_it_turns():
    first = status_of(observed(), {}, NOW)
    second = status_of(observed(refused="exceeded quota"), first, LATER)
    times = {each["type"]: each["lastTransitionTime"] for each in second["conditions"]}
    assert times["Ready"] == times["Injectable"] == LATER
    assert times["ConfigValid"] == NOW
    assert {each["observedGeneration"] for each in second["conditions"]} == {3}


def test_the_same_is_not_written_twice():
    first = status_of(observed(), {}, NOW)
    assert due(status_of(observed(), first, LATER), first, since_last=100.0) is None
    shuffled = {**first, "conditions": first["conditions"][::-1]}
    assert due(first, shuffled, since_last=100.0) is None


def test_counters_alone_wait_for_ten_seconds():
    first = status_of(observed(), {}, NOW)
    counted = status_of(observed(injected=Injected(current=3, missing=1)), first, NOW)
    assert counted["injected"] == {"total": 3, "current": 3, "outdated": 0, "missing": 1, "pointed": 0}
    assert due(counted, first, since_last=4.0) == 6.0
    assert due(counted, first, since_last=12.0) == 0.0
    turned = status_of(observed(refused="quota", injected=Injected(current=3)), first, NOW)
    assert due(turned, first, since_last=0.0) == 0.0
