"""What the check says of one pod."""

from typing import Any

import pytest

from fakes.injection import admit
from fakes.manifests import DEFAULTS, Manifest, backend, container, pod, shared
from mimic_operator.check.facts import PodFacts
from mimic_operator.check.pod import pod_findings
from mimic_operator.reconcile.manifests import controller_revision
from mimic_operator.resource.backend import parse
from mimic_operator.resource.revision import revision_of

REVISION = revision_of(parse(backend()), DEFAULTS)
CORP = backend(status={"currentRevision": REVISION.name})
STORED = controller_revision(parse(CORP), REVISION)
RUNNING = {"name": "mimic-proxy", "ready": True, "restartCount": 0, "state": {"running": {}}}


def judged(given: Manifest | None, **facts: Any) -> list[tuple[str, str, str]]:
    known = {"backends": [CORP], "revisions": [STORED]} | facts
    found = pod_findings(PodFacts(namespace="shop", name="web", pod=given, **known))
    return [(each.level, each.subject, f"{each.sentence} -> {each.remedy}") for each in found]


def injected(*containers: Manifest, **status: Any) -> Manifest:
    made = admit(pod(*containers, name="web"), CORP).pod
    return made | {"status": {"initContainerStatuses": [RUNNING | status]}}


def test_a_pod_that_is_well_is_said_to_be():
    found = judged(injected())
    assert {level for level, *_ in found} == {"ok"}
    assert f"It has a sidecar of corp, revision {REVISION.name}, registry.example.com/mimic:1.0.0." in found[0][2]
    assert "The container web calls http://127.0.0.1:18480/v1." in found[-1][2]


def waiting(reason: str) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason}}, "ready": False}


CENTRAL = shared(allowedNamespaces={"from": "All"})
EVERYWHERE = {
    "apiVersion": "mimic.dev/v1alpha1",
    "kind": "ClusterMimicBackend",
    "metadata": {"name": "central"},
    "spec": {
        "namespaces": {"names": ["shop"]},
        "deploymentNamespace": "platform",
        "backend": {**CENTRAL["spec"], "deployment": {"access": "Open"}},
    },
}
CENTRAL_REVISION = revision_of(parse(CENTRAL), DEFAULTS)
CASES: dict[str, tuple[Manifest | None, dict[str, Any], tuple[str, str]]] = {
    "none": (None, {}, ("error", "There is no pod web in the namespace shop.")),
    "waits": (injected(**waiting("ContainerCreating")), {}, ("error", "It waits (ContainerCreating)")),
    "crashes": (injected(**waiting("CrashLoopBackOff")), {}, ("error", "kubectl logs web -c mimic-proxy")),
    "restarts": (injected(restartCount=3), {}, ("warning", "It runs, is ready, and was restarted 3 times.")),
    "ended": (injected(state={"terminated": {"exitCode": 137}}), {}, ("warning", "It ended with exit code 137.")),
    "an event": (injected(), {"events": ["MountVolume failed"]}, ("warning", "MountVolume failed")),
    "outdated": (
        injected(),
        {"backends": [backend(status={"currentRevision": "mimic-corp-new"})]},
        ("warning", "The current revision of shop/corp is mimic-corp-new."),
    ),
    "its own URL": (
        injected(container(env={"OPENAI_BASE_URL": "https://api.openai.com/v1"})),
        {},
        ("ok", "The container web calls https://api.openai.com/v1."),
    ),
    "not asked for": (pod(labels={}), {}, ("warning", "does not ask for the proxy")),
    "older than its label": (pod(), {}, ("error", "It has no proxy. Created now it would get one")),
    "older than its namespace's label": (
        pod(labels={}),
        {"labels": {"mimic.dev/injection": "enabled"}},
        ("error", "It has no proxy. Created now it would get one"),
    ),
    "a shared proxy of the cluster": (
        pod(),
        {
            "backends": [CENTRAL | {"status": {"currentRevision": CENTRAL_REVISION.name}}],
            "clusters": [EVERYWHERE],
            "revisions": [controller_revision(parse(CENTRAL), CENTRAL_REVISION)],
        },
        ("error", "It has no proxy. Created now it would get one"),
    ),
    "no backend": (pod(), {"backends": []}, ("error", "It has no proxy, NoBackend: The namespace shop has no")),
    "not reconciled": (pod(), {"backends": [backend(status={})]}, ("error", "It has no proxy, NotReconciled")),
}


@pytest.mark.parametrize("name", CASES)
def test_a_fault_of_a_pod_is_named_with_what_to_do(name: str):
    given, facts, (level, says) = CASES[name]
    assert [found for found, _, text in judged(given, **facts) if says in text][:1] == [level]


def test_a_sidecar_that_can_never_end_is_found():
    stripped = injected()
    del stripped["spec"]["initContainers"][0]["restartPolicy"]
    assert any("removed `restartPolicy: Always`" in text for level, _, text in judged(stripped) if level == "error")


def test_a_pod_that_calls_a_shared_proxy_has_no_sidecar_and_is_well():
    pointed = admit(pod(annotations={"mimic.dev/backend": "platform/central"}), shared()).pod
    found = judged(pointed)
    assert "It calls the shared proxy of platform/central at http://mimic-central.platform.svc/v1." in found[0][2]
    assert {level for level, *_ in found} == {"ok"}
