"""How often proxies are asked for their secret, how many of them, and what becomes of answers that are none."""

import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from mimic_operator.reconcile.secrets import (
    AGAIN_SECONDS,
    LONGEST_ANSWER,
    MOST_BACKENDS,
    START_SECONDS,
    AdminPort,
    Answer,
    SecretChecks,
    SecretProblem,
    ask,
)
from mimic_operator.reconcile.store import ObservedPod, Store, keep_backend
from mimic_operator.resource.naming import selector_of
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.informer import Change
from mimic_operator.runtime.kinds import Key

HELD = {"conditions": [{"name": "token", "ok": True, "reason": None}], "secrets": []}
CODE = {"name": "AUTH_CODE", "file": "/etc/mimic/secret/llm/AUTH_CODE", "problem": "empty"}
LACKS = {"conditions": [{"name": "token", "ok": False, "reason": "wait"}], "secrets": [CODE]}


async def sent(body: bytes) -> AsyncIterator[bytes]:
    yield body


@dataclass
class World:
    """Pods by name, what their proxies say, and what was asked of them and of the API server."""

    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    says: dict[str, Any] = field(default_factory=lambda: dict(HELD))
    asked: list[str] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)
    now: float = 0.0
    changed: list[Key] = field(default_factory=list)
    refuses: bool = False

    def __post_init__(self) -> None:
        self.store = Store(lambda key: None)
        cluster: Any = self
        self.secret_checks = SecretChecks(cluster, self.store, lambda: self.now, lambda: 0.5, self.changed.append)

    def backend(self, name: str = "corp", uid: str = "u", **spec: Any) -> None:
        given = {"chat": {"url": "https://llm.example/v1"}, "auth": {"grant": "None"}, **spec}
        metadata = {"name": name, "namespace": "team", "uid": uid, "resourceVersion": "1", "generation": 1}
        manifest = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": metadata, "spec": given}
        self.store.set_backend(Key("team", name), keep_backend(manifest))

    def pod(self, name: str, backend: str = "corp", *, injected: bool = True, address: str = "10.0.0.7") -> None:
        ports = [{"name": "mimic-admin", "containerPort": 18481}]
        spec = {"containers": [{"name": "mimic-proxy", "ports": ports}]}
        self.pods[name] = {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Running", "podIP": address}}
        seen = ObservedPod(("", ""), Key("team", backend), None, injected, ending=False)
        self.store.set_pod(Change("team", name, found=seen, before=None))

    async def get(self, kind: Any, namespace: str, name: str) -> dict[str, Any] | None:
        self.looked_up.append(name)
        if self.refuses:
            raise Fault("forbidden", "get Pod: 403")
        return self.pods.get(name)

    async def list(self, kind: Any, namespace: str, *, labels: dict[str, Any], chunk: int) -> Any:
        assert labels == selector_of("corp")
        for name in self.pods:
            self.looked_up.append(name)
            yield self.pods[name]

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(str(request.url))
        return httpx2.Response(503, content=sent(json.dumps(self.says).encode()))

    async def poll(self, after: float = 0.0) -> int:
        """How many were asked."""
        self.now += after
        before = len(self.asked)
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(self.answer)) as http:
            await self.secret_checks.poll(http)
        return len(self.asked) - before

    def condition(self, name: str = "corp") -> tuple[str, str]:
        found = self.secret_checks.condition(self.store.entries[Key("team", name)])
        return found.status, found.reason


@pytest.mark.parametrize("mode", ["Sidecar", "Deployment"])
async def test_three_pods_a_minute_and_one_while_all_is_well(mode: str):
    world = World(says=LACKS)
    world.backend(mode=mode, **({"deployment": {"access": "Open"}} if mode == "Deployment" else {}))
    for number in range(5):
        world.pod(f"web-{number}")
    assert await world.poll() == 3
    assert world.condition() == ("False", "SecretMissing")
    assert await world.poll(AGAIN_SECONDS - 1) == 0
    world.says = HELD
    assert await world.poll(1) == 3
    assert world.condition() == ("True", "TokenHeld")
    assert await world.poll(AGAIN_SECONDS) == 1
    assert set(world.asked) == {"http://10.0.0.7:18481/readyz"}
    assert world.changed == [Key("team", "corp")] * 2


async def test_pods_without_a_sidecar_are_nobody_to_ask():
    world = World()
    world.backend()
    world.pod("bare", injected=False)
    assert await world.poll() == 0
    assert world.looked_up == []
    assert world.condition() == ("Unknown", "NotAsked")


async def test_pods_that_have_no_address_yet_are_looked_at_again_soon():
    world = World()
    world.backend()
    world.pod("web", address="")
    assert await world.poll() == 0
    world.pod("web")
    assert await world.poll(START_SECONDS) == 1
    assert world.condition() == ("True", "TokenHeld")


async def test_a_few_backends_at_a_time_and_each_gets_its_turn():
    world = World()
    for number in range(2 * MOST_BACKENDS + 1):
        world.backend(f"b{number}", f"u{number}")
        world.pod(f"web-{number}", f"b{number}")
    assert [await world.poll(1) for _ in range(4)] == [MOST_BACKENDS, MOST_BACKENDS, 1, 0]
    assert len(set(world.looked_up)) == 2 * MOST_BACKENDS + 1


async def test_an_api_server_that_refuses_changes_nothing():
    world = World(refuses=True)
    world.backend()
    world.pod("web")
    assert await world.poll() == 0
    assert world.condition() == ("Unknown", "NotAsked")
    world.refuses = False
    assert await world.poll(AGAIN_SECONDS) == 1


async def test_what_is_known_of_a_backend_ends_with_it():
    world = World(says=LACKS)
    world.backend()
    world.pod("web")
    await world.poll()
    world.store.set_backend(Key("team", "corp"), None)
    world.backend(uid="another")
    assert world.condition() == ("Unknown", "NotAsked")
    await world.poll()
    assert set(world.secret_checks.conditions) == {"another"}


async def test_a_proxy_whose_address_is_known_costs_the_api_server_nothing():
    world = World()
    world.backend()
    world.pod("web")
    assert [await world.poll(AGAIN_SECONDS) for _ in range(5)] == [1] * 5
    assert world.looked_up == ["web"]


async def test_a_pod_that_does_not_answer_is_read_again_for_its_address():
    world = World(says={})
    world.backend()
    world.pod("web")
    await world.poll()
    assert world.condition() == ("Unknown", "Unreachable")
    world.says = HELD
    await world.poll(AGAIN_SECONDS)
    assert (world.condition(), world.looked_up) == (("True", "TokenHeld"), ["web", "web"])


async def test_many_backends_read_fifteen_pods_a_minute_in_the_long_run():
    """Pods that never get an address, of 400 backends: what is known of the others stays as it is."""
    world = World()
    for number in range(400):
        world.backend(f"b{number}", f"u{number}")
        world.pod(f"web-{number}", f"b{number}", address="")
    for _ in range(240):
        await world.poll(5)
    assert 300 < len(world.looked_up) <= 300 + 20 * 15


def raising(error: Exception) -> Any:
    def answer(request: httpx2.Request) -> httpx2.Response:
        raise error

    return answer


def replying(body: bytes, status: int = 200, **headers: str) -> Any:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: httpx2.Response(status, headers=fields, content=sent(body))


LACKING = Answer(held=False, problems=(SecretProblem(*CODE.values()),))
ANSWERS: dict[str, tuple[Any, Answer | None]] = {
    "ready": (replying(json.dumps(HELD).encode()), Answer(held=True)),
    "not ready": (
        replying(json.dumps(LACKS).encode(), 503),
        Answer(held=False, problems=(SecretProblem(*CODE.values()),)),
    ),
    "not JSON": (replying(b"<html>"), None),
    "not UTF-8": (replying(b'"\xff"'), None),
    "nothing": (replying(b"", 204), None),
    "too long": (replying(b" " * LONGEST_ANSWER + json.dumps(HELD).encode()), None),
    "compressed": (replying(gzip.compress(json.dumps(HELD).encode()), content_encoding="gzip"), None),
    "elsewhere": (replying(b"", 302, location="http://10.0.0.8/readyz"), None),
    "refused": (raising(httpx2.ConnectError("refused")), None),
    "slow": (raising(httpx2.ReadTimeout("slow")), None),
    "broken off": (raising(httpx2.RemoteProtocolError("broken off")), None),
}


@pytest.mark.parametrize(("reply", "found"), ANSWERS.values(), ids=ANSWERS)
async def test_only_a_proxy_answers(reply: Any, found: Answer | None):
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(reply)) as http:
        assert await ask(http, AdminPort("10.0.0.7", 18481)) == found
