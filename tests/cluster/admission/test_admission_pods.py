"""Real pods, written through a real API server to the webhook's process over TLS."""

from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from fakes.control_plane import ControlPlane, has_controllers
from fakes.later_webhooks import later_webhook
from fakes.manifests import Manifest, backend, container, pod, shared
from fakes.reconcilers import eventually
from fakes.webhooks import MERGE, Webhook, backends_path, created, registered

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True)
class Written:
    status: int
    answer: dict[str, Any]
    warnings: list[str]

    @property
    def message(self) -> str:
        return str(self.answer.get("message", ""))

    @property
    def words(self) -> set[str]:
        """Of the warnings."""
        return {text.removeprefix("Mimic, ").split(":")[0] for text in self.warnings if text.startswith("Mimic, ")}

    @property
    def proxies(self) -> list[str]:
        return [each["name"] for each in proxies_in(self.answer)]


def proxies_in(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of the proxy, wherever they stand."""
    spec = manifest.get("spec", {})
    found = [*spec.get("initContainers", ()), *spec.get("containers", ())]
    return [each for each in found if each["name"] == "mimic-proxy"]


class Writer:
    """Writes pods into one namespace."""

    def __init__(self, admin: httpx2.Client, namespace: str) -> None:
        self.admin, self.namespace = admin, namespace

    def write(self, manifest: Manifest, *, dry_run: bool = False) -> Written:
        params = {"dryRun": "All"} if dry_run else {}
        answer = self.admin.post(f"/api/v1/namespaces/{self.namespace}/pods", json=manifest, params=params)
        texts = [field.split('"', 1)[1].rsplit('"', 1)[0] for field in answer.headers.get_list("warning")]
        return Written(answer.status_code, answer.json(), texts)

    def label(self, key: str, value: str) -> None:
        """The namespace."""
        wanted = {"metadata": {"labels": {key: value}}}
        self.admin.patch(f"/api/v1/namespaces/{self.namespace}", json=wanted, headers=MERGE).raise_for_status()


@pytest.fixture
def writer(admin: httpx2.Client, namespace: str, webhook: Webhook) -> Writer:
    return Writer(admin, namespace)


@pytest.fixture
def served(writer: Writer, admin: httpx2.Client) -> Writer:
    """A namespace with one backend."""
    created(admin, backend(), writer.namespace)
    return writer


def own(*containers: Manifest, **fields: Any) -> Manifest:
    """A pod whose ReplicaSet need not exist."""
    return pod(*containers, **fields)


def test_a_pod_that_asks_gets_the_sidecar_and_its_containers_the_environment(
    served: Writer, control_plane: ControlPlane
):
    found = served.write(own())
    assert (found.status, found.proxies) == (201, ["mimic-proxy"])
    env = {each["name"]: each.get("value") for each in found.answer["spec"]["containers"][0]["env"]}
    assert env["OPENAI_BASE_URL"] == "http://127.0.0.1:18480/v1"
    (sidecar,) = proxies_in(found.answer)
    assert ("restartPolicy" in sidecar) == (control_plane.minor >= 32), "native where all kubelets know it"
    mounted = [mount["mountPath"] for mount in sidecar["volumeMounts"]]
    assert mounted.count("/var/run/secrets/kubernetes.io/serviceaccount") == 1
    names = {volume["name"]: volume for volume in found.answer["spec"]["volumes"]}
    assert any("projected" in volume for volume in names.values()), "the application has lost its token"


def test_a_pod_that_came_out_goes_in_again_unchanged(served: Writer):
    once = served.write(own(name="first"))
    again = {**once.answer, "metadata": {**once.answer["metadata"], "name": "second"}, "status": {}}
    for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
        again["metadata"].pop(field, None)
    twice = served.write(again)
    assert (twice.status, twice.proxies) == (201, ["mimic-proxy"])
    assert twice.answer["spec"] == once.answer["spec"]


def test_pods_that_ask_for_nothing_never_reach_the_webhook(
    served: Writer, webhook: Webhook, control_plane: ControlPlane
):
    before = webhook.reviewed()
    assert served.write(own(name="asking")).proxies
    assert webhook.reviewed() > before
    silent = ({}, {"mimic.dev/inject": "false"}, {"mimic.dev/inject": "true", "mimic.dev/component": "proxy"})
    for number, labels in enumerate(silent):
        assert served.write(own(name=f"silent-{number}", labels=labels)).proxies == []
    assert control_plane.webhooks_called(served.namespace) == {
        "asking": {"pods.mimic.dev"},
        **{f"silent-{number}": set() for number in range(len(silent))},
    }


DENIED = {
    "UnknownBackend": (own(annotations={"mimic.dev/backend": "x"}), [backend()]),
    "NoBackend": (own(), []),
    "SeveralBackends": (own(), [backend(), backend("spare")]),
    "PortTaken": (own(container(ports=[{"containerPort": 9000}])), [backend(injection={"port": 9000})]),
    "HostNetwork": (own(hostNetwork=True), [backend()]),
    "BadAnnotation": (own(annotations={"mimic.dev/backend": "/"}), [backend()]),
    "NameTaken": (own(container("mimic-proxy")), [backend()]),
}


@pytest.mark.parametrize("word", DENIED)
def test_what_cannot_be_is_denied_with_its_word(word: str, writer: Writer, admin: httpx2.Client, webhook: Webhook):
    given, backends = DENIED[word]
    for each in backends:
        created(admin, each, writer.namespace)
    webhook.caught_up(admin)
    found = writer.write(given)
    assert (found.status, found.answer.get("reason")) == (403, "Forbidden"), found.answer
    assert f"Mimic, {word}: " in found.message
    assert 'admission webhook "pods.mimic.dev" denied the request' in found.message


def test_a_backend_without_a_revision_and_one_that_is_suspended_are_named(writer: Writer, admin: httpx2.Client):
    created(admin, backend(), writer.namespace, current=False)
    assert "Mimic, NotReconciled: " in writer.write(own()).message
    path = f"{backends_path(writer.namespace)}/corp"
    admin.patch(path, json={"spec": {"suspend": True}}, headers=MERGE).raise_for_status()
    eventually(lambda: "Mimic, SuspendedBackend: " in writer.write(own(), dry_run=True).message)


NO_PROXY_ELSEWHERE = container(env={"HTTP_PROXY": "http://proxy:3128"})
NO_PROXY_ELSEWHERE["env"].append(
    {"name": "NO_PROXY", "valueFrom": {"configMapKeyRef": {"name": "net", "key": "no", "optional": True}}}
)
WARNED: dict[str, Manifest] = {
    "EnvFrom": own(container(envFrom=[{"configMapRef": {"name": "more", "optional": True}}])),
    "NoProxyUnknown": own(NO_PROXY_ELSEWHERE),
    "RevisionMissing": own(annotations={"mimic.dev/revision": "mimic-corp-0"}),
    "OwnBaseUrl": own(container(env={"OPENAI_BASE_URL": "https://api.openai.com/v1"})),
    "OverrideIgnored": own(annotations={"mimic.dev/memory-limit": "1Gi"}),
    "BarePod": own(owner=None, name="bare"),
    "UnknownKey": own(annotations={"mimic.dev/bakcend": "corp"}),
    "Windows": own(os={"name": "windows"}),
    "MirrorPod": own(annotations={"kubernetes.io/config.mirror": "x"}, nodeName="node"),
    "BackendGone": own(
        labels={"mimic.dev/inject": "true", "mimic.dev/managed": "true"}, annotations={"mimic.dev/backend": "gone"}
    ),
}


@pytest.mark.parametrize("word", WARNED)
def test_what_somebody_should_know_comes_as_a_warning(word: str, served: Writer):
    found = served.write(WARNED[word])
    assert found.status == 201, found.message
    assert word in found.words
    assert bool(found.proxies) == (word not in ("Windows", "MirrorPod", "BackendGone"))


@pytest.mark.parametrize(
    "word", ["PortMoved", "NoProxyExtended", "InitContainersServed", "GeneratedName", "DryRun", "Injected"]
)
def test_a_dry_run_tells_all_of_it(word: str, writer: Writer, admin: httpx2.Client):
    created(admin, backend(injection={"native": "Always"}), writer.namespace)
    given = own(
        container(ports=[{"containerPort": 18480}], env={"HTTPS_PROXY": "http://proxy:3128"}),
        init=[container("migrate")],
    )
    found = writer.write(given, dry_run=True)
    assert found.status == 201, found.message
    assert word in found.words


def test_a_job_with_a_plain_sidecar_is_warned(writer: Writer, admin: httpx2.Client):
    created(admin, backend(injection={"native": "Never"}), writer.namespace)
    found = writer.write(own(owner="Job", init=[container("migrate")]))
    assert {"JobNeverEnds", "InitContainersUnserved"} <= found.words
    assert found.answer["spec"]["containers"][1]["name"] == "mimic-proxy"


def test_an_init_container_can_call_the_model_behind_a_native_sidecar(writer: Writer, admin: httpx2.Client):
    created(admin, backend(injection={"native": "Always"}), writer.namespace)
    found = writer.write(own(init=[container("migrate")])).answer["spec"]["initContainers"]
    assert [each["name"] for each in found] == ["mimic-proxy", "migrate"]
    assert "OPENAI_BASE_URL" in [each["name"] for each in found[1]["env"]]


def test_a_namespace_that_volunteers_its_pods_is_never_denied(writer: Writer):
    writer.label("mimic.dev/injection", "enabled")
    found = writer.write(own(labels={}))
    assert (found.status, found.proxies) == (201, [])
    assert "NoBackend" in found.words
    created(writer.admin, backend(), writer.namespace)
    assert writer.write(own(labels={})).proxies == ["mimic-proxy"]


def test_a_shared_proxy_of_another_namespace_is_pointed_at(writer: Writer, admin: httpx2.Client):
    other = f"{writer.namespace}-platform"
    admin.post("/api/v1/namespaces", json={"metadata": {"name": other}}).raise_for_status()
    created(admin, shared(), other)
    found = writer.write(own(annotations={"mimic.dev/backend": f"{other}/central"}))
    assert (found.status, found.proxies) == (201, [])
    env = {each["name"]: each.get("value") for each in found.answer["spec"]["containers"][0]["env"]}
    assert env["OPENAI_BASE_URL"] == f"http://mimic-central.{other}.svc/v1"


def test_the_api_server_finds_the_proxy_fit_for_a_restricted_namespace(served: Writer):
    served.label("pod-security.kubernetes.io/enforce", "restricted")
    samples = [
        own(container(securityContext=RESTRICTED)),
        own(container(securityContext=RESTRICTED), init=[container("migrate", securityContext=RESTRICTED)]),
    ]
    for each in samples:
        found = served.write(each)
        assert (found.status, found.proxies) == (201, ["mimic-proxy"]), found.message
    assert served.write(own()).status == 403, "it judges nothing"


def test_a_guaranteed_pod_stays_guaranteed(served: Writer):
    full = {"cpu": "1", "memory": "1Gi"}
    found = served.write(own(container(resources={"limits": full})))
    assert found.answer["status"]["qosClass"] == "Guaranteed"


SMALL = {"cpu": "50m", "memory": "64Mi"}


def test_a_pod_with_resources_of_its_own_is_still_valid_and_of_its_class(served: Writer):
    """Less than the proxy would ask for, as pods may have since Kubernetes 1.34."""
    found = served.write(own(resources={"limits": SMALL}), dry_run=True)
    assert (found.status, found.proxies) == (201, ["mimic-proxy"]), found.message
    if "resources" not in found.answer["spec"]:
        pytest.skip("this API server knows no resources of pods")
    assert "PodResources" in found.words
    assert found.answer["status"]["qosClass"] == "Guaranteed"


def test_a_revision_is_looked_up_by_a_name_and_never_by_a_path(served: Writer, admin: httpx2.Client):
    other = f"{served.namespace}-other"
    admin.post("/api/v1/namespaces", json={"metadata": {"name": other}}).raise_for_status()
    foreign = created(admin, backend("foreign"), other)
    path = f"../../{other}/controllerrevisions/{foreign.name}"
    found = served.write(own(annotations={"mimic.dev/revision": path}))
    assert (found.status, found.proxies) == (403, [])
    assert "Mimic, BadAnnotation: " in found.message


def test_two_defaults_are_refused_when_written_and_named_when_met(
    writer: Writer, admin: httpx2.Client, webhook: Webhook
):
    created(admin, backend(injection={"default": True}), writer.namespace)
    second = backend("spare", injection={"default": True})
    second["metadata"] = {"name": "spare"}
    path = backends_path(writer.namespace)

    def refused() -> httpx2.Response | None:
        answer = admin.post(path, json=second, params={"dryRun": "All"})
        return None if answer.status_code == 201 else answer

    answer = eventually(refused)
    assert answer is not None
    assert answer.status_code == 403
    assert "corp is the default of the namespace" in answer.json()["message"]
    admin.delete("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/mimic")
    try:
        eventually(lambda: admin.post(path, json=second).status_code == 201)
    finally:
        registered(admin, webhook)
    eventually(lambda: "Mimic, TwoDefaults: " in writer.write(own(), dry_run=True).message)


@pytest.mark.skipif(not has_controllers(), reason="no kube-controller-manager beside kube-apiserver")
def test_the_pods_of_a_deployment_get_it_and_an_event_there_says_so(served: Writer, admin: httpx2.Client):
    apps = f"/apis/apps/v1/namespaces/{served.namespace}/deployments"
    labels = {"app": "web", "mimic.dev/inject": "true"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container()]}}
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    served.write(own(), dry_run=True)
    admin.post(apps, json={"metadata": {"name": "web"}, "spec": spec}).raise_for_status()
    events = f"/api/v1/namespaces/{served.namespace}/events"
    found = eventually(lambda: admin.get(events, params={"fieldSelector": "reason=Injected"}).json()["items"])
    assert [(each["involvedObject"]["kind"], each["involvedObject"]["name"]) for each in found] == [
        ("Deployment", "web")
    ]
    assert "The proxy for the backend corp was added" in found[0]["message"]

    def all_three() -> list[Any]:
        found: list[Any] = admin.get(f"/api/v1/namespaces/{served.namespace}/pods").json()["items"]
        return found if len(found) == spec["replicas"] else []

    # Those that came later would be counted while another test counts its own.
    pods = eventually(all_three)
    assert [len(proxies_in(each)) for each in pods] == [1, 1, 1]


@pytest.mark.skipif(not has_controllers(), reason="no kube-controller-manager beside kube-apiserver")
def test_a_deployment_that_is_denied_shows_why(writer: Writer, admin: httpx2.Client):
    apps = f"/apis/apps/v1/namespaces/{writer.namespace}/deployments"
    labels = {"app": "web", "mimic.dev/inject": "true"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container()]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    admin.post(apps, json={"metadata": {"name": "web"}, "spec": spec}).raise_for_status()
    texts = eventually(lambda: _failures(admin.get(f"{apps}/web").json()))
    assert any("Mimic, NoBackend: The namespace" in text for text in texts)


def _failures(deployment: dict[str, Any]) -> list[str]:
    conditions = deployment.get("status", {}).get("conditions") or ()
    return [each["message"] for each in conditions if each["type"] == "ReplicaFailure"]


def test_a_container_that_another_webhook_adds_later_gets_the_environment(served: Writer, admin: httpx2.Client):
    agent = {"name": "agent", "image": "registry.example.com/agent:1"}

    def add(given: Manifest) -> list[dict[str, Any]]:
        there = [each["name"] for each in given["spec"]["containers"]]
        return [] if "agent" in there else [{"op": "add", "path": "/spec/containers/-", "value": agent}]

    with later_webhook(admin, served.namespace, add):
        found = eventually(lambda: _with(served, "agent"))
    assert found.proxies == ["mimic-proxy"]
    # Where sidecars are not native, the proxy stands among the containers.
    containers = [each for each in found.answer["spec"]["containers"] if each["name"] != "mimic-proxy"]
    env = [{entry["name"]: entry.get("value") for entry in each["env"]} for each in containers]
    assert [each["OPENAI_BASE_URL"] for each in env] == ["http://127.0.0.1:18480/v1"] * 2


def test_a_restart_policy_that_another_webhook_strips_is_put_back_and_told(
    served: Writer, admin: httpx2.Client, webhook: Webhook, control_plane: ControlPlane
):
    if control_plane.minor < 32:
        pytest.skip("sidecars are native from 1.32 on")

    def strip(given: Manifest) -> list[dict[str, Any]]:
        init = given["spec"].get("initContainers") or [{}]
        stripped = "restartPolicy" not in init[0]
        return [] if stripped else [{"op": "remove", "path": "/spec/initContainers/0/restartPolicy"}]

    with later_webhook(admin, served.namespace, strip):
        found = eventually(lambda: _told(served, "RestartPolicyRestored"))
    assert found.answer["spec"]["initContainers"][0]["restartPolicy"] == "Always"


def _with(writer: Writer, name: str) -> Written | None:
    """The API server learns of a new configuration a moment later."""
    found = writer.write(own())
    return found if name in [each["name"] for each in found.answer["spec"]["containers"]] else None


def _told(writer: Writer, word: str) -> Written | None:
    found = writer.write(own())
    return found if word in found.words else None


def test_the_reasons_are_counted(served: Writer, webhook: Webhook):
    key = ("mimic_operator_admissions_total", "Injected", "label", "admitted")
    before = webhook.metrics().get(key, 0.0)
    served.write(own())
    assert webhook.metrics()[key] == before + 1
    assert webhook.metrics()["mimic_operator_admission_duration_seconds_count", "pods"] >= 1


def test_with_the_webhook_down_those_that_ask_are_refused_and_all_others_start(served: Writer, webhook: Webhook):
    assert webhook.stop() == 0
    try:
        asking = served.write(own())
        assert asking.status == 500
        assert 'failed calling webhook "pods.mimic.dev"' in asking.message
        assert served.write(own(labels={})).status == 201
    finally:
        webhook.start()
    assert served.write(own()).proxies == ["mimic-proxy"]


def test_it_decides_though_the_api_server_was_away(
    served: Writer, control_plane: ControlPlane, webhook: Webhook, admin: httpx2.Client
):
    control_plane.restart_apiserver()
    assert served.write(own()).proxies == ["mimic-proxy"]
    # What goes while its watch is cut it learns of from a list, a minute later: the next test would wait for that.
    created(admin, backend("later"), served.namespace)
    webhook.caught_up(admin)
