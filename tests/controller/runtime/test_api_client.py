"""What reaches the API server, and which responses are refused."""

import json
from collections.abc import Callable

import httpx2
import pytest
from lightkube import KubeConfig
from lightkube.config.models import Cluster as Server
from lightkube.config.models import User

from mimic_operator.resource.kinds import BACKEND
from mimic_operator.runtime.client import Cluster, is_name, is_namespace, path_of
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import DEPLOYMENT, POD, SECRET

Answer = Callable[[httpx2.Request], httpx2.Response]
TRAVERSAL = "../../../../../../api/v1/namespaces/mimic-system/secrets/mimic-webhook-tls"


def cluster(answer: Answer) -> Cluster:
    config = KubeConfig.from_one(cluster=Server(server="http://api.example"), user=User(token="t"))
    return Cluster(config, transport=httpx2.MockTransport(answer))


def never(request: httpx2.Request) -> httpx2.Response:
    raise AssertionError(f"{request.url} was requested")


@pytest.mark.parametrize(
    "name", ["llm/shared", TRAVERSAL, "..", ".", "", "a/../b", "%2e%2e", "a?watch=1", "a#b", "A", "ä", "a" * 254, "-a"]
)
async def test_fault_02_a_name_that_no_object_can_have_reaches_no_path(name: str):
    """`mimic.dev/backend` of a pod made the reconciler read a Secret with its own account."""
    async with cluster(never) as api:
        for namespace, wanted in (("team", name), (name, "corp")):
            with pytest.raises(Fault) as refused:
                await api.get(BACKEND, namespace, wanted)
            assert refused.value.reason == "invalid"
        with pytest.raises(Fault):
            await api.apply(BACKEND, {"metadata": {"name": name, "namespace": "team"}}, manager="m", force=True)
    assert not is_name(name)


def test_names_of_objects_and_of_namespaces():
    assert is_name("corp.v1-2")
    assert is_name("a" * 63 + ".b")
    assert not is_name("a" * 64)
    assert is_namespace("a" * 63)
    assert not is_namespace("a" * 64)
    assert not is_namespace("a.b")
    assert path_of(POD, "team", "web-1", "eviction") == "/api/v1/namespaces/team/pods/web-1/eviction"
    assert path_of(DEPLOYMENT) == "/apis/apps/v1/deployments"


SHOWN = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": {"name": "corp"}}


@pytest.mark.parametrize(
    "other",
    [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "corp"}, "data": {"tls.key": "aHVzaA=="}},
        {**SHOWN, "kind": "MimicBackendList"},
        {**SHOWN, "apiVersion": "mimic.dev/v9"},
        {**SHOWN, "metadata": {"name": "another"}},
        {},
        [],
    ],
)
async def test_a_response_of_another_kind_or_name_is_refused(other: object):
    async with cluster(lambda request: httpx2.Response(200, json=other)) as api:
        with pytest.raises(Fault) as refused:
            await api.get(BACKEND, "team", "corp")
    assert "aHVzaA" not in str(refused.value)


async def test_a_list_of_another_kind_is_refused():
    page = {"kind": "SecretList", "metadata": {"resourceVersion": "1"}, "items": []}
    async with cluster(lambda request: httpx2.Response(200, json=page)) as api:
        with pytest.raises(Fault):
            [each async for each in api.list(BACKEND, None)]


async def test_an_object_that_is_absent_is_told_from_a_kind_that_is_not_served():
    """Of a CustomResourceDefinition that was deleted every GET is a 404, and no backend was deleted."""
    status = {"kind": "Status", "code": 404, "details": {"name": "corp", "kind": "mimicbackends"}}
    async with cluster(lambda request: httpx2.Response(404, json=status)) as api:
        assert await api.get(BACKEND, "team", "corp") is None
    async with cluster(lambda request: httpx2.Response(404, text="404 page not found")) as api:
        with pytest.raises(Fault) as absent:
            await api.get(BACKEND, "team", "corp")
    assert absent.value.reason == "absent"


@pytest.mark.parametrize("text", ['{"kind": "Mimic', "<html>", "", "\xff"])
async def test_a_response_that_is_cut_short_or_not_from_kubernetes_is_a_fault(text: str):
    async with cluster(lambda request: httpx2.Response(200, content=text.encode("latin-1"))) as api:
        with pytest.raises(Fault) as cut:
            await api.get(BACKEND, "team", "corp")
    assert cut.value.reason == "unreachable"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx2.ConnectError("x"), "unreachable"),
        (httpx2.ReadTimeout("x"), "timeout"),
        (httpx2.RemoteProtocolError("x"), "unreachable"),
        (httpx2.PoolTimeout("x"), "timeout"),
        (FileNotFoundError(2, "gone", "/var/run/token"), "forbidden"),
    ],
)
async def test_what_the_connection_raises_is_a_fault(error: Exception, reason: str):
    def fail(request: httpx2.Request) -> httpx2.Response:
        raise error

    async with cluster(fail) as api:
        with pytest.raises(Fault) as fault:
            await api.get(BACKEND, "team", "corp")
    assert fault.value.reason == reason


async def test_apply_names_the_manager_and_sends_the_fields_alone():
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json=SHOWN)

    manifest = {**SHOWN, "metadata": {"name": "corp", "namespace": "team"}, "status": {"mode": "Sidecar"}}
    async with cluster(answer) as api:
        await api.apply(BACKEND, manifest, manager="mimic", force=False, status=True)
    (request,) = sent
    assert request.method == "PATCH"
    assert request.url.path == "/apis/mimic.dev/v1alpha1/namespaces/team/mimicbackends/corp/status"
    assert dict(request.url.params) == {"fieldManager": "mimic", "force": "false"}
    assert request.headers["content-type"] == "application/apply-patch+yaml"
    assert json.loads(request.content) == manifest


async def test_a_long_list_comes_page_by_page():
    def answer(request: httpx2.Request) -> httpx2.Response:
        more = request.url.params.get("continue")
        name = "b" if more else "a"
        metadata = {"resourceVersion": "7"} | ({} if more else {"continue": "cursor"})
        items = [{"metadata": {"name": name, "namespace": "team"}}]
        return httpx2.Response(200, json={"kind": "SecretList", "metadata": metadata, "items": items})

    async with cluster(answer) as api:
        found = [each async for each in api.list(SECRET, "team", labels={"a": "b"})]
    assert [(each["kind"], each["metadata"]["name"]) for each in found] == [("Secret", "a"), ("Secret", "b")]
