"""What holds for every pod and backend: 10,000 pods and 1,000 pairs of backends, 40 pods to an example."""

import json
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fakes.injection import SHOP, Cluster
from fakes.manifests import Manifest, backend, container, pod, shared
from fakes.restricted import violations
from mimic_operator.webhook.decide import Namespace, Request

PARTS, EXAMPLES, CLUSTERS, PODS = 5, 50, 4, 10
PORTS = [80, 8000, 18480, 18481, 18482, 18483, 18499]
VARIABLES = ["OPENAI_BASE_URL", "OPENAI_API_KEY", "HTTP_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "PATH", "X"]
VALUES = ["", "x", "a,b", "127.0.0.1", "$(X)", "*", "::1, localhost"]
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


OVERRIDES = {
    "mimic.dev/cpu-request": ["100m", "many"],
    "mimic.dev/cpu-limit": ["2", "10m"],
    "mimic.dev/memory-limit": ["1Gi", "64Mi", "1Mi"],
    "mimic.dev/log-level": ["DEBUG", "loud"],
    "mimic.dev/admin-port": ["9001", "18480", "http"],
}


@dataclass(frozen=True, slots=True)
class Maker:
    """Pods and backends by chance. Hypothesis draws the seeds alone: it is twenty times slower at the rest."""

    random: Random

    def rarely(self) -> bool:
        return self.random.random() < 0.25

    def some(self, of: list[Any], most: int) -> list[Any]:
        return [self.random.choice(of) for _ in range(self.random.randint(0, most))]

    def container(self, name: str) -> Manifest:
        found = container(name, securityContext=RESTRICTED)
        reference = {"secretKeyRef": {"name": "s", "key": "k"}}
        entries = [
            {"name": variable} | ({"valueFrom": reference} if self.rarely() else {"value": self.random.choice(VALUES)})
            for variable in self.some(VARIABLES, 4)
        ]
        if entries or self.rarely():
            found["env"] = entries
        if self.rarely():
            found["envFrom"] = [{"configMapRef": {"name": "more"}}]
        if self.rarely():
            found["ports"] = [{"containerPort": port} for port in set(self.some(PORTS, 3))]
        if self.rarely():
            found["livenessProbe"] = {"httpGet": {"port": self.random.choice([*PORTS, "http"])}}
        if self.rarely():
            found["resources"] = {"limits": {"cpu": "1", "memory": "1Gi"}}
        return found

    def pod(self) -> Manifest:
        main = [self.container(f"c{number}") for number in range(self.random.randint(1, 3))]
        init = [self.container(f"i{number}") for number in range(self.random.randint(0, 3))]
        init = [each | ({"restartPolicy": "Always"} if self.rarely() else {}) for each in init]
        keys = ["mimic.dev/backend", "a/b~c", "prometheus.io/port", "sidecar.istio.io/inject"]
        values = ["corp", "platform/central", "true", "gone"]
        annotations = {key: self.random.choice(values) for key in self.some(keys, 2)}
        for key in self.some(list(OVERRIDES), 2) if self.rarely() else ():
            annotations[key] = self.random.choice(OVERRIDES[key])
        spec: Manifest = {}
        if self.rarely():
            spec["volumes"] = [{"name": self.random.choice(["data", "data", "mimic-run"]), "emptyDir": {}}]
        if self.rarely():
            spec["imagePullSecrets"] = [{"name": "pull"}]
        if self.rarely():
            spec["resources"] = {"limits": {self.random.choice(["cpu", "memory"]): "1Gi"}}
        if self.rarely():
            spec["terminationGracePeriodSeconds"] = self.random.choice([0, 5, 300])
        owner = self.random.choice([None, "ReplicaSet", "Job"])
        return pod(*main, init=init, annotations=annotations or None, owner=owner, **spec)

    def backends(self) -> list[Manifest]:
        names = sorted(set(self.some([*VARIABLES[:3], "NO_PROXY", "MODEL_KEY"], 3)))
        injection: Manifest = {"env": {"names": names, "mode": self.random.choice(["IfAbsent", "IfAbsent", "None"])}}
        injection["native"] = self.random.choice(["Auto", "Always", "Never"])
        injection["readiness"] = self.random.choice(["None", "Process", "Token"])
        if self.rarely():
            injection["overrides"] = sorted(set(self.some(["Resources", "LogLevel", "Ports"], 3)))
        if self.rarely():
            injection["port"] = self.random.choice([8000, 18482, 20000])
        if self.rarely():
            injection["containers"] = {self.random.choice(["include", "exclude"]): ["c0"]}
        proxy: Manifest = {}
        if self.rarely():
            proxy = {"imagePullSecrets": [{"name": "pull"}, {"name": "other"}], "resources": {"limits": {"cpu": "1"}}}
        central = shared()
        central["spec"]["injection"] = {"env": injection["env"]}
        return [backend(injection=injection, proxy=proxy), central]

    def request(self) -> Request:
        places = [SHOP, Namespace("shop", {"istio-injection": "enabled"})]
        return Request(
            namespace=self.random.choice(places),
            trigger=self.random.choice(["label", "namespace"]),
            server=self.random.choice([(1, 29), (1, 35)]),
        )


def original_of(entry: Manifest, before: Manifest) -> Manifest:
    """NO_PROXY may be longer than it was; nothing else may have changed."""
    if entry["name"].upper() != "NO_PROXY":
        return entry
    parts = [part.strip() for part in before.get("value", "").split(",") if part.strip()]
    assert set(parts) <= {part.strip() for part in entry.get("value", "").split(",")}
    return before


def without_ours(before: Manifest, after: Manifest) -> Manifest:
    """The pod that came out, without all that may have been added."""
    left = json.loads(json.dumps(after))
    spec, given = left["spec"], before["spec"]
    for field in ("initContainers", "containers"):
        spec[field] = [each for each in spec.get(field, ()) if each["name"] != "mimic-proxy"]
        for each, was in zip(spec[field], given.get(field, ()), strict=True):
            kept = each.get("env", [])[: len(was.get("env", ()))]
            each.pop("env", None)
            if "env" in was:
                each["env"] = [original_of(entry, of) for entry, of in zip(kept, was["env"], strict=True)]
        if field not in given:
            assert spec.pop(field) == []
    for field in ("volumes", "imagePullSecrets"):
        spec[field] = spec.get(field, [])[: len(given.get(field, ()))]
        if field not in given:
            del spec[field]
    assert left["metadata"]["labels"].pop("mimic.dev/injected", "none") in ("sidecar", "pointed", "none")
    annotations = left["metadata"].pop("annotations", {})
    if (known := before["metadata"].get("annotations")) is not None:
        assert known.items() <= annotations.items()
        left["metadata"]["annotations"] = known
    return left


def judge(given: Manifest, cluster: Cluster, request: Request) -> str:
    found = cluster.admit(given, request)
    assert without_ours(given, found.pod) == given
    again = cluster.admit(found.pod, request)
    assert again.pod == found.pod, "twice is not once"
    assert violations(found.pod) == violations(given), "the profile is not kept"
    if found.reason == "Injected":
        assert again.reason == "AlreadyInjected"
        assert found.pod["spec"]["containers"][0]["name"] != "mimic-proxy"
        judge_later(found.pod, cluster, request)
    if found.decision.fit is None and not found.decision.left_out:
        assert found.operations == []
    return found.reason


def judge_later(injected: Manifest, cluster: Cluster, request: Request) -> None:
    """Another webhook adds a container: it gets the environment, nothing else changes, and a second time nothing."""
    later = json.loads(json.dumps(injected))
    later["spec"]["containers"].append(container("later"))
    found = cluster.admit(later, request)
    assert found.reason in ("EnvironmentAdded", "AlreadyInjected")
    assert found.pod["spec"]["containers"][:-1] == later["spec"]["containers"][:-1]
    assert (found.pod["metadata"], found.pod["spec"].get("volumes")) == (
        later["metadata"],
        later["spec"].get("volumes"),
    )
    assert cluster.admit(found.pod, request).operations == []


def judge_pods(maker: Maker, clusters: int) -> set[str]:
    """The ends that they meet."""
    met: set[str] = set()
    for cluster in (Cluster(*maker.backends()) for _ in range(clusters)):
        met |= {judge(maker.pod(), cluster, maker.request()) for _ in range(PODS)}
    return met


@pytest.mark.parametrize("part", range(PARTS))
@settings(max_examples=EXAMPLES, phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, 2**32))
def test_the_patch_applies_once_leaves_the_user_s_own_alone_and_keeps_the_profile(part: int, seed: int):
    judge_pods(Maker(Random(seed * PARTS + part)), CLUSTERS)


def test_the_pods_that_are_made_meet_many_ends():
    met = judge_pods(Maker(Random(1)), 40)
    assert {"Injected", "Pointed", "UnknownBackend", "NameTaken", "PortTaken"} <= met
