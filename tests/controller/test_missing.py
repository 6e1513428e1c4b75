"""Which pods without the sidecar are evicted, and when it is given up."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from mimic_operator.reconcile.missing import FORGET_SECONDS, POLL_SECONDS, Evictions
from mimic_operator.reconcile.store import ObservedPod, PodName, Store, keep_backend
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.informer import Change
from mimic_operator.runtime.kinds import Key

CORP = Key("team", "corp")
OWN, OTHER = "cluster:mimic-system/mimic-operator", "namespaces:team/mimic-operator"
WEB = ("Deployment", "web")


@dataclass
class World:
    """One backend, its pods, and what was evicted."""

    granted: bool = True
    evicted: list[str] = field(default_factory=list)
    refuses: bool = False
    now: float = 0.0

    def __post_init__(self) -> None:
        self.store = Store(lambda key: None)
        cluster: Any = self
        self.missing = Evictions(cluster, self.store, lambda: self.now, self.granted, OWN)

    def backend(self, injectable: str = "True", operator: str | None = None, **spec: Any) -> None:
        given = {"chat": {"url": "https://llm.example/v1"}, "auth": {"grant": "None"}}
        metadata = {"name": "corp", "namespace": "team", "uid": "u", "resourceVersion": "1", "generation": 1}
        status: dict[str, Any] = {"conditions": [{"type": "Injectable", "status": injectable}]}
        status |= {"operator": operator} if operator else {}
        manifest = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": metadata, "status": status}
        self.store.set_backend(
            CORP, keep_backend({**manifest, "spec": {**given, "rollout": {"restartMissing": True}, **spec}})
        )

    def pod(self, name: str, workload: tuple[str, str] = WEB, *, injected: bool = False) -> None:
        seen = ObservedPod(workload, CORP, None, injected, ending=False)
        self.store.set_pod(Change("team", name, found=seen, before=None))

    def gone(self, name: str) -> None:
        before = self.store.pods[CORP][PodName("team", name)]
        self.store.set_pod(Change("team", name, found=None, before=before))

    async def get(self, kind: Any, namespace: str, name: str) -> dict[str, Any]:
        return {"metadata": {"uid": f"uid-{name}"}}

    async def evict(self, namespace: str, name: str, uid: str) -> None:
        assert (namespace, uid) == ("team", f"uid-{name}")
        if self.refuses:
            raise Fault("throttled", "evict Pod: 429 Cannot evict pod as it would violate its budget.")
        self.evicted.append(name)

    async def poll(self, after: float = POLL_SECONDS) -> list[str]:
        self.now += after
        self.evicted.clear()
        await self.missing.poll()
        return list(self.evicted)


async def test_one_a_minute_and_the_next_once_it_was_replaced():
    world = World()
    world.backend()
    for name in ("a", "b", "c"):
        world.pod(name, injected=name == "c")
    assert await world.poll() == ["a"]
    world.gone("a")
    assert await world.poll() == []
    world.pod("d", injected=True)
    assert await world.poll() == ["b"]
    world.gone("b")
    world.pod("e", injected=True)
    assert await world.poll() == []


async def test_a_workload_whose_new_pods_lack_it_too_is_left_alone_for_an_hour():
    world = World()
    world.backend()
    world.pod("a")
    assert await world.poll() == ["a"]
    world.gone("a")
    world.pod("b")
    assert await world.poll() == []
    assert await world.poll(FORGET_SECONDS) == ["b"]


async def test_a_stateful_pod_that_comes_back_without_it_is_not_evicted_again():
    world = World()
    world.backend()
    world.pod("db-0", ("StatefulSet", "db"))
    assert await world.poll() == ["db-0"]
    assert await world.poll() == []


async def test_a_pod_that_a_budget_holds_is_tried_again():
    world = World(refuses=True)
    world.backend()
    world.pod("a")
    assert await world.poll() == []
    world.refuses = False
    assert await world.poll() == ["a"]


@pytest.mark.parametrize("workload", [("", ""), ("Job", "nightly"), ("Workflow", "train")])
async def test_pods_that_nobody_makes_anew_stay(workload: tuple[str, str]):
    world = World()
    world.backend()
    world.pod("a", workload)
    assert await world.poll() == []


@pytest.mark.parametrize(
    "spec",
    [
        {"rollout": {"restartMissing": False}},
        {"suspend": True},
        {"injectable": "False"},
        {"chat": {"url": "ftp://llm.example"}},
    ],
    ids=lambda spec: next(iter(spec)),
)
async def test_nothing_is_evicted_unless_it_is_wanted_and_of_use(spec: dict[str, Any]):
    world = World()
    world.backend(**spec)
    world.pod("a")
    assert await world.poll() == []


async def test_without_the_right_it_is_said_once_and_nothing_done(caplog: pytest.LogCaptureFixture):
    world = World(granted=False)
    world.backend()
    world.pod("a")
    assert await world.poll() + await world.poll() == []
    assert [record.message for record in caplog.records if "EVICT_MISSING" in record.message] == [
        "Pods of team/corp lack the sidecar, and EVICT_MISSING does not let the operator evict them"
    ]


@pytest.mark.parametrize(("operator", "evicted"), [(None, ["a"]), (OWN, ["a"]), (OTHER, [])])
async def test_pods_of_a_backend_that_another_operator_has_stay(operator: str | None, evicted: list[str]):
    world = World()
    world.backend(operator=operator)
    world.pod("a")
    assert await world.poll() == evicted
