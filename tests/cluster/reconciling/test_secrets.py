"""SecretResolved, told by real proxies that stand where pods are said to be. They run here: no kubelet does."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from fakes.mimic import Mimic
from fakes.person import Cluster
from fakes.reconcilers import Reconciler, conditions, eventually

pytestmark = pytest.mark.timeout(120)
STATIC = {"chat": {"url": "https://llm.example/v1"}, "auth": {"grant": "Static", "secretRef": {"name": "corp-llm"}}}


def own_address() -> str:
    """Of this machine, as a pod's would be: not loopback. Nothing is sent to the address (TEST-NET-1) asked for."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        found: str = probe.getsockname()[0]
        return found


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, trust_env=False).is_success
    except httpx2.TransportError:
        return False


@contextmanager
def proxy(folder: Path, address: str, token: str | None) -> Iterator[Mimic]:
    """As the operator has it configured: the secret is a file."""
    folder.mkdir()
    if token is not None:
        (folder / "ACCESS_TOKEN").write_text(token)
    settings = {
        "GRANT": "static",
        "ACCESS_TOKEN_FILE": str(folder / "ACCESS_TOKEN"),
        "CHAT_API_URL": "https://llm.example/v1",
        "EMBEDDING_API_URL": "https://llm.example/v1",
        "ADMIN_HOST": address,
    }
    mimic = Mimic(settings, folder, lambda: ("planted-token",))
    try:
        eventually(lambda: answers(f"http://{address}:{mimic.admin_port}/livez"), lambda: mimic.log)
        yield mimic
        mimic.judge()
    finally:
        mimic.kill()


def pod(http: httpx2.Client, namespace: str, backend: str, address: str, port: int) -> None:
    """One that has the sidecar and runs."""
    sidecar = {"name": "mimic-proxy", "image": "mimic", "ports": [{"name": "mimic-admin", "containerPort": port}]}
    marks = {"mimic.dev/backend": backend, "mimic.dev/template-hash": "played"}
    metadata = {"name": f"for-{backend}", "labels": {"mimic.dev/inject": "true"}, "annotations": marks}
    spec = {"containers": [{"name": "web", "image": "web"}, sidecar]}
    path = f"/api/v1/namespaces/{namespace}/pods"
    made = http.post(path, json={"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    assert made.status_code == 201, made.text
    status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
    headers = {"content-type": "application/strategic-merge-patch+json"}
    assert http.patch(f"{path}/for-{backend}/status", json=status, headers=headers).is_success


def test_the_status_tells_whether_the_proxies_have_their_secret(cluster: Cluster, operator: Reconciler, tmp_path: Path):
    address = own_address()
    for name in ("without", "with", "away", "unused"):
        cluster.backend(name, **STATIC)
    with proxy(tmp_path / "a", address, None) as without, proxy(tmp_path / "b", address, "planted-token") as has:
        ports = {"without": without.admin_port, "with": has.admin_port, "away": 9}
        for name, port in ports.items():
            pod(cluster.http, cluster.namespace, name, address, port)

        def told(name: str) -> tuple[str, str] | None:
            return conditions(cluster.seen(name)).get("SecretResolved")

        expected = {
            "without": ("False", "SecretMissing"),
            "with": ("True", "TokenHeld"),
            "away": ("Unknown", "Unreachable"),
            "unused": ("Unknown", "NotAsked"),
        }
        # 15 s where the operator came between the pod and its address.
        eventually(
            lambda: {name: told(name) for name in expected} == expected,
            lambda: ({name: told(name) for name in expected}, operator.log.read_text()),
            40,
        )
    seen = {name: conditions(cluster.seen(name))["Ready"] for name in expected}
    assert seen == dict.fromkeys(expected, ("True", "Ready")) | {"without": ("False", "SecretMissing")}
    (message,) = [
        each["message"] for each in cluster.status("without")["conditions"] if each["type"] == "SecretResolved"
    ]
    assert "ACCESS_TOKEN is missing; Secret corp-llm needs a value under ACCESS_TOKEN" in message
    assert not operator.said("planted-token")
