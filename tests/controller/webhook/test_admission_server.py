"""The webhook's endpoint and those who call it wrongly: over TLS, with a review that stands for kopf's."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, nullcontext
from typing import Any

import httpx2
import pytest
import trustme

from fakes.manifests import Manifest, pod
from mimic_operator.webhook import server
from mimic_operator.webhook.review import PATHS
from mimic_operator.webhook.server import Server

PLANTED = "planted"
POD = {"group": "", "version": "v1", "resource": "pods"}


def review(**changes: Any) -> Manifest:
    """An AdmissionReview of a pod; what is changed to `...` is left out."""
    request = {"uid": "u1", "resource": POD, "namespace": "shop", "operation": "CREATE", "object": pod()} | changes
    given = {key: value for key, value in request.items() if value is not ...}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": given}


class Endpoint:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "DRAIN_SECONDS", 0.0)
        self.seen: list[Manifest] = []
        self.breaks = False
        self.going_on: asyncio.Event | None = None
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.trusting = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
        self.server = Server(
            "127.0.0.1",
            0,
            context=context,
            handlers=PATHS,
            answered=lambda *_: None,
            traced=lambda *_: nullcontext(),
            clock=lambda: 0.0,
        )

    async def _review(self, given: Manifest, *, webhook: str, headers: Mapping[str, str]) -> Manifest:
        if self.breaks:
            raise RuntimeError("a defect")
        self.seen.append(given)
        if self.going_on is not None:
            await self.going_on.wait()
        return {"response": {"uid": given["request"]["uid"], "allowed": True}}

    async def serving(self) -> AsyncIterator[httpx2.AsyncClient]:
        async with aclosing(self.server(self._review)) as running:
            await anext(running)
            address = f"https://127.0.0.1:{self.server.port}"
            async with httpx2.AsyncClient(
                base_url=address, verify=self.trusting, trust_env=False, timeout=30
            ) as client:
                yield client


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    return Endpoint(monkeypatch)


@pytest.fixture
async def client(endpoint: Endpoint) -> AsyncIterator[httpx2.AsyncClient]:
    async for each in endpoint.serving():
        yield each


WRONG: dict[str, tuple[Any, str]] = {
    "no object": ({}, "missing required field `request`"),
    "a list": ([], "not an AdmissionReview"),
    "a request that is none": ({"request": PLANTED}, "at `$.request`"),
    "no uid": (review(uid=...), "missing required field `uid`"),
    "a uid that is none": (review(uid={}), "at `$.request.uid`"),
    "no resource": (review(resource=...), "missing required field `resource`"),
    "another resource": (review(resource={**POD, "resource": "secrets"}), "this webhook reviews pods"),
    "a deletion": (review(operation="DELETE", object={}), "this webhook reviews pods that are created or updated"),
    "no pod": (review(object=...), "missing required field `object`"),
    "a pod that is text": (review(object=PLANTED), "at `$.request.object`"),
    "a pod that is null": (review(object=None), "at `$.request.object`"),
    "metadata that is none": (review(object={"metadata": PLANTED}), "its object's metadata is not a mapping"),
    "a namespace that is none": (review(namespace=[PLANTED]), "at `$.request.namespace`"),
    "a user that is none": (review(userInfo=PLANTED), "at `$.request.userInfo`"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_is_no_review_is_refused_by_its_field(
    what: str, client: httpx2.AsyncClient, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
):
    given, said = WRONG[what]
    answer = await client.post("/pods", json=given)
    assert (answer.status_code, endpoint.seen) == (400, [])
    assert said in answer.text
    assert PLANTED not in answer.text + caplog.text


BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "nothing": (b"", {}, 400),
    "null": (b"null", {}, 400),
    "half": (b"{", {}, 400),
    "another encoding": (json.dumps(review()).encode("utf-16"), {}, 400),
    "nested without end": (b"[" * 100_000, {}, 400),
    "not compressed as it says": (b"\x1f\x8bxx", {"content-encoding": "gzip"}, 400),
    "nine megabytes": (b" " * (9 << 20), {}, 413),
    "another type": (json.dumps(review()).encode(), {"content-type": "text/plain"}, 200),
}


@pytest.mark.parametrize("what", BODIES)
async def test_no_body_breaks_it(what: str, client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture):
    body, headers, status = BODIES[what]
    answer = await client.post("/pods", content=body, headers=headers)
    assert answer.status_code == status
    assert "Traceback" not in answer.text
    # aiohttp's own lines are turned off in the process, see telemetry/logs.py.
    assert [each for each in caplog.records if each.name.startswith("mimic")] == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/pods", 405),
        ("PUT", "/pods", 405),
        ("POST", "/", 404),
        ("POST", "/secrets", 404),
        ("POST", "/a/b", 404),
    ],
)
async def test_nothing_else_is_served(method: str, path: str, status: int, client: httpx2.AsyncClient):
    assert (await client.request(method, path, json=review())).status_code == status


async def test_a_pod_stands_in_the_namespace_of_its_request(client: httpx2.AsyncClient, endpoint: Endpoint):
    elsewhere = pod()
    elsewhere["metadata"]["namespace"] = "other"
    for given in (pod(), elsewhere, {"spec": 5}):
        await client.post("/pods", json=review(object=given))
    places = [each["request"]["object"]["metadata"]["namespace"] for each in endpoint.seen]
    assert places == ["shop"] * 3


async def test_a_body_that_does_not_come_is_given_up(
    client: httpx2.AsyncClient, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server, "READ_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.server.port, ssl=endpoint.trusting)
    writer.write(b"POST /pods HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
    assert b" 408 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    assert (await client.post("/pods", json=review())).status_code == 200


async def test_hundreds_at_once_get_each_its_own_answer(client: httpx2.AsyncClient):
    given = [client.post("/pods", json=review(uid=f"u{number}")) for number in range(300)]
    answers = await asyncio.gather(*given)
    assert [each.json()["response"]["uid"] for each in answers] == [f"u{number}" for number in range(300)]


async def test_a_defect_is_logged_and_says_nothing_outside(
    client: httpx2.AsyncClient, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
):
    endpoint.breaks = True
    answer = await client.post("/pods", json=review())
    assert (answer.status_code, answer.text) == (500, "the webhook failed on this review; its log has the details")
    assert "A review failed before it was decided" in caplog.text


@pytest.mark.parametrize("sent", [b"", b"POST /pods HTTP/1.1\r\nHost: a\r\n"], ids=["nothing", "half a head"])
async def test_a_connection_without_a_request_head_is_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch):
    assert server.IDLE_SECONDS == 30
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.05)
    found = Endpoint(monkeypatch)
    async for _ in found.serving():
        reader, writer = await asyncio.open_connection("127.0.0.1", found.server.port, ssl=found.trusting)
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_only_some_large_bodies_are_held_at_once(client: httpx2.AsyncClient, endpoint: Endpoint):
    """32 bodies of 8 MiB would fill the memory of the process."""
    assert (server.SMALL_AT_ONCE, server.LARGE_AT_ONCE, server.SMALL_BODY_BYTES) == (64, 2, 262_144)
    endpoint.going_on = asyncio.Event()
    padded = json.dumps(review()).encode() + b" " * 300_000
    large = [asyncio.create_task(client.post("/pods", content=padded)) for _ in range(5)]
    small = asyncio.create_task(client.post("/pods", json=review(uid="small")))
    while "small" not in {each["request"]["uid"] for each in endpoint.seen} or len(endpoint.seen) < 3:
        await asyncio.sleep(0.01)
    assert len(endpoint.seen) == 3
    endpoint.going_on.set()
    assert {each.status_code for each in await asyncio.gather(small, *large)} == {200}
    assert len(endpoint.seen) == 6


async def test_a_review_without_room_is_refused_after_a_while(
    client: httpx2.AsyncClient, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
):
    endpoint.going_on = asyncio.Event()
    padded = json.dumps(review()).encode() + b" " * 300_000
    large = [asyncio.create_task(client.post("/pods", content=padded)) for _ in range(2)]
    while len(endpoint.seen) < 2:
        await asyncio.sleep(0.01)
    monkeypatch.setattr(server, "READ_SECONDS", 0.05)
    answer = await client.post("/pods", content=padded)
    assert (answer.status_code, answer.text) == (503, "too many reviews at once; send it again")
    endpoint.going_on.set()
    await asyncio.gather(*large)
