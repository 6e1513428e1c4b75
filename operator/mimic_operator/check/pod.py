"""Judges one pod: whether it has the proxy, why not, and what its sidecar waits for. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from mimic_operator.check.facts import PodFacts
from mimic_operator.check.findings import Finding
from mimic_operator.errors import OperatorError
from mimic_operator.resource import naming
from mimic_operator.resource.revision import Revision, from_data
from mimic_operator.resource.selection import Candidate, candidate, cluster_candidate
from mimic_operator.webhook import pods
from mimic_operator.webhook.decide import Decision, Namespace, Request, Trigger, choose, decide
from mimic_operator.webhook.outcomes import Verdict

AGAIN = "Delete the pod if a controller creates it again, or restart its workload (kubectl rollout restart)."


def pod_findings(facts: PodFacts) -> Iterator[Finding]:
    """The first one is the answer, the others are details."""
    pod = facts.pod
    if pod is None:
        yield Finding(
            "error",
            "Pod",
            f"There is no pod {facts.name} in the namespace {facts.namespace}.",
            "If its workload cannot create it, the reason is in `kubectl describe` of the ReplicaSet or Job.",
        )
        return
    sidecar = next((each for each in pods.every_container(pod) if each.get("name") == naming.CONTAINER), None)
    if sidecar is not None:
        yield from _of_sidecar(facts, pod, sidecar)
    elif pods.labels(pod).get(naming.LABEL_INJECTED) == naming.POINTED:
        url = pods.annotations(pod).get(naming.ANNOTATION_URL)
        yield Finding("ok", "Pod", f"It calls the shared proxy of {_backend(pod)} at {url}.")
        yield from _environment(pod)
    else:
        yield from _without(facts, pod)
    for message in facts.events:
        yield Finding("warning", "Event", message)


def _of_sidecar(facts: PodFacts, pod: pods.Pod, sidecar: pods.Container) -> Iterator[Finding]:
    revision = pods.annotations(pod).get(naming.ANNOTATION_REVISION, "")
    yield Finding("ok", "Pod", f"It has a sidecar of {_backend(pod)}, revision {revision}, {sidecar.get('image')}.")
    in_front = any(each is sidecar for each in pods.init_containers(pod))
    if in_front and not pods.is_native_sidecar(sidecar):
        yield Finding(
            "error",
            "Sidecar",
            "Another webhook removed `restartPolicy: Always` from the sidecar: the pod will never start.",
            "Update that webhook or exclude these pods from it, or set spec.injection.native of the MimicBackend to "
            "Never.",
        )
    yield from _state(pod)
    chosen = choose(pod, _namespace(facts), _candidates(facts))
    if isinstance(chosen, Candidate) and chosen.revision and chosen.revision != revision:
        yield Finding("warning", "Revision", f"The current revision of {chosen.full_name} is {chosen.revision}.", AGAIN)
    yield from _environment(pod)


def _state(pod: pods.Pod) -> Iterator[Finding]:
    status = pod.get("status") or {}
    every = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    found: Mapping[str, Any] = next((each for each in every if each.get("name") == naming.CONTAINER), {})
    state = found.get("state") or {}
    log = f"Read its log: `kubectl logs {pods.metadata(pod).get('name')} -c {naming.CONTAINER}`."
    if waiting := state.get("waiting"):
        reason, message = waiting.get("reason"), waiting.get("message") or "see the Events below"
        remedy = log if reason == "CrashLoopBackOff" else "Create what is missing: the Event names it."
        yield Finding("error", "Sidecar", f"It waits ({reason}): {message}.", remedy)
    elif ended := state.get("terminated"):
        yield Finding("warning", "Sidecar", f"It ended with exit code {ended.get('exitCode')}.", log)
    elif "running" in state:
        again = found.get("restartCount") or 0
        level, ready = ("ok", "is ready") if found.get("ready") else ("warning", "is not ready")
        text = f"It runs, {ready}, and was restarted {again} time{'' if again == 1 else 's'}."
        yield Finding("ok" if level == "ok" and not again else "warning", "Sidecar", text, "" if not again else log)


def _environment(pod: pods.Pod) -> Iterator[Finding]:
    for each in pods.containers(pod):
        if each["name"] == naming.CONTAINER or each["name"] in pods.MESH_CONTAINERS:
            continue
        values = {entry["name"]: entry.get("value") or "(from elsewhere)" for entry in each.get("env") or ()}
        url = values.get("OPENAI_BASE_URL")
        if url is None:
            yield Finding(
                "warning",
                "Environment",
                f"The container {each['name']} has no OPENAI_BASE_URL.",
                "If it calls the model, see spec.injection.containers and spec.injection.env of the MimicBackend.",
            )
        else:
            yield Finding("ok", "Environment", f"The container {each['name']} calls {url.partition('?')[0]}.")


def _without(facts: PodFacts, pod: pods.Pod) -> Iterator[Finding]:
    """What the webhook would decide now: the pod may be older than its backend or its label."""
    labelled = naming.LABEL_INJECT in pods.labels(pod)
    trigger: Trigger = "label" if labelled or facts.labels.get(naming.LABEL_INJECTION) != "enabled" else "namespace"
    decision = _decision(facts, pod, trigger)
    if decision.reason == "NotOptedIn":
        yield Finding(
            "warning", "Pod", decision.sentence, "Label its template, or its namespace, or select its workload."
        )
    elif decision.fit is not None:
        yield Finding(
            "error",
            "Pod",
            "It has no proxy. Created now it would get one: it is older than its label or its MimicBackend, or the "
            "webhook was away.",
            AGAIN,
        )
    else:
        level: Any = "error" if decision.verdict is not Verdict.ADMITTED else "warning"
        yield Finding(level, "Pod", f"It has no proxy, {decision.reason}: {decision.sentence}")


def _decision(facts: PodFacts, pod: pods.Pod, trigger: Trigger) -> Decision:
    revisions = {
        (each["metadata"]["namespace"], each["metadata"]["name"]): found
        for each in facts.revisions
        if (found := _revision(each)) is not None
    }
    # Fields that the cluster has added, as volumes of the account's token, do not matter for the decision.
    request = Request(namespace=_namespace(facts), trigger=trigger)
    return decide(pod, request, _candidates(facts), lambda namespace, name: revisions.get((namespace, name)))


def _revision(manifest: Mapping[str, Any]) -> Revision | None:
    try:
        return from_data(manifest.get("data") or {})
    except (KeyError, TypeError, OperatorError):
        return None


def _namespace(facts: PodFacts) -> Namespace:
    clusters = tuple(cluster_candidate(each) for each in facts.clusters)
    return Namespace(facts.namespace, facts.labels, facts.annotations, clusters=clusters)


def _candidates(facts: PodFacts) -> list[Candidate]:
    return [candidate(each) for each in facts.backends]


def _backend(pod: pods.Pod) -> str:
    return pods.annotations(pod).get(naming.ANNOTATION_BACKEND, "a backend that is not named")
