"""Every outcome of a decision, each with its own word: in responses, Events, metrics and docs/reference/injection.md.

A word never changes its meaning. A sentence names the reason and, where someone has to act, the remedy; it is filled
with names only, never with a value of the pod.
"""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """The response to the API server, where the pod asked for the proxy itself."""

    ADMITTED = "admitted"
    WARNED = "warned"
    """Admitted, with a warning to the author of the pod."""
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one decision. sentence: a template for `str.format`; the decision fills it in."""

    word: str
    verdict: Verdict
    sentence: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something besides the outcome. warns: as an admission warning; other notes appear only in explanations."""

    word: str
    warns: bool
    sentence: str


def note(word: str, **names: object) -> Note:
    """The note of this word, its sentence filled in."""
    kind = NOTES[word]
    return Note(word, kind.warns, kind.sentence.format_map({key: str(value) for key, value in names.items()}))


def _outcomes(verdict: Verdict, **sentences: str) -> dict[str, Outcome]:
    return {word: Outcome(word, verdict, sentence) for word, sentence in sentences.items()}


def _notes(*, warns: bool, **sentences: str) -> dict[str, Note]:
    return {word: Note(word, warns, sentence) for word, sentence in sentences.items()}


OUTCOMES = {
    **_outcomes(
        Verdict.ADMITTED,
        Injected="The proxy for the backend {backend} was added, revision {revision}; the API is at {url}.",
        Pointed="The containers call the shared proxy of the backend {backend}, {url}.",
        AlreadyInjected="The pod has the proxy already; nothing was changed.",
        EnvironmentAdded="The pod has the proxy already; the containers {names}, which came later, call it too.",
        NotOptedIn='The pod does not ask for the proxy: its label mimic.dev/inject is not "true".',
    ),
    **_outcomes(
        Verdict.WARNED,
        Windows="Windows pods start without the proxy: its image is for Linux.",
        MirrorPod="Mirror pods stay as they are: they show a static pod, which the kubelet runs from its file.",
        BackendGone="The pod starts without the proxy: the backend {backend}, for which the operator labelled its "
        "workload, is gone. The operator removes the label.",
        RestartPolicyRestored="Another webhook removed `restartPolicy: Always` from the container {container}, and the "
        "pod would never have started; Mimic put it back. That webhook was built for Kubernetes before 1.28 and drops "
        "fields that it does not know: update it, exclude these pods from it, or set spec.injection.native to Never.",
    ),
    **_outcomes(
        Verdict.DENIED,
        UnknownBackend="There is no MimicBackend {backend}, which the annotation mimic.dev/backend names. {remedy}",
        NoBackend="The namespace {namespace} has no MimicBackend in Sidecar mode. Create one, or name one by the "
        "annotation mimic.dev/backend.",
        SeveralBackends="The namespace {namespace} has several MimicBackends and none is its default: choose one of "
        "{names} by the annotation mimic.dev/backend, or set spec.injection.default on one of them.",
        TwoDefaults="The namespace {namespace} has more than one default MimicBackend: {names}. Keep "
        "spec.injection.default on one of them, or choose by the annotation mimic.dev/backend.",
        OtherNamespace="The MimicBackend {backend} is in Sidecar mode and serves its own namespace alone. Name one in "
        "{namespace}, or one in Deployment mode.",
        NotAllowed="The MimicBackend {backend} does not admit pods of the namespace {namespace}. Admit it in "
        "spec.deployment.allowedNamespaces there, or name another backend.",
        NotAdmitted="The ClusterMimicBackend {backend} does not admit pods of the namespace {namespace}: it admits "
        "{problem}. Ask the platform team to admit it in spec.namespaces there, or name another backend.",
        NotCreated="The ClusterMimicBackend {backend} admits the namespace {namespace}, and its MimicBackend is not "
        "there yet. The operator creates it within seconds; if it does not, the conditions of the ClusterMimicBackend "
        "say why.",
        InvalidClusterBackend="The ClusterMimicBackend {backend} is invalid: {problem}",
        ClientKeyMissing="The shared proxy of {backend} requires a key. Put it into a Secret of the namespace "
        "{namespace}, under OPENAI_API_KEY, and name that Secret by the annotation mimic.dev/client-key-secret.",
        BadAnnotation="The annotation {annotation} is invalid: {remedy}",
        PortTaken="The port {port}, which the MimicBackend {backend} sets, is used by the container {container}. "
        "Change spec.injection.{field}, or omit it, and the proxy takes a free one.",
        NoFreePort="All ports from {first} to {last} are used by the pod. Set spec.injection.port and "
        "spec.injection.adminPort of the MimicBackend {backend} to others.",
        NameTaken="The pod has {what} named {name} that is not Mimic's. Give it another name.",
        HostNetwork="Pods with hostNetwork share the node's ports and get no proxy. Remove hostNetwork, or the label "
        "mimic.dev/inject and call a backend in Deployment mode.",
        InvalidBackend="The MimicBackend {backend} is invalid and has no earlier revision: {problem}",
        SuspendedBackend="The MimicBackend {backend} is suspended and has no revision yet. Set spec.suspend to false.",
        NotReconciled="The MimicBackend {backend} has no revision yet. The operator creates it within seconds; if it "
        "does not, the conditions of the MimicBackend and the reconciler's log say why.",
        Malformed="This is not a valid pod: {problem}.",
        Undecided="Mimic's webhook could not decide: {problem}.",
        Failed="Mimic's webhook failed on this pod; its log has the details.",
    ),
}
"""By their words."""

NOTES = {
    **_notes(
        warns=True,
        OwnBaseUrl="Container {container} keeps its own {names}: its calls do not go through the proxy. Remove the "
        "variable, or set spec.injection.env.mode to Always.",
        EnvFrom="Container {container} takes variables from envFrom: if {names} are among them, the injected ones win. "
        "Set them in env to keep your own.",
        NoProxyUnknown="Container {container} uses an HTTP proxy, and its {variable} comes from valueFrom and cannot "
        "be extended: make sure that it holds {hosts}.",
        NoContainers="No container gets the environment: {reason}.",
        JobNeverEnds="This pod would not end by itself: a plain sidecar continues when the application has finished. "
        "POST http://127.0.0.1:{admin_port}/quit at its end, or use native sidecars (Kubernetes 1.29, "
        "spec.injection.native: Always).",
        InitContainersUnserved="The init containers {names} end before the proxy starts and cannot call the model. "
        "Native sidecars can serve them (Kubernetes 1.29, spec.injection.native: Always).",
        MeshInitContainers="The init containers {names} can call the model only if the proxy of the service mesh is a "
        "native sidecar.",
        BarePod="This pod has no controller: it keeps this revision of the proxy until it is created again.",
        UnknownKey="{where} {key} is unknown to this version of Mimic and has no effect. {remedy}",
        OverrideIgnored="The annotation {annotation} has no effect: the MimicBackend {backend} does not allow it. Add "
        "{group} to its spec.injection.overrides.",
        StaleBackend="The MimicBackend {backend} is {state}; the pod gets its last valid revision.",
        RevisionMissing="The revision {revision} of the MimicBackend {backend}, which the annotation "
        "mimic.dev/revision names, is gone; the pod gets the current one, {current}.",
    ),
    **_notes(
        warns=False,
        NoProxyExtended="NO_PROXY of container {container} was extended by {hosts}.",
        EnvKept="Container {container} keeps its own {names}.",
        PortMoved="Port {wanted} is used by container {container}: the proxy takes {port} (annotation mimic.dev/port).",
        InitContainersServed="Init containers after the proxy can call the model: {names}.",
        MeshPort="The admin port {admin_port} is excluded from the mesh {mesh}.",
        GeneratedName="The pod's name is generated after this decision; Events name its owner.",
        DryRun="This is a dry run: nothing is recorded.",
        Guaranteed="The pod is of the class Guaranteed: the proxy's requests equal its limits.",
        PodResources="The pod's own resources apply to the proxy too, which has no {names} of its own.",
        ShortGrace="Streams get {seconds} s to end, since the pod's grace period is short.",
        NamespaceEntry="The namespace asks for the proxy (mimic.dev/injection): no pod is denied.",
    ),
}
"""By their words."""
