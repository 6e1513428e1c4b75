"""Whose pods may be tried again, and when."""

from typing import Any

import pytest

from mimic_operator.reconcile.denied import FORGET_SECONDS, Refusal, is_due, refusals
from mimic_operator.reconcile.store import Entry
from mimic_operator.reconcile.workload import Claim, Ref, seconds_of

AT = "2026-01-01T00:10:00Z"
NOW = seconds_of(AT) + 5
AWAY = 'Error creating: Internal error occurred: failed calling webhook "pods.mimic.dev": connection refused'
DENIED = 'Error creating: admission webhook "pods.mimic.dev" denied the request: there is no MimicBackend corp'
WEB = Ref("team", "Deployment", "web")


def event(message: str = AWAY, kind: str = "ReplicaSet", name: str = "web-5d4f", at: str = AT) -> dict[str, Any]:
    about = {"kind": kind, "namespace": "team", "name": name}
    return {"message": message, "involvedObject": about, "lastTimestamp": at}


def backend(since: str, status: str = "True") -> Entry:
    conditions = [{"type": "Injectable", "status": status, "lastTransitionTime": since}]
    claim = Claim("corp", "", None)
    return Entry("u", "1", 1, "Sidecar", {"conditions": conditions}, None, (), claim)


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (event(), [Refusal(WEB, True, NOW - 5)]),
        (event(DENIED), [Refusal(WEB, False, NOW - 5)]),
        (event(kind="StatefulSet", name="db"), [Refusal(Ref("team", "StatefulSet", "db"), True, NOW - 5)]),
        (event('admission webhook "others.example.com" denied the request: a .mimic.dev thing'), []),
        (event("exceeded quota: cpu"), []),
        (event(at="2025-12-31T00:00:00Z"), []),
    ],
)
def test_reads_refusals_from_events(seen: dict[str, Any], found: list[Refusal]):
    assert list(refusals([seen], NOW)) == found


def test_the_newest_refusal_of_a_workload_counts():
    older = event(DENIED, at="2026-01-01T00:09:00Z")
    assert (
        list(refusals([event(), older], NOW)) == list(refusals([older, event()], NOW)) == [Refusal(WEB, True, NOW - 5)]
    )
    assert list(refusals([older], NOW + FORGET_SECONDS)) == []


def test_where_nobody_answered_it_is_tried_once_for_each_refusal():
    refusal = Refusal(WEB, True, NOW - 5)
    assert is_due(refusal, 0.0, [])
    assert not is_due(refusal, NOW, [])
    assert is_due(refusal._replace(at=NOW + 20), NOW, [])


def test_where_the_backend_was_missing_it_is_tried_once_one_has_become_injectable():
    refusal = Refusal(WEB, False, NOW - 5)
    assert not is_due(refusal, 0.0, [])
    assert not is_due(refusal, 0.0, [backend("2026-01-01T00:09:00Z")])
    assert not is_due(refusal, 0.0, [backend("2026-01-01T00:11:00Z", "False")])
    assert is_due(refusal, 0.0, [backend("2026-01-01T00:11:00Z")])
    assert not is_due(refusal, seconds_of("2026-01-01T00:12:00Z"), [backend("2026-01-01T00:11:00Z")])
