"""What the reconciler knows of the cluster: which pods count for which backend, and what a change wakes."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from mimic_operator.reconcile.plan import injected
from mimic_operator.reconcile.state import Memory, State
from mimic_operator.reconcile.status import NOT_ASKED, Injected
from mimic_operator.reconcile.store import ObservedWorkload, Store, keep_backend, keep_child, keep_pod
from mimic_operator.reconcile.watches import NOT_ENDED, POD_LABELS
from mimic_operator.reconcile.workload import Ref
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.runtime.informer import Change, Metadata, Owner
from mimic_operator.runtime.kinds import Key


@dataclass
class World:
    woken: list[Key] = field(default_factory=list)
    misnamed: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Store(self.woken.append, lambda *name: self.misnamed.append(name))

    def backend(self, key: Key, **spec: Any) -> None:
        given = {"chat": {"url": "https://llm.example/v1"}, "auth": {"grant": "None"}, **spec}
        metadata = {"name": key.name, "namespace": key.namespace, "uid": key.name, "resourceVersion": "1"}
        manifest = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": metadata, "spec": given}
        self.store.set_backend(key, keep_backend(manifest))

    def pod(self, namespace: str, name: str, labels: dict[str, str], **annotations: str) -> None:
        given = {f"mimic.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
        found = keep_pod(Metadata(name=name, namespace=namespace, labels=labels, annotations=given))
        self.store.set_pod(Change(namespace, name, found=found, before=None))

    def injected(self, key: Key, target: str = "mimic-new") -> Injected:
        state = State(
            key=key,
            now=0.0,
            wall=0.0,
            memory=Memory(),
            defaults=ProxyDefaults(image="mimic:1"),
            on_upgrade=False,
            entry=self.store.entries[key],
            secret=NOT_ASKED,
            pods=tuple(self.store.pods_of(key)),
        )
        return injected(state, target)


ASKS = {"mimic.dev/inject": "true"}
SHARED = {"mode": "Deployment", "deployment": {"access": "Open"}}
LLM = Key("llm", "shared")


@pytest.mark.parametrize("labels", [ASKS, {**ASKS, "mimic.dev/injected": "pointed"}], ids=["before", "marked"])
def test_fault_02_callers_of_a_shared_proxy_are_pointed_and_not_missing(labels: dict[str, str]):
    world = World()
    world.backend(LLM, **SHARED)
    world.pod("llm", "web", labels, backend="shared")
    world.pod("search", "web", labels, backend="llm/shared")
    assert world.injected(LLM) == Injected(pointed=2)


def test_pods_of_a_backend_that_was_shared_once_are_still_pointed():
    world = World()
    world.backend(LLM)
    world.pod("llm", "old", {**ASKS, "mimic.dev/injected": "pointed"}, backend="shared")
    world.pod("llm", "bare", ASKS, backend="shared")
    world.pod("llm", "new", ASKS, backend="shared", revision="mimic-new", template_hash="1")
    assert world.injected(LLM) == Injected(current=1, missing=1, pointed=1)


def test_fault_03_a_caller_in_another_namespace_wakes_the_backend_that_it_names():
    world = World()
    world.backend(LLM, **SHARED)
    world.woken.clear()
    world.pod("search", "web", ASKS, backend="llm/shared")
    assert world.woken == [LLM]


@pytest.mark.parametrize(
    "name",
    ["../../../../../../api/v1/namespaces/mimic-system/secrets/mimic-webhook-tls", "a/b/c", "Shared", "llm/", "a\n"],
)
def test_a_pods_annotation_that_is_no_name_is_no_key_and_is_reported_once(name: str):
    world = World()
    world.pod("search", "web", ASKS, backend=name)
    assert (world.woken, world.misnamed, dict(world.store.pods)) == ([], [("search", "web")], {})
    before = keep_pod(Metadata(name="web", namespace="search", labels=ASKS, annotations={"mimic.dev/backend": name}))
    world.store.set_pod(Change("search", "web", found=before, before=before))
    assert world.misnamed == [("search", "web")]


def test_fault_04_pods_that_were_injected_by_their_namespace_are_watched_and_counted():
    assert POD_LABELS == ("mimic.dev/inject=true", "mimic.dev/injected,mimic.dev/inject!=true")
    world = World()
    world.backend(Key("team", "corp"))
    world.pod("team", "web", {"mimic.dev/injected": "sidecar"}, revision="mimic-new", template_hash="1")
    assert world.injected(Key("team", "corp")) == Injected(current=1)


def test_ended_pods_are_not_asked_for():
    assert NOT_ENDED == "status.phase!=Succeeded,status.phase!=Failed"


@pytest.mark.parametrize("changed", [{"injection": {"default": True}}, SHARED], ids=["default", "mode"])
def test_fault_17_a_change_of_the_default_wakes_the_other_backends_of_the_namespace(changed: dict[str, Any]):
    world = World()
    for name in ("a", "b"):
        world.backend(Key("team", name))
    world.woken.clear()
    world.backend(Key("team", "a"), **changed)
    assert set(world.woken) == {Key("team", "a"), Key("team", "b")}


def test_a_workload_is_selected_by_all_of_a_selector_while_labels_and_selectors_change():
    woken: list[Key] = []
    store = Store(woken.append)
    corp, other = Key("team", "corp"), Key("team", "other")

    def selector(key: Key, **labels: str) -> None:
        spec = {"chat": {"url": "https://llm.example/v1"}, "auth": {"grant": "None"}}
        metadata = {"name": key.name, "namespace": key.namespace, "uid": key.name, "resourceVersion": "1"}
        injection = {"workloads": {"selector": {"matchLabels": labels}}}
        head = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": metadata}
        store.set_backend(key, keep_backend({**head, "spec": {**spec, "injection": injection}}))

    def workload(before: dict[str, str] | None, found: dict[str, str] | None) -> None:
        both = [None if each is None else ObservedWorkload("u", "1", each, "", None) for each in (found, before)]
        store.set_workload("Deployment", Change("team", "web", *both))

    web = Ref("team", "Deployment", "web")
    selector(corp, ai="yes", tier="a")
    workload(None, {"ai": "yes"})
    assert store.near(corp) == []
    workload({"ai": "yes"}, {"ai": "yes", "tier": "a"})
    assert store.near(corp) == [web]
    selector(other, tier="a")
    assert (store.near(corp), store.near(other)) == ([web], [web])
    selector(corp, ai="no")
    assert (store.near(corp), store.near(other)) == ([], [web])
    woken.clear()
    workload({"ai": "yes", "tier": "a"}, {"ai": "no", "tier": "b"})
    assert (store.near(corp), store.near(other), set(woken)) == ([web], [], {corp, other})
    store.set_backend(corp, None)
    workload({"ai": "no", "tier": "b"}, None)
    assert (store.near(corp), store.near(other)) == ([], [])


@pytest.mark.parametrize(
    ("owner", "kept"),
    [
        (Owner(kind="MimicBackend", name="corp", uid="u", controller=True), "corp"),
        (Owner(kind="StatefulSet", name="db", uid="u", controller=True), None),
        (Owner(kind="MimicBackend", name="corp", uid="u", controller=False), None),
        (None, None),
    ],
)
def test_fault_07_children_are_known_by_their_owner_and_not_by_a_label(owner: Owner | None, kept: str | None):
    """A StatefulSet copies the labels of its template to the ControllerRevisions that it makes."""
    labels = {"mimic.dev/component": "proxy"}
    owners = [owner] if owner is not None else None
    found = keep_child(Metadata(name="db-1", namespace="team", labels=labels, owner_references=owners))
    assert (found.owner if found is not None else None) == kept
