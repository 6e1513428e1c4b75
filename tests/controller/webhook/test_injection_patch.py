"""The shape of the pod that comes out, and what is noted on the way."""

from typing import Any

import pytest

from fakes.injection import SHOP, admit
from fakes.manifests import backend, container, pod, shared
from fakes.restricted import violations
from mimic_operator.webhook.decide import Namespace, Request

CORP = backend()
URL = "http://127.0.0.1:18480/v1"
OLD = Request(namespace=SHOP, server=(1, 31))
ASKED_BY_NAMESPACE = Request(namespace=SHOP, trigger="namespace")
FULL = {"cpu": "500m", "memory": "512Mi"}
SIDECAR = {"name": "vault", "image": "vault", "restartPolicy": "Always"}
CENTRAL = {"mimic.dev/backend": "platform/central"}


def names(found: dict[str, Any], field: str) -> list[str]:
    return [each["name"] for each in found["spec"].get(field, ())]


def test_containers_are_told_where_the_api_is():
    assert admit(pod(), CORP).env() == {"OPENAI_BASE_URL": URL, "OPENAI_API_BASE": URL, "OPENAI_API_KEY": "mimic"}


def test_what_the_user_has_set_stays():
    given = container(env={"OPENAI_BASE_URL": "https://api.openai.com/v1"})
    given["env"].append({"name": "OPENAI_API_KEY", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "k"}}})
    found = admit(pod(given), CORP)
    assert found.container("web")["env"][:2] == given["env"]
    assert found.env()["OPENAI_API_BASE"] == URL
    assert "EnvKept" in found.words


def test_always_replaces_in_place_and_none_leaves_all():
    given = container(env={"OPENAI_API_KEY": "sk", "X": "1"})
    always = admit(pod(given), backend(injection={"env": {"mode": "Always"}}))
    assert always.container("web")["env"][:2] == [{"name": "OPENAI_API_KEY", "value": "mimic"}, given["env"][1]]
    given["env"].append({"name": "HTTP_PROXY", "value": "http://proxy:3128"})
    none = admit(pod(given), backend(injection={"env": {"mode": "None"}}))
    assert none.container("web") == given


def test_extra_variables_come_too_unless_they_are_there():
    extra = {"env": {"names": ["OPENAI_BASE_URL"], "extra": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}}
    found = admit(pod(container(env={"B": "mine"})), backend(injection=extra))
    assert found.env() == {"B": "mine", "OPENAI_BASE_URL": URL, "A": "1"}


@pytest.mark.parametrize(("chosen", "told"), [({"include": ["a"]}, {"a"}), ({"exclude": ["a"]}, {"b"})])
def test_containers_are_chosen_by_name(chosen: dict[str, Any], told: set[str]):
    found = admit(pod(container("a"), container("b")), backend(injection={"containers": chosen}))
    assert {name for name in ("a", "b") if found.env(name)} == told


def test_it_is_said_if_no_container_is_chosen():
    assert "NoContainers" in admit(pod(), backend(injection={"containers": {"include": ["x"]}})).words


def test_the_mesh_s_own_containers_are_left_alone():
    found = admit(pod(container(), container("istio-proxy")), CORP)
    assert found.env("istio-proxy") == {}


def test_env_from_is_warned_of():
    found = admit(pod(container(envFrom=[{"secretRef": {"name": "x"}}])), CORP)
    (told,) = [each for each in found.decision.notes if each.word == "EnvFrom"]
    assert told.warns
    assert "OPENAI_BASE_URL" in told.sentence


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
def test_calls_to_the_sidecar_do_not_go_through_an_http_proxy(variable: str):
    found = admit(pod(container(env={variable: "http://proxy:3128"})), CORP)
    hosts = "127.0.0.1,localhost,::1"
    assert (found.env()["NO_PROXY"], found.env()["no_proxy"]) == (hosts, hosts)
    assert "NoProxyExtended" in found.words


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "127.0.0.1,localhost,::1"),
        (".corp, 127.0.0.1", ".corp,127.0.0.1,localhost,::1"),
        ("*", "*"),
        ("::1,localhost,127.0.0.1", "::1,localhost,127.0.0.1"),
    ],
)
def test_no_proxy_keeps_what_it_holds(before: str, after: str):
    found = admit(pod(container(env={"HTTP_PROXY": "http://proxy", "NO_PROXY": before})), CORP)
    assert found.env()["NO_PROXY"] == after
    assert "no_proxy" not in found.env()


def test_a_no_proxy_that_cannot_be_read_is_left_and_told():
    reference = {"name": "NO_PROXY", "valueFrom": {"configMapKeyRef": {"name": "net", "key": "no"}}}
    given = container(env={"HTTP_PROXY": "http://proxy"})
    given["env"].append(reference)
    found = admit(pod(given), CORP)
    assert found.env()["NO_PROXY"] == reference["valueFrom"]
    assert "NoProxyUnknown" in found.words


def test_an_http_proxy_in_env_from_is_passed_by_too():
    """The kubelet puts what envFrom says of NO_PROXY in the place of the reference."""
    found = admit(pod(container(envFrom=[{"configMapRef": {"name": "net"}}])), CORP)
    wanted = "$(NO_PROXY),$(no_proxy),127.0.0.1,localhost,::1"
    assert (found.env()["NO_PROXY"], found.env()["no_proxy"]) == (wanted, wanted)
    assert admit(found.pod, CORP).operations == []


def test_a_no_proxy_of_other_variables_is_extended():
    given = container(env={"HTTP_PROXY": "http://proxy", "NO_PROXY": "$(CORP),.local"})
    assert admit(pod(given), CORP).env()["NO_PROXY"] == "$(CORP),.local,127.0.0.1,localhost,::1"


@pytest.mark.parametrize(
    ("env", "word", "warns"),
    [
        ({"OPENAI_BASE_URL": "https://api.openai.com/v1"}, "OwnBaseUrl", True),
        ({"OPENAI_API_KEY": "x"}, "EnvKept", False),
    ],
)
def test_an_application_with_its_own_base_url_is_warned_of(env: dict[str, str], word: str, warns: bool):
    found = admit(pod(container(env=env)), CORP)
    (told,) = [each for each in found.decision.notes if each.word in ("OwnBaseUrl", "EnvKept")]
    assert (told.word, told.warns) == (word, warns)
    assert next(iter(env)) in told.sentence


def test_pods_carry_a_label_that_says_what_became_of_them():
    sidecar, pointed = (
        admit(pod(labels={}), CORP, request=ASKED_BY_NAMESPACE),
        admit(pod(annotations=CENTRAL), shared()),
    )
    assert sidecar.pod["metadata"]["labels"] == {"mimic.dev/injected": "sidecar"}
    assert "mimic.dev/url" not in sidecar.pod["metadata"]["annotations"]
    assert pointed.pod["metadata"]["labels"] == {"mimic.dev/inject": "true", "mimic.dev/injected": "pointed"}
    assert pointed.pod["metadata"]["annotations"]["mimic.dev/url"] == "http://mimic-central.platform.svc/v1"
    denied = admit(pod(labels={}), request=ASKED_BY_NAMESPACE)
    assert denied.pod["metadata"]["labels"] == {"mimic.dev/injected": "none"}
    assert admit(denied.pod, request=ASKED_BY_NAMESPACE).operations == []


def test_a_container_that_another_webhook_added_gets_the_environment_once():
    """The API server calls again after a later webhook has changed the pod (reinvocationPolicy IfNeeded)."""
    once = admit(pod(init=[container("migrate")]), CORP).pod
    once["spec"]["containers"].append(container("agent", env={"HTTP_PROXY": "http://proxy"}))
    once["spec"]["initContainers"].append(container("fetch"))
    found = admit(once, CORP)
    assert (found.reason, found.decision.verdict) == ("EnvironmentAdded", "admitted")
    assert "agent" in found.decision.sentence
    assert {found.env(name)["OPENAI_BASE_URL"] for name in ("agent", "fetch", "web")} == {URL}
    assert found.env("agent")["NO_PROXY"] == "127.0.0.1,localhost,::1"
    assert {each["path"] for each in found.operations} == {
        "/spec/containers/1/env/1",
        "/spec/containers/1/env/2",
        "/spec/containers/1/env/3",
        "/spec/containers/1/env/4",
        "/spec/containers/1/env/5",
        "/spec/initContainers/2/env",
    }
    assert admit(found.pod, CORP).reason == "AlreadyInjected"
    assert admit(found.pod, CORP).operations == []


def test_a_later_container_gets_the_port_that_the_sidecar_has():
    busy = pod(container(ports=[{"containerPort": 18480}]))
    once = admit(busy, CORP).pod
    once["spec"]["containers"].append(container("agent"))
    assert admit(once, CORP).env("agent")["OPENAI_BASE_URL"] == "http://127.0.0.1:18482/v1"


def test_a_backend_that_went_in_between_leaves_the_pod_as_it_is():
    once = admit(pod(), CORP).pod
    once["spec"]["containers"].append(container("agent"))
    found = admit(once)
    assert (found.reason, found.operations) == ("AlreadyInjected", [])


def test_a_restart_policy_that_another_webhook_strips_is_put_back_and_reported():
    """Without it the init container never ends, and the pod never starts."""
    once = admit(pod(init=[SIDECAR]), CORP).pod
    del once["spec"]["initContainers"][1]["restartPolicy"]
    found = admit(once, CORP)
    assert (found.reason, found.decision.verdict) == ("RestartPolicyRestored", "warned")
    assert found.operations == [{"op": "add", "path": "/spec/initContainers/1/restartPolicy", "value": "Always"}]
    assert admit(found.pod, CORP).reason == "AlreadyInjected"


def test_the_mesh_s_own_init_container_is_nothing_to_warn_of():
    request = Request(namespace=Namespace("shop", {"istio-injection": "enabled"}))
    assert "MeshInitContainers" not in admit(pod(init=[container("istio-init")]), CORP, request=request).words
    both = admit(pod(init=[container("istio-init"), container("migrate")]), CORP, request=request)
    (told,) = [each.sentence for each in both.decision.notes if each.word == "MeshInitContainers"]
    assert "migrate" in told
    assert "istio-init" not in told


def test_a_shared_proxy_is_kept_out_of_the_http_proxy_too():
    found = admit(pod(container(env={"HTTP_PROXY": "http://proxy"}), annotations=CENTRAL), shared())
    assert found.env()["NO_PROXY"] == "mimic-central.platform.svc"


def test_native_ones_stand_in_front_of_all_that_ends_and_behind_other_sidecars():
    given = pod(init=[SIDECAR, container("migrate"), {**SIDECAR, "name": "late"}])
    found = admit(given, CORP)
    assert names(found.pod, "initContainers") == ["vault", "mimic-proxy", "migrate", "late"]
    assert names(found.pod, "containers") == ["web"]
    assert found.container()["restartPolicy"] == "Always"
    assert "lifecycle" not in found.container()


def test_init_containers_behind_a_native_one_can_call_the_model():
    found = admit(pod(init=[SIDECAR, container("migrate")]), CORP)
    assert found.env("migrate")["OPENAI_BASE_URL"] == URL
    assert found.env("vault") == {}
    assert "InitContainersServed" in found.words


@pytest.mark.parametrize(
    ("native", "server", "is_native"),
    [
        ("Auto", (1, 32), True),
        ("Auto", (1, 31), False),
        ("Always", (1, 29), True),
        ("Never", (1, 35), False),
        ("Auto", (2, 0), True),
    ],
)
def test_native_sidecars_follow_the_version_of_the_server(native: str, server: tuple[int, int], is_native: bool):
    found = admit(pod(), backend(injection={"native": native}), request=Request(namespace=SHOP, server=server))
    assert ("mimic-proxy" in names(found.pod, "initContainers")) is is_native


def test_a_plain_one_is_never_the_first_container_and_drains_before_it_ends():
    found = admit(pod(init=[container("migrate")]), CORP, request=OLD)
    assert names(found.pod, "containers") == ["web", "mimic-proxy"]
    assert found.container()["lifecycle"]["preStop"]["exec"]["command"] == ["mimic-proxy", "quit"]
    assert found.env("migrate") == {}
    assert "InitContainersUnserved" in found.words


ENDING = [pod(owner="Job"), pod(owner="Workflow", restartPolicy="Never"), pod(owner=None, restartPolicy="OnFailure")]


@pytest.mark.parametrize(("request_", "warned"), [(OLD, True), (Request(namespace=SHOP), False)])
@pytest.mark.parametrize("given", ENDING, ids=["Job", "Workflow", "bare"])
def test_what_is_meant_to_end_is_warned_of_a_plain_sidecar_that_goes_on(
    given: dict[str, Any], request_: Request, warned: bool
):
    assert ("JobNeverEnds" in admit(given, CORP, request=request_).words) is warned
    assert "JobNeverEnds" not in admit(pod(restartPolicy="Always"), CORP, request=request_).words


USES = {
    "containerPort": {"ports": [{"containerPort": 18480}]},
    "hostPort": {"ports": [{"containerPort": 80, "hostPort": 18480}]},
    "liveness": {"livenessProbe": {"httpGet": {"port": 18480}}},
    "readiness": {"readinessProbe": {"tcpSocket": {"port": "18480"}}},
    "startup": {"startupProbe": {"grpc": {"port": 18480}}},
    "preStop": {"lifecycle": {"preStop": {"httpGet": {"port": 18480}}}},
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("init", [False, True])
def test_the_usual_port_moves_where_something_uses_it(use: dict[str, Any], init: bool):
    user = container("user", **use)
    found = admit(pod(container(), init=[user]) if init else pod(user, container()), CORP)
    assert found.env()["OPENAI_BASE_URL"] == "http://127.0.0.1:18482/v1"
    assert found.env("mimic-proxy")["PORT"] == "18482"
    assert found.pod["metadata"]["annotations"]["mimic.dev/port"] == "18482"
    assert "PortMoved" in found.words


def test_both_ports_move_without_meeting():
    busy = container(ports=[{"containerPort": port} for port in (18480, 18481, 18483)])
    env = admit(pod(busy), CORP).env("mimic-proxy")
    assert (env["PORT"], env["ADMIN_PORT"]) == ("18482", "18484")


def test_a_port_that_was_chosen_is_never_given_to_the_other():
    found = admit(pod(container(ports=[{"containerPort": 18480}])), backend(injection={"adminPort": 18482}))
    env = found.env("mimic-proxy")
    assert (env["PORT"], env["ADMIN_PORT"]) == ("18481", "18482")


def test_the_proxy_alone_has_no_way_to_the_api_server():
    mounts = {mount["mountPath"]: mount for mount in admit(pod(), CORP).container()["volumeMounts"]}
    hidden = mounts["/var/run/secrets/kubernetes.io/serviceaccount"]
    assert hidden["readOnly"]
    volumes = {volume["name"]: volume for volume in admit(pod(), CORP).pod["spec"]["volumes"]}
    assert "emptyDir" in volumes[hidden["name"]]


def test_a_pod_of_the_class_guaranteed_stays_in_it():
    full = container(resources={"requests": FULL, "limits": FULL})
    found = admit(pod(full), CORP)
    resources = found.container()["resources"]
    assert resources["requests"] == resources["limits"] == {"cpu": "250m", "memory": "256Mi"}
    assert "Guaranteed" in found.words
    partly = admit(pod(full, container("b")), CORP)
    assert "cpu" not in partly.container()["resources"]["limits"]


def test_one_cpu_is_a_thousand_millicores():
    mixed = container(
        resources={"requests": {"cpu": "1000m", "memory": "1Gi"}, "limits": {"cpu": 1, "memory": "1024Mi"}}
    )
    assert "Guaranteed" in admit(pod(mixed), CORP).words


def test_an_exponent_is_an_amount_too():
    same = container(resources={"requests": {"cpu": "1e0", "memory": "1e9"}, "limits": {"cpu": 1, "memory": "1000M"}})
    assert "Guaranteed" in admit(pod(same), CORP).words


def test_a_proxy_that_asks_for_more_cpu_keeps_it_in_a_guaranteed_pod():
    greedy = backend(proxy={"resources": {"requests": {"cpu": "500m"}}})
    found = admit(pod(container(resources={"limits": FULL})), greedy)
    assert found.container()["resources"]["limits"]["cpu"] == "500m"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"limits": {"cpu": "1", "memory": "128Mi"}}, {"requests": {}, "limits": {}}),
        ({"requests": {"cpu": "50m"}}, {"requests": {"memory": "96Mi"}, "limits": {"memory": "256Mi"}}),
    ],
)
def test_the_resources_of_a_whole_pod_hold_for_the_proxy_too(given: dict[str, Any], left: dict[str, Any]):
    found = admit(pod(container(resources={"limits": FULL}), resources=given), CORP)
    assert found.container()["resources"] == left
    assert "PodResources" in found.words
    assert "Guaranteed" not in found.words


@pytest.mark.parametrize("port", ["\u00b2", "9" * 5000, "http", ""], ids=["power", "long", "name", "empty"])
def test_a_port_that_is_no_number_is_no_port(port: str):
    assert admit(pod(container(livenessProbe={"httpGet": {"port": port}})), CORP).reason == "Injected"


def test_streams_end_within_the_grace_of_the_pod():
    short = admit(pod(terminationGracePeriodSeconds=10), CORP)
    assert short.env("mimic-proxy")["DRAIN_TIMEOUT"] == "7"
    assert "DRAIN_TIMEOUT" not in admit(pod(terminationGracePeriodSeconds=60), CORP).env("mimic-proxy")
    assert admit(pod(terminationGracePeriodSeconds=0), CORP).env("mimic-proxy")["DRAIN_TIMEOUT"] == "1"
    long = backend(proxy={"drainTimeout": "10m"})
    assert admit(pod(), long).env("mimic-proxy")["DRAIN_TIMEOUT"] == "27", "30 s is what Kubernetes gives by default"
    assert "DRAIN_TIMEOUT" not in admit(pod(terminationGracePeriodSeconds=610), long).env("mimic-proxy")


def test_annotations_say_what_is_in_the_pod():
    found = admit(pod(), CORP).pod["metadata"]["annotations"]
    assert found["mimic.dev/backend"] == "corp"
    assert found["mimic.dev/revision"] == f"mimic-corp-{found['mimic.dev/template-hash']}"
    assert found["kubectl.kubernetes.io/default-container"] == "web"
    assert found["prometheus.io/port"] == "18481"
    assert "mimic.dev/port" not in found


def test_annotations_of_the_user_stay():
    given = {"kubectl.kubernetes.io/default-container": "b", "prometheus.io/scrape": "false", "a~b/c": "d"}
    found = admit(pod(annotations=given), CORP).pod["metadata"]["annotations"]
    assert given.items() <= found.items()
    assert "prometheus.io/port" not in found


MESHES = {
    "istio by label": (
        Request(namespace=SHOP),
        {"sidecar.istio.io/inject": "true"},
        "traffic.sidecar.istio.io/excludeInboundPorts",
    ),
    "istio by namespace": (
        Request(namespace=Namespace("shop", {"istio-injection": "enabled"})),
        {},
        "traffic.sidecar.istio.io/excludeInboundPorts",
    ),
    "istio by revision": (
        Request(namespace=Namespace("shop", {"istio.io/rev": "x"})),
        {},
        "traffic.sidecar.istio.io/excludeInboundPorts",
    ),
    "linkerd by pod": (
        Request(namespace=SHOP),
        {"linkerd.io/inject": "enabled"},
        "config.linkerd.io/skip-inbound-ports",
    ),
    "linkerd by namespace": (
        Request(namespace=Namespace("shop", {}, {"linkerd.io/inject": "enabled"})),
        {},
        "config.linkerd.io/skip-inbound-ports",
    ),
}


@pytest.mark.parametrize(("request_", "given", "key"), MESHES.values(), ids=MESHES)
def test_a_mesh_leaves_the_admin_port_alone(request_: Request, given: dict[str, str], key: str):
    found = admit(pod(annotations={**given, key: "9000"}), CORP, request=request_)
    assert found.pod["metadata"]["annotations"][key] == "9000,18481"
    again = admit(pod(annotations={**given, key: "18481, 9000"}), CORP, request=request_)
    assert again.pod["metadata"]["annotations"][key] == "18481, 9000"


def test_the_ports_that_a_namespace_keeps_out_of_linkerd_stay_out():
    key = "config.linkerd.io/skip-inbound-ports"
    place = Namespace("shop", {}, {"linkerd.io/inject": "enabled", key: "9000"})
    found = admit(pod(), CORP, request=Request(namespace=place)).pod["metadata"]["annotations"]
    assert found[key] == "9000,18481"
    own = admit(pod(annotations={key: "1"}), CORP, request=Request(namespace=place)).pod["metadata"]["annotations"]
    assert own[key] == "1,18481"


def test_without_a_mesh_no_mesh_is_told_anything():
    found = admit(
        pod(annotations={"sidecar.istio.io/inject": "false"}),
        CORP,
        request=Request(namespace=Namespace("shop", {"istio-injection": "enabled"})),
    )
    assert "traffic.sidecar.istio.io/excludeInboundPorts" not in found.pod["metadata"]["annotations"]


def test_a_shared_proxy_brings_no_container_volume_or_secret():
    found = admit(pod(annotations=CENTRAL), shared())
    assert {each["path"].split("/")[2] for each in found.operations} == {"containers", "labels", "annotations"}
    assert "volumes" not in found.pod["spec"]
    assert names(found.pod, "containers") == ["web"]
    assert found.env()["OPENAI_BASE_URL"] == "http://mimic-central.platform.svc/v1"


@pytest.mark.parametrize(("text", "key"), [("mine", "OPENAI_API_KEY"), ("mine/token", "token")])
def test_a_shared_proxy_gets_the_caller_s_key_from_a_secret_of_the_pod_s_namespace(text: str, key: str):
    guarded = shared(clientAuth={"keysSecretRef": {"name": "keys"}}, access="Protected")
    found = admit(pod(annotations={**CENTRAL, "mimic.dev/client-key-secret": text}), guarded)
    assert found.env()["OPENAI_API_KEY"] == {"secretKeyRef": {"name": "mine", "key": key}}


def test_pull_secrets_are_added_once():
    private = backend(proxy={"imagePullSecrets": [{"name": "a"}, {"name": "b"}]})
    found = admit(pod(imagePullSecrets=[{"name": "a"}]), private)
    assert found.pod["spec"]["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"owner": None}, "BarePod"),
        ({}, "GeneratedName"),
        ({"annotations": {"mimic.dev/bakcend": "x"}}, "UnknownKey"),
        ({"labels": {"mimic.dev/inject": "true", "mimic.dev/Port": "1"}}, "UnknownKey"),
    ],
)
def test_circumstances_are_noted(given: dict[str, Any], word: str):
    assert word in admit(pod(**given), CORP).words
    assert word not in admit(pod(name="web-1"), CORP).words


def test_a_misspelt_annotation_gets_a_suggestion():
    found = admit(pod(annotations={"mimic.dev/bakcend": "x"}), CORP)
    (told,) = [each.sentence for each in found.decision.notes if each.word == "UnknownKey"]
    assert told.startswith("Annotation mimic.dev/bakcend is unknown to this version of Mimic")
    assert told.endswith("Did you mean mimic.dev/backend?")


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({"annotations": {"mimic.dev/inject": "true"}}, "Set it as a label."),
        ({"labels": {"mimic.dev/inject": "true", "mimic.dev/backend": "corp"}}, "Set it as an annotation."),
        ({"annotations": {"mimic.dev/template-hash": "x"}}, "Mimic writes it itself."),
        ({"labels": {"mimic.dev/inject": "true", "mimic.dev/injection": "enabled"}}, "on pods it is mimic.dev/inject."),
        ({"annotations": {"mimic.dev/colour": "red"}}, ""),
    ],
)
def test_a_key_in_the_wrong_place_is_told_where_it_belongs(given: dict[str, Any], remedy: str):
    found = admit(pod(**given), CORP)
    (told,) = [each for each in found.decision.notes if each.word == "UnknownKey"]
    assert told.warns
    assert told.sentence.endswith(remedy)


def test_what_the_webhook_wrote_itself_is_no_unknown_key():
    busy = pod(container(ports=[{"containerPort": 18480}]))
    again = admit(admit(busy, CORP).pod, CORP)
    assert again.reason == "AlreadyInjected"
    assert "UnknownKey" not in again.words


def test_an_annotation_never_tells_another_port_than_the_proxy_s():
    found = admit(pod(annotations={"mimic.dev/port": "9000"}), CORP)
    assert found.pod["metadata"]["annotations"]["mimic.dev/port"] == "18480"
    assert "OverrideIgnored" in found.words


def test_a_dry_run_is_noted():
    assert "DryRun" in admit(pod(), CORP, request=Request(namespace=SHOP, dry_run=True)).words


def test_the_proxy_fits_a_restricted_namespace():
    assert violations(admit(pod(), CORP).pod, only="mimic-proxy") == []
    assert violations(pod()) != []
