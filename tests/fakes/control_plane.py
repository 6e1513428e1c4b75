"""A real Kubernetes control plane without a node, as envtest starts one: pods are objects that never run.

etcd and kube-apiserver come from the folder that KUBEBUILDER_ASSETS names (`setup-envtest use -p path` prints one);
kube-controller-manager and kube-scheduler run where the folder holds them.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from lightkube import Client, KubeConfig

from fakes.free_ports import free_port
from fakes.tools import REQUIRED

ASSETS = "KUBEBUILDER_ASSETS"
START_SECONDS = 45.0
STOP_SECONDS = 3.0
"""Then it is killed: an API server waits a minute for those that watch."""
_SERVICE_ADDRESS = "10.96.0.1"
_SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
_ASKED = "mutation.webhook.admission.k8s.io/round_"
_NEEDED = ("etcd", "kube-apiserver")
_USERS = {
    "admin": ("mimic-admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", None),
    "kube-scheduler": ("system:kube-scheduler", None),
}


def assets() -> Path:
    """The folder with the programs; without it the test is skipped, or fails where tools are required."""
    named = os.environ.get(ASSETS)
    if not named:
        reason = f"{ASSETS} names no folder with etcd and kube-apiserver (`setup-envtest use -p path` makes one)"
    elif missing := [name for name in _NEEDED if shutil.which(name, path=named) is None]:
        reason = f"{ASSETS}={named} holds no {' and no '.join(missing)}"
    else:
        return Path(named)
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def has_controllers() -> bool:
    """Whether Deployments become pods and orphans are collected: the folder holds the controller manager."""
    return shutil.which("kube-controller-manager", path=os.environ.get(ASSETS, "")) is not None


class _Program:
    """One component as a process. Its output goes to a file; it dies with the test process."""

    def __init__(self, command: list[str], log: Path) -> None:
        reaper = shutil.which("setpriv")
        prefix = [reaper, "--pdeathsig", "KILL", "--"] if reaper else []
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*prefix, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def judge(self) -> None:
        """Assert that it lives."""
        status = self.process.poll()
        assert status is None, f"{self._log.name} ended with {status}:\n{self.tail()}"

    def tail(self) -> str:
        return self._log.read_text("utf-8", "replace")[-4000:]

    def end(self, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class ControlPlane:
    """One on free ports of 127.0.0.1, all of its files in `folder`. RBAC is on, and so is Pod Security admission.

    kubeconfig: the administrator's file, which every Kubernetes client can read (KUBECONFIG).
    """

    def __init__(self, folder: Path, programs: Path, controllers: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._programs = programs
        self._controllers = controllers
        self._running: dict[str, _Program] = {}
        self._authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self._etcd_port, self._peer_port, self._port = free_port(), free_port(), free_port()
        self._write_keys()
        self.kubeconfig = folder / "admin.kubeconfig"
        self.audit_log = folder / "audit.log"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @property
    def minor(self) -> int:
        """Of the Kubernetes version: 35 of 1.35."""
        with self.http() as client:
            return int(client.get("/version").json()["minor"].rstrip("+"))

    @property
    def ca_pem(self) -> bytes:
        """Signs the API server's certificate, and those of the users."""
        return self._authority.cert_pem.bytes()

    # Life

    def start(self) -> None:
        """All that does not run yet; returns once the API server is ready. Raises AssertionError with a log."""
        if "etcd" not in self._running:
            self._launch("etcd", self._etcd_flags())
        if "kube-apiserver" not in self._running:
            self._launch("kube-apiserver", self._apiserver_flags())
        self._wait_for("/readyz", "ok")
        self._wait_for_custom_resources()
        if self._controllers:
            for name, flags in self._controller_flags().items():
                if not self._lives(name) and shutil.which(name, path=self._programs):
                    self._launch(name, flags)
        if self._lives("kube-controller-manager"):
            self._wait_for("/api/v1/namespaces/default/serviceaccounts/default", '"ServiceAccount"')

    def stop(self) -> None:
        """Everything at once. What etcd holds stays in `folder`."""
        for name in list(self._running):
            self.stop_program(name, kill=True)

    def stop_program(self, name: str, kill: bool = False) -> None:
        """End one component: its clients see what an outage looks like. `start` brings it back on the same port."""
        if program := self._running.pop(name, None):
            program.end(kill)

    def restart_apiserver(self, kill: bool = False) -> None:
        """Watches break, then everything is there again."""
        self.stop_program("kube-apiserver", kill)
        self.start()

    # Access

    @contextmanager
    def client(self, namespace: str = "default", kubeconfig: Path | None = None) -> Iterator[Client]:
        """A lightkube client, the administrator's unless another kubeconfig is given."""
        config = KubeConfig.from_file(kubeconfig or self.kubeconfig)
        with Client(config=config, namespace=namespace, trust_env=False) as client:
            yield client

    def http(self, token: str | None = None) -> httpx2.Client:
        """A bare HTTP client of the API server: the administrator's, or that of a bearer token."""
        context = self._tls_context()
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if token is None:
            context.load_cert_chain(self.folder / "admin.pem")
        return httpx2.Client(base_url=self.url, verify=context, headers=headers, trust_env=False, timeout=30)

    def token(self, namespace: str, service_account: str, seconds: int = 3600) -> str:
        """A fresh token of a service account that exists. Raises AssertionError."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        with self.http() as client:
            answer = client.post(path, json={**wanted, "spec": {"expirationSeconds": seconds}})
        assert answer.status_code == 201, answer.text
        token: str = answer.json()["status"]["token"]
        return token

    def kubeconfig_of(self, namespace: str, service_account: str) -> Path:
        """A kubeconfig that acts as a service account, as a pod of it would."""
        user = {"token": self.token(namespace, service_account)}
        return self._write_kubeconfig(f"{namespace}.{service_account}", user, namespace)

    def audit(self) -> Iterator[dict[str, Any]]:
        """What was asked of the API server so far, by whom: audit events, without bodies, oldest first."""
        for line in self.audit_log.read_text("utf-8").splitlines():
            yield json.loads(line)

    def webhooks_called(self, namespace: str) -> dict[str, set[str]]:
        """Of each pod created there by name: which mutating webhooks the API server says that it asked."""
        called: dict[str, set[str]] = {}
        for event in self.audit():
            about = event.get("objectRef", {})
            if (event["verb"], about.get("resource"), about.get("namespace")) != ("create", "pods", namespace):
                continue
            notes = event.get("annotations", {})
            rounds = [json.loads(text) for key, text in notes.items() if key.startswith(_ASKED)]
            called[about["name"]] = {each["webhook"] for each in rounds}
        return called

    # How it is made

    def _launch(self, name: str, flags: Mapping[str, object]) -> None:
        command = [str(self._programs / name), *(f"--{flag}={value}" for flag, value in flags.items())]
        self._running[name] = _Program(command, self.folder / f"{name}.log")

    def _lives(self, name: str) -> bool:
        return name in self._running and self._running[name].process.poll() is None

    def _wait_for(self, path: str, content: str) -> None:
        """Until the API server answers to `path`, as the administrator asks, with something that holds `content`."""
        deadline = time.monotonic() + START_SECONDS
        with self.http() as client:
            while not _shows(client, path, content):
                for program in self._running.values():
                    program.judge()
                tail = self._running["kube-apiserver"].tail
                assert time.monotonic() < deadline, f"no {content} at {path} in {START_SECONDS} s:\n{tail()}"
                time.sleep(0.1)

    def _wait_for_custom_resources(self) -> None:
        """What a restarted API server is ready before: for a moment it refuses the kinds of CRDs with 503."""
        with self.http() as client:
            definitions = client.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").json()["items"]
        for spec in (definition["spec"] for definition in definitions):
            served = next(version["name"] for version in spec["versions"] if version["served"])
            path = f"/apis/{spec['group']}/{served}/{spec['names']['plural']}"
            self._wait_for(f"{path}?limit=1", f'"kind":"{spec["names"]["kind"]}List"')

    def _write_keys(self) -> None:
        folder = self.folder
        (folder / "ca.pem").write_bytes(self.ca_pem)
        server = self._authority.issue_cert("127.0.0.1", "localhost", _SERVICE_ADDRESS, *_SERVICE_NAMES)
        server.private_key_pem.write_to_path(folder / "apiserver.key")
        _write_chain(server, folder / "apiserver.crt")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        (folder / "accounts.key").write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
        for name, (user, group) in _USERS.items():
            # Without any name in it trustme makes an extension that Go refuses.
            leaf = self._authority.issue_cert(f"{name}.invalid", common_name=user, organization_name=group)
            leaf.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
            certificate = base64.b64encode(b"".join(pem.bytes() for pem in leaf.cert_chain_pems)).decode()
            private = base64.b64encode(leaf.private_key_pem.bytes()).decode()
            user_entry = {"client-certificate-data": certificate, "client-key-data": private}
            self._write_kubeconfig(name, user_entry)
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"]}
        (folder / "audit.yaml").write_text(yaml.safe_dump({**policy, "rules": [{"level": "Metadata"}]}))

    def _write_kubeconfig(self, name: str, user: Mapping[str, str], namespace: str = "default") -> Path:
        authority = base64.b64encode(self.ca_pem).decode()
        cluster = {"server": self.url, "certificate-authority-data": authority}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": dict(user)}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name, "namespace": namespace}}],
        }
        path = self.folder / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))
        return path

    def _tls_context(self) -> Any:
        context = httpx2.create_ssl_context(trust_env=False)
        context.load_verify_locations(cadata=self.ca_pem.decode())
        return context

    def _etcd_flags(self) -> dict[str, object]:
        client = f"http://127.0.0.1:{self._etcd_port}"
        return {
            "data-dir": self.folder / "etcd",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": f"http://127.0.0.1:{self._peer_port}",
            "unsafe-no-fsync": "true",
            "log-level": "warn",
        }

    def _apiserver_flags(self) -> dict[str, object]:
        folder = self.folder
        return {
            "etcd-servers": f"http://127.0.0.1:{self._etcd_port}",
            "bind-address": "127.0.0.1",
            "secure-port": self._port,
            "cert-dir": folder / "apiserver",
            "tls-cert-file": folder / "apiserver.crt",
            "tls-private-key-file": folder / "apiserver.key",
            "client-ca-file": folder / "ca.pem",
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction,PodSecurity",
            "allow-privileged": "true",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": folder / "accounts.key",
            "service-account-signing-key-file": folder / "accounts.key",
            "service-cluster-ip-range": "10.96.0.0/16",
            "endpoint-reconciler-type": "none",
            "audit-policy-file": folder / "audit.yaml",
            "audit-log-path": self.audit_log,
            "shutdown-delay-duration": "0s",
        }

    def _controller_flags(self) -> dict[str, dict[str, object]]:
        folder = self.folder
        shared = {"leader-elect": "false", "secure-port": 0}
        manager = {
            "kubeconfig": folder / "kube-controller-manager.kubeconfig",
            "use-service-account-credentials": "true",
            "service-account-private-key-file": folder / "accounts.key",
            "root-ca-file": folder / "ca.pem",
        }
        scheduler = {"kubeconfig": folder / "kube-scheduler.kubeconfig"}
        return {"kube-controller-manager": {**shared, **manager}, "kube-scheduler": {**shared, **scheduler}}


def _shows(client: httpx2.Client, path: str, content: str) -> bool:
    try:
        return content in client.get(path).text
    except httpx2.TransportError:
        return False  # it does not listen yet


def _write_chain(leaf: trustme.LeafCert, path: Path) -> None:
    path.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))


@contextmanager
def running(folder: Path, controllers: bool = True) -> Iterator[ControlPlane]:
    """A started one, stopped at the end. Skips or fails the test where the programs are not there."""
    plane = ControlPlane(folder, assets(), controllers)
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()
        shutil.rmtree(folder / "etcd", ignore_errors=True)
