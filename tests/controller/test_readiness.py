"""Whom the operator asks for a backend's secret, and what it makes of the answers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_operator.reconcile.secrets import Answer, answer_of, chosen, place_of, told_before, verdict_of
from mimic_operator.reconcile.status import NOT_ASKED, Verdict

HELD = Answer(held=True)
SLOW = Answer(held=False, reason="There is no new access token: https://login.example did not answer.")


def lacks(trouble: str, file: str = "/etc/mimic/secret/AUTH_CODE") -> Answer:
    why = f"There is no access token yet: AUTH_CODE_FILE: {file} {trouble}. It is used as soon as it is there."
    return Answer(held=False, reason=why)


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
        ([Answer(held=False)], "True", "SecretRead"),
        ([lacks("does not exist")], "False", "SecretMissing"),
        ([lacks("is empty")], "False", "SecretMissing"),
        ([lacks("is not UTF-8 text")], "False", "SecretUnreadable"),
        ([lacks("cannot be read (Permission denied)")], "False", "SecretUnreadable"),
        ([HELD, lacks("is empty"), None], "False", "SecretMissing"),
        ([Answer(held=True, reason=lacks("is empty").reason)], "True", "TokenHeld"),
        ([Answer(held=False, reason="AUTH_CODE_FILE: /x does not exist.")], "True", "SecretRead"),
    ],
)
def test_verdicts(answers: list[Answer | None], status: str, reason: str):
    verdict = verdict_of(answers, "corp-llm")
    assert (verdict.status, verdict.reason) == (status, reason)


def test_a_missing_secret_is_told_with_what_to_do():
    assert verdict_of([lacks("does not exist")], "corp-llm").message == (
        "a proxy says: AUTH_CODE_FILE: /etc/mimic/secret/AUTH_CODE does not exist; "
        "Secret corp-llm needs a value under AUTH_CODE"
    )
    assert "Secret" not in verdict_of([lacks("is empty", "/var/run/secrets/mimic/token")], "").message


def test_the_message_does_not_depend_on_who_answers_first():
    some = [lacks("is empty"), lacks("does not exist"), HELD]
    assert len({verdict_of(order, "s") for order in (some, some[::-1], some[1:] + some[:1])}) == 1


@given(said=st.text())
def test_no_other_words_of_a_pod_get_into_the_condition(said: str):
    verdicts = [verdict_of([Answer(held=False, reason=said)], "s")]
    verdicts.append(verdict_of([Answer(held=False, reason=lacks("is empty").reason + said)], "s"))
    assert [verdict.message for verdict in verdicts] == [
        verdict_of([SLOW], "s").message,
        verdict_of([lacks("is empty")], "s").message,
    ]


def ready(**token: Any) -> dict[str, Any]:
    conditions = [{"name": "config", "ok": True, "reason": None}, {"name": "token", "ok": True, "reason": None} | token]
    return {"ready": False, "conditions": conditions}


@pytest.mark.parametrize(
    ("document", "answer"),
    [
        (ready(), HELD),
        (ready(ok=False, reason="wait"), Answer(held=False, reason="wait")),
        (ready(ok=False), Answer(held=False)),
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
    place = place_of(seen)
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
        ({"status": "True", "reason": "TokenHeld"}, Verdict("True", "TokenHeld")),
        ({"status": "False", "reason": "SecretMissing", "message": "m"}, Verdict("False", "SecretMissing", "m")),
        ({"status": "Unknown", "reason": "Unreachable", "message": "m"}, NOT_ASKED),
    ],
)
def test_a_new_leader_keeps_what_the_earlier_one_knew(condition: dict[str, str], told: Verdict):
    assert told_before({"conditions": [{"type": "Ready"}, {"type": "SecretResolved"} | condition]}) == told
    assert told_before({}) == NOT_ASKED
