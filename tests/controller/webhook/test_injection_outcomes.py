"""Every end that an admission can have, by its word."""

import re
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fakes.bad_backends import good
from fakes.injection import SHOP, admit
from fakes.manifests import DEFAULTS, backend, container, pod, shared
from mimic_operator.resource.backend import parse
from mimic_operator.resource.revision import revision_of
from mimic_operator.resource.selection import cluster_candidate
from mimic_operator.webhook.decide import Namespace, Request
from mimic_operator.webhook.outcomes import NOTES, OUTCOMES, Verdict

CORP, SPARE = backend("corp"), backend("spare")
CURRENT = revision_of(parse(CORP), DEFAULTS).name
MANAGED = {"mimic.dev/inject": "true", "mimic.dev/managed": "true"}
BROKEN = {"chat": {"url": "http://models.example.com/v1"}}
TAKEN = container(ports=[{"containerPort": port} for port in range(18480, 18500)])
KEYED = shared(clientAuth={"keysSecretRef": {"name": "keys"}}, access="Protected")
FINANCE = {"from": "Selector", "selector": {"matchLabels": {"team": "finance"}}}


def on_nodes(*systems: str) -> dict[str, Any]:
    """Affinity to nodes of one of these operating systems."""
    wanted = [{"key": "kubernetes.io/os", "operator": "In", "values": [system]} for system in systems]
    terms = [{"matchExpressions": [each]} for each in wanted]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def wants(name: str, **more: str) -> dict[str, str]:
    return {"mimic.dev/backend": name, **more}


IN_SHOP = Request(namespace=SHOP)


@dataclass(frozen=True)
class Case:
    word: str
    pod: dict[str, Any] = field(default_factory=pod)
    backends: tuple[dict[str, Any], ...] = (CORP,)
    says: str = ""
    """What the sentence holds."""
    request: Request = IN_SHOP


def of_cluster(base: str, **spec: Any) -> Request:
    """In a namespace that one ClusterMimicBackend, `wide`, may admit."""
    given = {"namespaces": {"names": ["shop"]}, "backend": good(base)["spec"], **spec}
    head = {"apiVersion": "mimic.dev/v1alpha1", "kind": "ClusterMimicBackend", "metadata": {"name": "wide"}}
    return Request(namespace=Namespace("shop", clusters=(cluster_candidate({**head, "spec": given}),)))


WIDE = shared(allowedNamespaces={"from": "Selector", "names": ["shop"]})
WIDE = {**WIDE, "metadata": {**WIDE["metadata"], "name": "wide"}}
CASES = {
    "a cluster's shared one": Case(
        "Pointed",
        pod(annotations=wants("wide")),
        (CORP, WIDE),
        "the backend platform/wide",
        of_cluster("deployment", deploymentNamespace="platform"),
    ),
    "a cluster's one that is not there yet": Case(
        "NotCreated", pod(annotations=wants("wide")), (CORP,), "admits the namespace shop", of_cluster("sidecar")
    ),
    "a cluster's one for others": Case(
        "NotAdmitted",
        pod(annotations=wants("wide")),
        (CORP,),
        "does not admit pods of the namespace shop: it admits search and those with llm=yes.",
        of_cluster("sidecar", namespaces={"names": ["search"], "selector": {"matchLabels": {"llm": "yes"}}}),
    ),
    "a cluster's one that is invalid": Case(
        "InvalidClusterBackend",
        pod(annotations=wants("wide")),
        (CORP,),
        "spec.namespaces.names",
        of_cluster("sidecar", namespaces={}),
    ),
    "the only one": Case(
        "Injected", says=f"corp was added, revision {CURRENT}; the API is at http://127.0.0.1:18480/v1"
    ),
    "the one that is named": Case("Injected", pod(annotations=wants("spare")), (CORP, SPARE), "backend spare"),
    "the default": Case("Injected", pod(), (CORP, backend("spare", injection={"default": True})), "backend spare"),
    "the only sidecar": Case("Injected", pod(), (CORP, shared(namespace="shop")), "backend corp"),
    "a shared default": Case(
        "Pointed",
        pod(),
        (CORP, shared(namespace="shop") | {"spec": {**shared()["spec"], "injection": {"default": True}}}),
    ),
    "a shared one of elsewhere": Case(
        "Pointed", pod(annotations=wants("platform/central")), (CORP, shared()), "http://mimic-central.platform.svc/v1"
    ),
    "a shared one of the same namespace": Case(
        "Pointed", pod(annotations=wants("central")), (shared(namespace="shop", allowedNamespaces={"from": "Same"}),)
    ),
    "a selected namespace": Case(
        "Pointed",
        pod(annotations=wants("platform/central")),
        (shared(allowedNamespaces=FINANCE),),
        request=Request(namespace=Namespace("shop", {"team": "finance"})),
    ),
    "host network and a shared one": Case(
        "Pointed", pod(annotations=wants("platform/central"), hostNetwork=True), (shared(),)
    ),
    "a key for the shared one": Case(
        "Pointed",
        pod(annotations=wants("platform/central", **{"mimic.dev/client-key-secret": "my-key"})),
        (KEYED,),
    ),
    "a key of its own": Case(
        "Pointed", pod(container(env={"OPENAI_API_KEY": "sk"}), annotations=wants("platform/central")), (KEYED,)
    ),
    "no label": Case("NotOptedIn", pod(labels={"app": "web"}), says='mimic.dev/inject is not "true"'),
    "the label says no": Case("NotOptedIn", pod(labels={"mimic.dev/inject": "false"})),
    "the label says yes": Case("NotOptedIn", pod(labels={"mimic.dev/inject": "yes"}), says='is not "true"'),
    "the label says True": Case("NotOptedIn", pod(labels={"mimic.dev/inject": "True"})),
    "Windows by name": Case("Windows", pod(os={"name": "windows"}), says="its image is for Linux"),
    "Windows by node": Case("Windows", pod(nodeSelector={"kubernetes.io/os": "windows"})),
    "Windows by an older label": Case("Windows", pod(nodeSelector={"beta.kubernetes.io/os": "windows"})),
    "Windows by affinity": Case("Windows", pod(affinity=on_nodes("windows", "windows"))),
    "Windows or Linux by affinity": Case("Injected", pod(affinity=on_nodes("windows", "linux"))),
    "a static pod": Case(
        "MirrorPod", pod(annotations={"kubernetes.io/config.mirror": "x"}), says="the kubelet runs from its file"
    ),
    "a labelled workload's backend went": Case(
        "BackendGone", pod(labels=MANAGED, annotations=wants("gone")), (), "the backend gone"
    ),
    "a name that is not there": Case(
        "UnknownBackend", pod(annotations=wants("crop")), (CORP, SPARE), "no MimicBackend crop, which the annotation"
    ),
    "what there is instead": Case(
        "UnknownBackend", pod(annotations=wants("x")), (CORP, SPARE), "There are: corp, spare."
    ),
    "nothing there": Case("UnknownBackend", pod(annotations=wants("x")), (), "The namespace shop has none."),
    "elsewhere and not there": Case("UnknownBackend", pod(annotations=wants("a/b")), (CORP,), "no MimicBackend a/b"),
    "none at all": Case("NoBackend", pod(), (), "The namespace shop has no MimicBackend in Sidecar mode"),
    "only a shared one": Case("NoBackend", pod(), (shared(namespace="shop"),)),
    "several": Case("SeveralBackends", pod(), (SPARE, CORP), "choose one of corp, spare"),
    "two defaults": Case(
        "TwoDefaults",
        pod(),
        tuple(backend(name, injection={"default": True}) for name in ("corp", "spare")),
        "more than one default MimicBackend: corp, spare",
    ),
    "a sidecar of elsewhere": Case(
        "OtherNamespace", pod(annotations=wants("platform/corp")), (backend("corp", namespace="platform"),)
    ),
    "same namespace only": Case(
        "NotAllowed", pod(annotations=wants("platform/central")), (shared(allowedNamespaces={"from": "Same"}),)
    ),
    "another namespace is selected": Case(
        "NotAllowed",
        pod(annotations=wants("platform/central")),
        (shared(allowedNamespaces=FINANCE),),
        "the namespace shop",
    ),
    "no key": Case(
        "ClientKeyMissing", pod(annotations=wants("platform/central")), (KEYED,), "mimic.dev/client-key-secret"
    ),
    "a name that is none": Case("BadAnnotation", pod(annotations=wants("a/b/c")), says="NAME or NAMESPACE/NAME"),
    "a name in capitals": Case("BadAnnotation", pod(annotations=wants("Corp"))),
    "a name with blanks": Case("BadAnnotation", pod(annotations=wants(" corp "))),
    "a name that is too long": Case("BadAnnotation", pod(annotations=wants("a" * 254))),
    "a revision that is a path": Case(
        "BadAnnotation",
        pod(annotations={"mimic.dev/revision": "../../platform/controllerrevisions/mimic-central-1"}),
        says="mimic.dev/revision is invalid: it holds a revision's name",
    ),
    "an empty name": Case("BadAnnotation", pod(annotations=wants("")), says="mimic.dev/backend is invalid"),
    "a secret's name that is none": Case(
        "BadAnnotation",
        pod(annotations=wants("platform/central", **{"mimic.dev/client-key-secret": "/"})),
        (KEYED,),
        "NAME or NAME/KEY",
    ),
    "the port that was chosen": Case(
        "PortTaken",
        pod(container("api", ports=[{"containerPort": 9000}])),
        (backend(injection={"port": 9000}),),
        "The port 9000, which the MimicBackend corp sets, is used by the container api",
    ),
    "the admin port that was chosen": Case(
        "PortTaken",
        pod(container(livenessProbe={"httpGet": {"port": 9001}})),
        (backend(injection={"adminPort": 9001}),),
        "Change spec.injection.adminPort",
    ),
    "no port left": Case("NoFreePort", pod(TAKEN), says="All ports from 18480 to 18499"),
    "a container of our name": Case("NameTaken", pod(container("mimic-proxy")), says="a container named mimic-proxy"),
    "a volume of our name": Case(
        "NameTaken", pod(volumes=[{"name": "mimic-run", "emptyDir": {}}]), says="a volume named mimic-run"
    ),
    "host network": Case("HostNetwork", pod(hostNetwork=True), says="share the node's ports"),
    "an invalid one without a past": Case(
        "InvalidBackend", pod(), (backend(**BROKEN),), "spec.chat.url must begin with https://"
    ),
    "an invalid shared one of elsewhere": Case(
        "InvalidBackend",
        pod(annotations=wants("platform/central")),
        (shared(access="Protected"),),
        "platform/central is invalid",
    ),
    "suspended before its first revision": Case("SuspendedBackend", pod(), (backend(suspend=True, status={}),)),
    "not yet reconciled": Case("NotReconciled", pod(), (backend(status={}),), "has no revision yet"),
    "a revision that is gone": Case(
        "Injected", pod(annotations={"mimic.dev/revision": "mimic-corp-0"}), says=f"revision {CURRENT}"
    ),
    "a current revision that is gone": Case(
        "NotReconciled", pod(), (backend(status={"currentRevision": "mimic-corp-1"}),)
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_end_has_its_word_and_a_sentence_that_helps(case: Case):
    found = admit(case.pod, *case.backends, request=case.request)
    assert found.reason == case.word, found.decision.sentence
    assert case.says in found.decision.sentence
    assert found.decision.verdict is OUTCOMES[case.word].verdict
    assert "{" not in found.decision.sentence
    assert bool(found.operations) == (case.word in ("Injected", "Pointed"))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_pod_that_only_its_namespace_volunteered_is_never_denied(case: Case):
    found = admit(case.pod, *case.backends, request=replace(case.request, trigger="namespace"))
    assert found.decision.verdict is not Verdict.DENIED
    left_out = OUTCOMES[case.word].verdict is Verdict.DENIED
    assert (found.pod["metadata"]["labels"].get("mimic.dev/injected") == "none") == left_out
    if case.word != "NotOptedIn":
        assert found.reason == case.word
        assert "NamespaceEntry" in found.words


def test_every_word_is_met_by_a_case():
    again = {"AlreadyInjected", "EnvironmentAdded", "RestartPolicyRestored"}  # with the shape that comes out
    beyond = again | {"Malformed", "Undecided", "Failed"}  # with the process
    assert {case.word for case in CASES.values()} == set(OUTCOMES) - beyond


def test_words_and_sentences_are_in_good_shape():
    for word in (*OUTCOMES, *NOTES):
        assert re.fullmatch(r"([A-Z][a-z]+)+", word)
    assert not OUTCOMES.keys() & NOTES.keys()
    for each in (*OUTCOMES.values(), *NOTES.values()):
        assert each.sentence.endswith((".", "{remedy}", "{problem}")), each.sentence


def test_twice_is_once():
    once = admit(pod(), CORP)
    twice = admit(once.pod, CORP)
    assert twice.reason == "AlreadyInjected"
    assert twice.operations == []


def test_a_pod_of_an_older_revision_keeps_it():
    old = revision_of(parse(backend(proxy={"image": {"tag": "0.9"}})), DEFAULTS)
    found = admit(pod(annotations={"mimic.dev/revision": old.name}), CORP, revisions=[old])
    assert found.container()["image"] == "registry.example.com/mimic:0.9"


@pytest.mark.parametrize(("spec", "state"), [(BROKEN, "invalid (spec.chat.url"), ({"suspend": True}, "suspended")])
def test_an_invalid_or_suspended_backend_still_gives_its_last_good_revision(spec: dict[str, Any], state: str):
    good = revision_of(parse(CORP), DEFAULTS)
    found = admit(pod(), backend(**spec, status={"currentRevision": good.name}), revisions=[good])
    assert found.reason == "Injected"
    (told,) = [each.sentence for each in found.decision.notes if each.word == "StaleBackend"]
    assert state in told


def test_a_revision_of_another_backend_is_none():
    other = revision_of(parse(SPARE), DEFAULTS)
    found = admit(pod(annotations=wants("corp", **{"mimic.dev/revision": other.name})), CORP, SPARE)
    assert found.pod["metadata"]["annotations"]["mimic.dev/revision"] == CURRENT
    assert "RevisionMissing" in found.words


def test_a_missing_revision_falls_back_to_the_current_one_with_a_warning():
    """After `kubectl rollout undo`, or where a backend was deleted and created again."""
    found = admit(pod(annotations={"mimic.dev/revision": "mimic-corp-0"}), CORP)
    assert found.pod["metadata"]["annotations"]["mimic.dev/revision"] == CURRENT
    (told,) = [each for each in found.decision.notes if each.word == "RevisionMissing"]
    assert told.warns
    assert "mimic-corp-0" in told.sentence
    assert CURRENT in told.sentence


def test_a_backend_that_was_a_sidecar_once_still_serves_its_own_namespace_alone():
    old = revision_of(parse(backend("central", namespace="platform")), DEFAULTS)
    pinned = {"mimic.dev/revision": old.name}
    elsewhere = admit(pod(annotations=wants("platform/central", **pinned)), shared(), revisions=[old])
    assert elsewhere.reason == "OtherNamespace"
    at_home = Request(namespace=Namespace("platform"))
    here = admit(pod(annotations=wants("central", **pinned)), shared(), revisions=[old], request=at_home)
    assert here.reason == "Injected"
    on_the_host = pod(annotations=wants("central", **pinned), hostNetwork=True)
    assert admit(on_the_host, shared(), revisions=[old], request=at_home).reason == "HostNetwork"
