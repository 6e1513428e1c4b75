"""Events about workloads: whom they name, and when nothing is said."""

import asyncio
from typing import Any

import pytest

from fakes.injection import admit
from fakes.manifests import Manifest, backend, pod
from mimic_operator.runtime.faults import Fault
from mimic_operator.webhook.events import MOST_WAITING, QUIET_SECONDS, Announcer

INJECTED = admit(pod(), backend()).decision
DENIED = admit(pod(), backend("a"), backend("b")).decision
DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u-web", "controller": True}


class Cluster:
    """Holds owners by name; keeps what is created."""

    def __init__(self, **owners: Manifest) -> None:
        self.owners, self.events, self.asked = owners, [], 0
        self.fault: Fault | None = None

    async def get(self, kind: Any, namespace: str, name: str) -> Manifest | None:
        self.asked += 1
        found = self.owners.get(name.replace("-", "_"))
        return None if found is None else {"metadata": {"ownerReferences": [found]}}

    async def create(self, kind: Any, manifest: Manifest) -> Manifest:
        if self.fault is not None:
            raise self.fault
        self.events.append(manifest)
        return manifest


class Told:
    def __init__(self, **owners: Manifest) -> None:
        self.cluster, self.now, self.counted = Cluster(**owners), 1000.0, []
        self.announcer = Announcer(self.cluster, lambda: self.now, lambda: 1.8e9, self.counted.append)

    async def posted(self) -> list[tuple[str, str, str]]:
        """Kind, name and reason of each, once all have been posted."""
        running = asyncio.create_task(self.announcer.run())
        for _ in range(50):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        found = self.cluster.events
        return [(each["involvedObject"]["kind"], each["involvedObject"]["name"], each["reason"]) for each in found]


async def test_the_deployment_behind_the_replica_set_is_named_and_asked_for_once():
    told = Told(web_1=DEPLOYMENT)
    told.announcer.add(pod(), "shop", INJECTED)
    told.announcer.add(pod(), "shop", DENIED)
    assert await told.posted() == [("Deployment", "web", "Injected"), ("Deployment", "web", "SeveralBackends")]
    assert told.cluster.asked == 1
    normal, warning = told.cluster.events
    assert (normal["type"], warning["type"]) == ("Normal", "Warning")
    assert "choose one of a, b" in warning["message"]


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet", "ReplicaSet"])
async def test_an_owner_without_an_owner_is_named_itself(kind: str):
    told = Told()
    told.announcer.add(pod(owner=kind), "shop", INJECTED)
    assert await told.posted() == [(kind, "web-1", "Injected")]


async def test_the_same_is_not_said_twice_in_ten_minutes():
    told = Told(web_1=DEPLOYMENT)
    for moment in (0.0, 1.0, QUIET_SECONDS - 1):
        told.now = 1000.0 + moment
        told.announcer.add(pod(), "shop", INJECTED)
    assert len(await told.posted()) == 1
    told.now = 1000.0 + 2 * QUIET_SECONDS
    told.announcer.add(pod(), "shop", INJECTED)
    assert len(await told.posted()) == 2


async def test_two_replica_sets_of_one_deployment_say_it_once():
    told = Told(web_1=DEPLOYMENT, web_2=DEPLOYMENT)
    second = pod()
    second["metadata"]["ownerReferences"][0] |= {"name": "web-2", "uid": "u2"}
    told.announcer.add(pod(), "shop", INJECTED)
    told.announcer.add(second, "shop", INJECTED)
    assert await told.posted() == [("Deployment", "web", "Injected")]


async def test_bare_pods_and_what_is_no_news_are_passed_over():
    told = Told()
    told.announcer.add(pod(owner=None), "shop", INJECTED)
    told.announcer.add(pod(), "shop", admit(pod(labels={}), backend()).decision)
    assert await told.posted() == []


async def test_an_api_server_that_refuses_ends_nothing():
    told = Told()
    told.cluster.fault = Fault("forbidden", "create Event: 403")
    told.announcer.add(pod(), "shop", INJECTED)
    await told.posted()
    told.cluster.fault = None
    told.announcer.add(pod(), "shop", DENIED)
    assert await told.posted() == [("ReplicaSet", "web-1", "SeveralBackends")]
    assert told.counted == ["failed", "posted"]


async def test_a_flood_is_dropped_and_counted():
    told = Told()
    for number in range(MOST_WAITING + 3):
        other = pod()
        other["metadata"]["ownerReferences"][0]["uid"] = str(number)
        told.announcer.add(other, "shop", INJECTED)
    assert told.counted == ["dropped"] * 3
