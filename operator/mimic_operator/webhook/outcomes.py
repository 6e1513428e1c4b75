"""What can become of a pod, each with its own word: in answers, Events, metrics and docs/reference/injection.md.

A word never changes its meaning. A sentence names the reason and, where somebody has to act, the remedy; it is filled
with names only, never with a value of the pod.
"""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What the API server is told, where the pod asked for the proxy itself."""

    ADMITTED = "admitted"
    WARNED = "warned"
    """Admitted, and whoever writes the pod is told."""
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one decision.

    sentence: a template for `str.format`; `{backend}` and the like are filled by whoever decides.
    """

    word: str
    verdict: Verdict
    sentence: str


@dataclass(frozen=True, slots=True)
class Remark:
    """Something besides the outcome. told: as an admission warning; the others only where a decision is explained."""

    word: str
    told: bool
    sentence: str


def _outcomes(verdict: Verdict, **sentences: str) -> dict[str, Outcome]:
    return {word: Outcome(word, verdict, sentence) for word, sentence in sentences.items()}


OUTCOMES = {
    **_outcomes(
        Verdict.ADMITTED,
        Injected="The proxy for the backend {backend} was added, revision {revision}; the API is at {url}.",
        Pointed="The containers were pointed at the shared proxy of the backend {backend}, {url}.",
        AlreadyInjected="The pod has the proxy already; nothing was changed.",
        NotOptedIn='The pod does not ask for the proxy: its label mimic.dev/inject is not "true".',
    ),
    **_outcomes(
        Verdict.WARNED,
        Windows="Windows pods start without the proxy: its image is for Linux.",
        MirrorPod="Mirror pods stay as they are: they show a static pod, which the kubelet runs from its file.",
        BackendGone="The pod starts without the proxy: the backend {backend}, for which the operator labelled its "
        "workload, is gone. The operator takes the label off.",
    ),
    **_outcomes(
        Verdict.DENIED,
        UnknownBackend="There is no MimicBackend {backend}, which the annotation mimic.dev/backend names. {remedy}",
        NoBackend="The namespace {namespace} has no MimicBackend in Sidecar mode. Create one, or name one by the "
        "annotation mimic.dev/backend.",
        SeveralBackends="The namespace {namespace} has several MimicBackends and none is its default: choose one of "
        "{names} by the annotation mimic.dev/backend, or set spec.injection.default on one of them.",
        TwoDefaults="The namespace {namespace} has more than one default MimicBackend: {names}. Leave "
        "spec.injection.default on one of them, or choose by the annotation mimic.dev/backend.",
        OtherNamespace="The MimicBackend {backend} is in Sidecar mode, and those serve their own namespace alone. Name "
        "one in {namespace}, or one in Deployment mode.",
        NotAllowed="The MimicBackend {backend} does not admit pods of the namespace {namespace}: "
        "spec.deployment.allowedNamespaces there decides.",
        ClientKeyMissing="The shared proxy of {backend} demands a key. Put it into a Secret of the namespace "
        "{namespace}, under OPENAI_API_KEY, and name that Secret by the annotation mimic.dev/client-key-secret.",
        BadAnnotation="The annotation {annotation} is not understood: {remedy}",
        PortTaken="The port {port}, which the MimicBackend {backend} asks for, is used by the container {container}. "
        "Change spec.injection.{field}, or leave it out and a free one is taken.",
        NoFreePort="All ports from {first} to {last} are used by the pod. Set spec.injection.port and "
        "spec.injection.adminPort of the MimicBackend {backend} to others.",
        NameTaken="The pod has {what} named {name} that is not Mimic's. Give it another name.",
        HostNetwork="Pods with hostNetwork share the node's ports and get no proxy. Remove hostNetwork, or the label "
        "mimic.dev/inject and call a backend in Deployment mode.",
        InvalidBackend="The MimicBackend {backend} is invalid and has no earlier revision: {problem}",
        SuspendedBackend="The MimicBackend {backend} is suspended and has no revision yet. Set spec.suspend to false.",
        NotReconciled="The MimicBackend {backend} has no revision yet: the operator makes it within seconds, and "
        "controllers try again. If it lasts, look at its conditions and at the reconciler.",
        RevisionMissing="The revision {revision} of the MimicBackend {backend} is gone. Remove the annotation "
        "mimic.dev/revision from the pod template, and pods get the current one.",
        Malformed="This is no pod of Kubernetes: {problem}.",
        Undecided="Mimic's webhook could not decide: {problem}. Controllers try again.",
        Failed="Mimic's webhook broke over this pod; its log says where. Controllers try again.",
    ),
}
"""By their words."""

REMARKS = {
    remark.word: remark
    for remark in (
        Remark(
            "EnvFrom",
            True,
            "Container {container} takes variables from envFrom: should {names} be among them, the injected ones win. "
            "Set them in env to keep your own.",
        ),
        Remark(
            "NoProxyUnknown",
            True,
            "Container {container} uses an HTTP proxy and its NO_PROXY cannot be extended (it comes from {origin}): "
            "make sure that it holds {hosts}.",
        ),
        Remark("NoProxyExtended", False, "NO_PROXY of container {container} was extended by {hosts}."),
        Remark("EnvKept", False, "Container {container} keeps its own {names}."),
        Remark("NoContainers", True, "No container gets the environment: {reason}."),
        Remark(
            "PortMoved",
            False,
            "Port {wanted} is used by container {container}: the proxy takes {port} (annotation mimic.dev/port).",
        ),
        Remark(
            "JobNeverEnds",
            True,
            "This pod would not end by itself: a plain sidecar goes on when the application has finished. POST "
            "http://127.0.0.1:{admin_port}/quit at its end, or use native sidecars (Kubernetes 1.29, "
            "spec.injection.native: Always).",
        ),
        Remark("InitContainersServed", False, "Init containers after the proxy can call the model: {names}."),
        Remark(
            "InitContainersUnserved",
            True,
            "The init containers {names} end before the proxy starts and cannot call the model: native sidecars can "
            "(Kubernetes 1.29, spec.injection.native: Always).",
        ),
        Remark(
            "MeshInitContainers",
            True,
            "Init containers of a meshed pod call the model only if the mesh's proxy is a native sidecar: {names}.",
        ),
        Remark("MeshPort", False, "The admin port {admin_port} is kept out of the mesh {mesh}."),
        Remark(
            "BarePod", True, "This pod has no controller: it keeps this revision of the proxy until it is made anew."
        ),
        Remark("GeneratedName", False, "The pod's name is generated after this decision; Events name its owner."),
        Remark("DryRun", False, "A dry run: nothing is recorded."),
        Remark("Guaranteed", False, "The pod is of the class Guaranteed: the proxy's requests equal its limits."),
        Remark(
            "PodResources",
            False,
            "The pod's own resources hold for the proxy too, which has no {names} of its own.",
        ),
        Remark(
            "UnknownKey",
            True,
            "{where} {key} is unknown to this version of Mimic and has no effect. {remedy}",
        ),
        Remark("ShortGrace", False, "Streams get {seconds} s to end, since the pod's grace period is short."),
        Remark("StaleBackend", True, "The MimicBackend {backend} is {state}; the pod gets its last good revision."),
        Remark("NamespaceEntry", False, "The namespace asks for the proxy (mimic.dev/injection): nothing is denied."),
    )
}
"""By their words."""
