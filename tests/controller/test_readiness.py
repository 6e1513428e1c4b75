"""Whom the operator asks for a backend's secret, and what it makes of the answers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_operator.reconcile.secrets import (
    Answer,
    SecretProblem,
    admin_port_of,
    answer_of,
    chosen,
    condition_in,
    condition_of,
)
from mimic_operator.reconcile.status import NOT_ASKED, Condition

HELD = Answer(held=True)
SLOW = Answer(held=False)
AUTH_CODE = "/etc/mimic/secret/corp-llm/AUTH_CODE"


def lacks(word: str, file: str = AUTH_CODE, *, held: bool = False) -> Answer:
    return Answer(held, (SecretProblem("AUTH_CODE", file, word),))


@pytest.mark.parametrize(
    ("answers", "status", "reason"),
    [
        ([], "Unknown", "NotAsked"),
        ([None], "Unknown", "Unreachable"),
        ([None, None, None], "Unknown", "Unreachable"),
        ([HELD], "True", "TokenHeld"),
        ([HELD, None], "True", "TokenHeld"),
        ([SLOW], "True", "SecretRead"),
        ([SLOW, None], "True", "SecretRead"),
        ([SLOW, HELD], "True", "TokenHeld"),
        ([Answer(held=False, problems=None)], "Unknown", "NotReported"),
        ([Answer(held=True, problems=None)], "True", "TokenHeld"),
        ([lacks("missing")], "False", "SecretMissing"),
        ([lacks("empty")], "False", "SecretMissing"),
        ([lacks("unreadable")], "False", "SecretUnreadable"),
        ([HELD, lacks("empty"), None], "False", "SecretMissing"),
    ],
)
def test_fault_18_the_condition_follows_a_field_that_proxies_report(
    answers: list[Answer | None], status: str, reason: str
):
    condition = condition_of(answers, "corp-llm")
    assert (condition.status, condition.reason) == (status, reason)


def test_fault_12_a_deleted_secret_is_noticed_while_the_proxies_still_hold_a_token():
    condition = condition_of([lacks("missing", held=True)], "corp-llm")
    assert (condition.status, condition.reason) == ("False", "SecretMissing")


def test_a_missing_secret_is_reported_with_what_to_do():
    assert condition_of([lacks("missing")], "corp-llm").message == (
        f"AUTH_CODE: {AUTH_CODE} is missing; Secret corp-llm needs a value under AUTH_CODE"
    )
    assert "Secret " not in condition_of([lacks("empty", "/var/run/secrets/mimic/token")], "").message


def test_the_message_does_not_depend_on_who_answers_first():
    some = [lacks("empty"), lacks("missing"), HELD]
    assert len({condition_of(order, "s") for order in (some, some[::-1], some[1:] + some[:1])}) == 1


def ready(*secrets: Any, **token: Any) -> dict[str, Any]:
    conditions = [{"name": "config", "ok": True, "reason": None}, {"name": "token", "ok": True, "reason": None} | token]
    return {"ready": False, "conditions": conditions, "secrets": list(secrets)}


def secret(**changed: Any) -> dict[str, Any]:
    return {"name": "AUTH_CODE", "file": AUTH_CODE, "problem": "missing", **changed}


@given(text=st.text(), field=st.sampled_from(["name", "file", "problem"]))
def test_no_other_words_of_a_pod_get_into_the_condition(text: str, field: str):
    answer = answer_of(ready(secret(**{field: f"{text}\n"}), ok=False))
    assert answer == Answer(held=False)


@pytest.mark.parametrize(
    ("document", "answer"),
    [
        (ready(), HELD),
        (ready(ok=False), SLOW),
        (ready(secret(problem=None), ok=False), SLOW),
        (ready(secret(), ok=False), lacks("missing")),
        (ready(None, "x", {}, secret(file=5), ok=False), SLOW),
        ({"conditions": [{"name": "token", "ok": False}]}, Answer(held=False, problems=None)),
        ({"conditions": [{"name": "token", "ok": True}], "secrets": {}}, Answer(held=True, problems=None)),
        (ready(ok="yes"), None),
        ({"conditions": []}, None),
        ({"conditions": {"name": "token"}}, None),
        ({"conditions": ["token", None]}, None),
        ({}, None),
        ([], None),
        ("ok", None),
        (None, None),
    ],
)
def test_answers(document: object, answer: Answer | None):
    assert answer_of(document) == answer


def pod(kind: str = "initContainers", name: str = "mimic-proxy", port: str = "mimic-admin", **status: Any) -> Any:
    ports = [{"name": "other", "containerPort": 1}, {"name": port, "containerPort": 18481}]
    shown = {"phase": "Running", "podIP": "10.0.0.7", "hostIP": "192.168.0.2"} | status
    return {"spec": {kind: [{"name": "first"}, {"name": name, "ports": ports}]}, "status": shown}


@pytest.mark.parametrize(
    ("seen", "url"),
    [
        (pod(), "http://10.0.0.7:18481/readyz"),
        (pod("containers"), "http://10.0.0.7:18481/readyz"),
        (pod(podIP="fd00::7"), "http://[fd00::7]:18481/readyz"),
        (pod(name="web"), None),
        (pod(port="admin"), None),
        (pod(phase="Pending"), None),
        (pod(podIP=""), None),
        (pod(podIP="192.168.0.2"), None),
        ({}, None),
    ],
)
def test_places(seen: Any, url: str | None):
    place = admin_port_of(seen)
    assert (place.url if place is not None else None) == url


def test_asks_pods_of_the_present_revision_first_and_not_always_the_same():
    pods = {"a": False, "b": True, "c": True, "d": True, "e": False}
    assert chosen(pods, 3, [0.1, 0.9, 0.8, 0.7, 0.2]) == ["d", "c", "b"]
    assert chosen(pods, 1, [0.1, 0.1, 0.8, 0.7, 0.2]) == ["b"]
    assert chosen({"a": False, "b": True}, 3, [0.5, 0.5]) == ["b", "a"]
    assert chosen({}, 3, []) == []


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ({"status": "True", "reason": "TokenHeld"}, Condition("True", "TokenHeld")),
        ({"status": "False", "reason": "SecretMissing", "message": "m"}, Condition("False", "SecretMissing", "m")),
        ({"status": "Unknown", "reason": "Unreachable", "message": "m"}, NOT_ASKED),
    ],
)
def test_a_new_leader_keeps_what_the_earlier_one_knew(condition: dict[str, str], told: Condition):
    assert condition_in({"conditions": [{"type": "Ready"}, {"type": "SecretResolved"} | condition]}) == told
    assert condition_in({}) == NOT_ASKED
