"""One pass over a backend as a table of what is observed: no cluster."""

from dataclasses import replace
from typing import Any

import pytest

from fakes.bad_backends import good
from mimic_operator.reconcile.plan import Plan, plan
from mimic_operator.reconcile.state import Memory, State
from mimic_operator.reconcile.status import NOT_ASKED
from mimic_operator.reconcile.store import ObservedChild, ObservedPod, entry_of
from mimic_operator.resource.backend import parse
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.naming import child_name
from mimic_operator.resource.revision import StoredRevision, revision_of
from mimic_operator.runtime.kinds import Key

DEFAULTS = ProxyDefaults(image="mimic:0.1.0")
OLD = "mimic-corp-0000000000"


def state(mode: str = "sidecar", *, status: dict[str, Any] | None = None, **changed: Any) -> State:
    manifest = good(mode)
    manifest["metadata"] |= {"name": "corp", "namespace": "team", "uid": "u", "resourceVersion": "1", "generation": 1}
    backend = parse(manifest)
    newest = revision_of(backend, DEFAULTS)
    found = State(
        key=Key("team", "corp"),
        now=0.0,
        wall=1000.0,
        memory=Memory(),
        defaults=DEFAULTS,
        on_upgrade=False,
        entry=entry_of({**manifest, "status": status or {}}),
        secret=NOT_ASKED,
        newest=newest,
        free=5,
    )
    return replace(found, **changed)


def child(name: str, **changed: Any) -> ObservedChild:
    return ObservedChild("1", "corp", "2026-01-01T00:00:00Z", None, None, True)


def both(name: str) -> dict[tuple[str, str], ObservedChild]:
    return {(kind, name): child(name) for kind in ("ControllerRevision", "ConfigMap")}


def pod(revision: str | None = None, *, pointed: bool = False) -> ObservedPod:
    return ObservedPod(("Deployment", "web"), Key("team", "corp"), revision, revision is not None, False, pointed)


def kinds(found: Plan) -> list[str]:
    return [manifest["kind"] for manifest in found.manifests]


def test_a_new_backend_gets_its_revision_and_is_current_at_once():
    found = plan(state())
    assert kinds(found) == ["ControllerRevision", "ConfigMap"]
    assert (found.current, found.target, found.deletes) == (found.target, found.target, ())


def test_a_revision_that_is_there_is_not_written_again():
    made = state()
    assert made.newest is not None
    assert kinds(plan(replace(made, children=both(made.newest.name)))) == ["ConfigMap"]


def test_an_unused_revision_goes_after_a_minute_and_begins_anew_when_it_was_needed_in_between():
    before = state(children=both(OLD))
    first = plan(before)
    assert (first.deletes, first.again) == ((), 60.0)

    def later(now: float, since: Plan, *pods: ObservedPod) -> Plan:
        memory = replace(before.memory, unused=since.unused)
        stored = {OLD: None} if pods else {}
        return plan(replace(before, now=now, memory=memory, pods=pods, stored=stored))

    assert later(59.0, first).deletes == ()
    assert later(61.0, first).deletes == (("ConfigMap", OLD), ("ControllerRevision", OLD))
    needed = later(30.0, first, pod(OLD))
    assert (needed.deletes, needed.unused) == ((), {})
    assert later(200.0, needed, pod(OLD)).deletes == ()
    anew = later(61.0, needed)
    assert anew.deletes == ()
    assert later(120.0, anew).deletes == ()
    assert later(122.0, anew).deletes == (("ConfigMap", OLD), ("ControllerRevision", OLD))


def test_fault_04_nothing_that_a_running_pod_uses_is_deleted():
    """However it came to its sidecar, and whether or not this operator can read its revision."""
    found = plan(state(children=both(OLD), pods=[pod(OLD)], stored={OLD: None}, memory=Memory(unused={})))
    assert (found.deletes, found.unused, found.frozen) == ((), {}, (OLD,))


def test_fault_07_a_revision_of_a_newer_operator_is_left_alone():
    """`stored_in` could not read it: pods that run it keep their configuration, and others get the newest."""
    made = state(children=both(OLD), pods=[pod(OLD)], stored={OLD: None}, status={"updateRevision": OLD})
    found = plan(made)
    assert made.newest is not None
    assert found.target == made.newest.name
    assert OLD not in [manifest["metadata"]["name"] for manifest in found.manifests]
    assert found.deletes == ()


def older(made: State, **spec: Any) -> StoredRevision:
    """The same spec as another operator made it: other probes, other name."""
    assert made.entry is not None
    assert made.entry.backend is not None
    backend = made.entry.backend
    found = revision_of(backend, DEFAULTS)
    container = {**found.container, "livenessProbe": {"httpGet": {"path": "/older", "port": 1}}}
    return StoredRevision(
        replace(found, name=OLD, hash="0", container=container, config_map=OLD), backend.spec, DEFAULTS
    )


def test_pods_of_an_older_operators_revision_get_the_configuration_of_now():
    made = state(children=both(OLD), pods=[pod(OLD)])
    assert made.newest is not None
    found = plan(replace(made, stored={OLD: older(made)}))
    configurations = {m["metadata"]["name"]: m["data"] for m in found.manifests if m["kind"] == "ConfigMap"}
    assert configurations[OLD] == configurations[made.newest.name]
    assert (found.frozen, found.deletes) == ((), ())


def test_a_needed_revision_that_was_deleted_is_made_again_with_its_configuration():
    made = state(pods=[pod(OLD)])
    found = plan(replace(made, stored={OLD: older(made)}))
    assert {m["kind"] for m in found.manifests if m["metadata"]["name"] == OLD} == {"ControllerRevision", "ConfigMap"}


SHARED = [("Service", "mimic-corp"), ("ConfigMap", "mimic-corp"), ("ServiceAccount", "mimic-corp")]


@pytest.mark.parametrize("pods", [[pod(pointed=True)], []], ids=["called", "not called"])
def test_fault_11_a_shared_proxy_stays_while_pods_point_at_it(pods: list[ObservedPod]):
    """Its backend is in Sidecar mode now. Its objects go when the last pod that calls it has restarted."""
    assert child_name("corp") == "mimic-corp"
    children = {name: child(name[1]) for name in SHARED}
    found = plan(state(children=children, deployments={"mimic-corp": "1"}, pods=pods))
    gone = () if pods else tuple(sorted([*SHARED, ("Deployment", "mimic-corp")]))
    assert (found.deletes, found.injected.pointed) == (gone, len(pods))


def test_a_backend_that_is_gone_and_has_no_workloads_is_forgotten():
    found = plan(state(entry=None, newest=None))
    assert (found.ended, found.again, found.manifests) == (True, None, ())
