"""Whose pods are tried again, and when."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from mimic_operator.reconcile.refused import Case, Refusal, Refused, is_due, is_over, refusal_in
from mimic_operator.reconcile.store import ObservedWorkload, Store, entry_of
from mimic_operator.reconcile.workload import Ref, seconds_of
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.informer import Change
from mimic_operator.runtime.kinds import Key, Kind

AT = "2026-01-01T00:10:00Z"
THEN = seconds_of(AT)
AWAY = 'Error creating: Internal error occurred: failed calling webhook "pods.mimic.dev": connection refused'
DENIED = 'Error creating: admission webhook "pods.mimic.dev" denied the request: there is no MimicBackend corp'
QUOTA = "Error creating: pods is forbidden: exceeded quota: small, requested: cpu=25m"
WEB, CORP = Ref("team", "Deployment", "web"), Key("team", "corp")


def event(message: str = AWAY, kind: str = "ReplicaSet", name: str = "web-5d4f", at: str = AT) -> dict[str, Any]:
    about = {"kind": kind, "namespace": "team", "name": name}
    return {"message": message, "involvedObject": about, "lastTimestamp": at}


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (event(), Refusal(WEB, THEN, away=True)),
        (event(DENIED), Refusal(WEB, THEN)),
        (event(QUOTA), Refusal(WEB, THEN, quota=QUOTA)),
        (event(kind="StatefulSet", name="db"), Refusal(Ref("team", "StatefulSet", "db"), THEN, away=True)),
        (event('admission webhook "others.example.com" denied the request: a .mimic.dev thing'), None),
        (event("pods is forbidden: no service account"), None),
    ],
)
def test_reads_refusals_from_events(seen: dict[str, Any], found: Refusal | None):
    assert refusal_in(seen) == found


def times(case: Case, *, refused_each_time: bool = True) -> list[float]:
    """Seconds after the refusal at which the workload is tried again, within 20 minutes."""
    found, now = [], THEN
    while now < THEN + 1200:
        if is_due(case, frozenset(), now):
            found.append(now - THEN)
            case.tries, case.retried = case.tries + 1, now
            if refused_each_time:
                case.refusal = case.refusal._replace(at=now)
        elif refused_each_time:
            case.refusal = case.refusal._replace(at=now)  # by the controller's own tries
        now += 5.0
    return found


def test_fault_10_pods_that_a_quota_refuses_are_tried_again_soon_and_never_given_up():
    """Their controller alone would try after up to 1,000 s; the quota may be raised at any moment."""
    assert times(Case(Refusal(WEB, THEN, quota=QUOTA), THEN)) == [30.0, 90.0, 210.0, 450.0, 750.0, 1050.0]


def test_while_no_webhook_answers_each_refusal_is_tried_again_after_half_a_minute():
    assert times(Case(Refusal(WEB, THEN, away=True), THEN))[:4] == [30.0, 60.0, 90.0, 120.0]


def test_what_is_not_refused_again_is_not_tried_again_and_is_over():
    case = Case(Refusal(WEB, THEN), THEN)
    assert times(case, refused_each_time=False) == [30.0]
    assert not is_over(case, THEN + 60)
    assert is_over(case, THEN + 91)
    assert is_over(Case(Refusal(WEB, THEN), THEN), THEN + 1801)


def test_a_backend_that_has_changed_may_have_mended_it():
    """`injection.default` on one of several, a first revision, another backend: whatever it is, it is tried at once."""
    case = Case(Refusal(WEB, THEN), THEN, tries=5, retried=THEN, backends=frozenset({("corp", 1, "")}))
    assert not is_due(case, frozenset({("corp", 1, "")}), THEN + 5)
    assert is_due(case, frozenset({("corp", 2, "")}), THEN + 5)


@dataclass
class World:
    """An API server with one Deployment, and the Events about it."""

    label: str | None = "true"
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    retried: list[str] = field(default_factory=list)
    changed: list[Key] = field(default_factory=list)
    refuses: bool = False
    now: float = THEN

    def __post_init__(self) -> None:
        self.store = Store(lambda key: None)
        self.store.set_workload("Deployment", Change("team", "web", ObservedWorkload("u", "1", None, "", None), None))
        metadata = {"name": "corp", "namespace": "team", "uid": "u", "resourceVersion": "1", "generation": 1}
        spec = {"chat": {"url": "https://llm.example/v1"}, "auth": {"grant": "None"}}
        manifest = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": metadata, "spec": spec}
        self.store.set_backend(CORP, entry_of(manifest))
        cluster: Any = self
        self.refused = Refused(cluster, self.store, lambda: self.now, self.changed.append)

    def event(self, name: str, given: dict[str, Any]) -> None:
        self.events[name] = given
        self.refused.add_event(Change("team", name, found="1", before=None))

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        self.asked.append(kind.kind)
        if kind.kind == "Event":
            return self.events.get(name)
        metadata = {"name": name, "namespace": namespace, "uid": "u", "resourceVersion": "1"}
        labels = {"mimic.dev/inject": self.label} if self.label else {}
        return {"kind": kind.kind, "metadata": metadata, "spec": {"template": {"metadata": {"labels": labels}}}}

    async def merge(self, kind: Kind, namespace: str, name: str, patch: object, manager: str) -> None:
        if self.refuses:
            raise Fault("forbidden", "patch Deployment: 403")
        self.retried.append(name)


async def test_fault_10_a_quota_is_reported_on_the_backend_of_a_labelled_workload():
    world = World()
    world.event("web.1", event(QUOTA))
    await world.refused.poll()
    assert (world.refused.of(CORP), world.changed) == ({WEB: QUOTA}, [CORP])
    world.now += 30
    await world.refused.poll()
    assert world.retried == ["web"]
    world.now += 61
    await world.refused.poll()
    assert (world.refused.of(CORP), world.changed) == ({}, [CORP, CORP])


async def test_a_quota_that_refuses_pods_without_the_sidecar_is_not_reported():
    world = World(label=None)
    world.event("web.1", event(QUOTA))
    await world.refused.poll()
    assert (world.refused.cases, world.changed) == ({}, [])


async def test_fault_13_only_events_that_have_come_are_read_and_each_once():
    world = World()
    world.event("web.1", event(DENIED))
    for _ in range(3):
        await world.refused.poll()
    assert world.asked == ["Event"]


async def test_a_workload_that_may_not_be_touched_is_given_up():
    world = World(refuses=True)
    world.event("web.1", event(DENIED))
    await world.refused.poll()
    world.now += 30
    await world.refused.poll()
    assert world.refused.cases == {}
