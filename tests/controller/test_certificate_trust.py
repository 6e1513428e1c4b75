"""In which order the leader writes the webhook's certificate and the API server's trust in it."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mimic_operator.reconcile.certificates import Trust, stored, trusting
from mimic_operator.runtime.certificates import ends
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import Kind
from mimic_operator.runtime.queue import Backoff

START = datetime(2026, 1, 1, tzinfo=UTC)
OURS = {"name": "pods.mimic.dev", "clientConfig": {"service": {"name": "hooks", "namespace": "mimic"}}}


class World:
    """An API server with the Secret and both webhook configurations. failing: kinds of which a write is refused."""

    def __init__(self) -> None:
        self.now = START
        self.secret: dict[str, Any] | None = None
        self.webhooks: dict[str, list[dict[str, Any]]] = {
            "MutatingWebhookConfiguration": [{**OURS, "clientConfig": dict(OURS["clientConfig"])}],
            "ValidatingWebhookConfiguration": [{**OURS, "clientConfig": dict(OURS["clientConfig"])}],
        }
        self.failing: set[str] = set()
        self.writes: list[str] = []
        self.ends: list[float] = []
        cluster: Any = self
        self.trust = Trust(
            cluster=cluster,
            watching=cluster,
            namespace="mimic",
            secret="tls",
            service="hooks",
            names=(),
            configuration="mimic",
            clock=lambda: 0.0,
            wall=self.wall,
            backoff=Backoff(lambda: 0.0),
            watch_seconds=290.0,
            renewed=self.ends.append,
        )

    def wall(self) -> float:
        return self.now.timestamp()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        if kind.kind == "Secret":
            return self.secret
        return {"webhooks": self.webhooks[kind.kind]}

    def _write(self, kind: str) -> None:
        if kind in self.failing:
            raise Fault("unavailable", f"{kind}: 503")
        self.writes.append(kind)

    async def apply(self, kind: Kind, manifest: Mapping[str, Any], **_: object) -> dict[str, Any]:
        self._write(kind.kind)
        self.secret = dict(manifest)
        return dict(manifest)

    async def change(
        self, kind: Kind, namespace: str | None, name: str, patch: Sequence[Mapping[str, Any]], manager: str
    ) -> dict[str, Any]:
        self._write(kind.kind)
        for step in patch:
            if step["op"] == "add":
                index = int(step["path"].split("/")[2])
                self.webhooks[kind.kind][index]["clientConfig"]["caBundle"] = step["value"]
        return {}

    def trusted(self, kind: str = "MutatingWebhookConfiguration") -> bytes:
        return base64.b64decode(self.webhooks[kind][0]["clientConfig"].get("caBundle") or "")


ORDER = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "Secret"]


async def test_the_first_certificate_is_trusted_before_it_is_stored():
    world = World()
    await world.trust.ensure()
    assert world.writes == ORDER
    made = stored(world.secret)
    assert made is not None
    assert world.trusted() == world.trusted("ValidatingWebhookConfiguration") == made.authority.certificate
    assert world.ends == [(START + timedelta(days=90)).timestamp()]
    await world.trust.ensure()
    assert world.writes == ORDER, "nothing is left to write"


async def test_a_new_authority_is_trusted_beside_the_old_one_before_a_leaf_of_it_is_stored():
    world = World()
    await world.trust.ensure()
    before = stored(world.secret)
    assert before is not None
    world.now = START + timedelta(days=3650 * 2 / 3 + 1)
    del world.writes[:]
    await world.trust.ensure()
    after = stored(world.secret)
    assert world.writes == ORDER
    assert after is not None
    assert after.authority.certificate != before.authority.certificate
    assert world.trusted() == after.authority.certificate + before.authority.certificate


@pytest.mark.parametrize("refused", ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"])
async def test_no_leaf_is_stored_that_the_api_server_does_not_trust(refused: str):
    world = World()
    world.failing.add(refused)
    with pytest.raises(Fault):
        await world.trust.ensure()
    assert world.secret is None
    world.failing.clear()
    await world.trust.ensure()
    assert world.secret is not None


async def test_a_leaf_is_renewed_after_two_thirds_of_its_90_days_under_the_same_authority():
    world = World()
    await world.trust.ensure()
    before = stored(world.secret)
    world.now = START + timedelta(days=59)
    await world.trust.ensure()
    assert world.writes == ORDER
    world.now = START + timedelta(days=61)
    await world.trust.ensure()
    after = stored(world.secret)
    assert world.writes == [*ORDER, "Secret"]
    assert before is not None
    assert after is not None
    assert after.authority == before.authority
    assert ends(after.leaf.certificate) == world.now + timedelta(days=90)


async def test_a_deleted_secret_is_made_anew_and_the_old_authority_stays_trusted():
    world = World()
    await world.trust.ensure()
    before = world.trusted()
    world.secret = None
    await world.trust.ensure()
    assert world.trusted().endswith(before)
    assert world.trusted() != before


def test_an_entry_that_calls_another_service_gets_no_bundle():
    other = {"name": "pods.mimic.dev", "clientConfig": {"service": {"name": "hooks", "namespace": "other"}}}
    foreign = {"name": "pods.example.com", "clientConfig": {"service": {"name": "hooks", "namespace": "mimic"}}}
    patch = trusting([other, foreign, OURS], "hooks", "mimic", b"bundle")
    assert [step["path"] for step in patch] == ["/webhooks/2/name", "/webhooks/2/clientConfig/caBundle"]
