"""Judges the facts of an installation: each finding says what is wrong and what to do. Pure."""

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from mimic_operator.check.facts import Installation
from mimic_operator.resource import naming
from mimic_operator.resource.crd import missing_fields
from mimic_operator.resource.fields import read_fields
from mimic_operator.resource.spec import LabelSelector

Level = Literal["ok", "warning", "error"]
SOON = timedelta(days=14)
WAITING_SECONDS = 60.0
MOST_NAMED = 5
Ends = Callable[[bytes], datetime]
"""From a PEM certificate to its end. Raises ValueError."""


@dataclass(frozen=True, slots=True)
class Finding:
    """subject: the part that was judged. remedy: what to do; empty where nothing is wrong."""

    level: Level
    subject: str
    sentence: str
    remedy: str = ""


def findings(facts: Installation, now: datetime, ends: Ends) -> Iterator[Finding]:
    """In the order in which one would fix them."""
    yield from _definitions(facts)
    yield from _processes(facts)
    yield from _versions(facts)
    yield from _configurations(facts, now, ends)
    yield from _trial(facts)
    yield from _permissions(facts)
    yield from _namespaces(facts)
    yield from _backends(facts)
    yield from _pods(facts, now)
    for each in facts.unread:
        yield Finding("warning", "Check", f"Not checked, {each}.", "Run the check as a user who may read it.")


def _definitions(facts: Installation) -> Iterator[Finding]:
    for plural in (naming.PLURAL, naming.CLUSTER_PLURAL):
        name = f"{plural}.{naming.GROUP}"
        yield _definition(name, facts.definitions.get(name), facts.version)


def _definition(name: str, definition: Mapping[str, Any] | None, version: str) -> Finding:
    if definition is None:
        return Finding(
            "error", "CRD", f"{name} is not installed.", "Install the chart with crds.enabled, or apply its CRDs."
        )
    if (definition.get("metadata") or {}).get("deletionTimestamp"):
        return Finding("error", "CRD", f"{name} is being deleted.", "Apply the chart's CRD again when it is gone.")
    if lacks := missing_fields(definition):
        return Finding(
            "error",
            "CRD",
            f"{name} is older than Mimic {version}: it lacks {_some(lacks)}.",
            "Upgrade the CRDs: `mimic-operator crd | kubectl apply --server-side -f -`.",
        )
    return Finding("ok", "CRD", f"{name} serves {naming.VERSION} with every field of Mimic {version}.")


def _processes(facts: Installation) -> Iterator[Finding]:
    for role in ("reconciler", "webhook"):
        own = [each for each in facts.deployments if each["metadata"]["labels"][naming.LABEL_COMPONENT] == role]
        if not own:
            yield Finding("error", role.capitalize(), f"There is no Deployment of the {role}.", "Install the chart.")
        for each in own:
            yield _process(role, each)
    holders = [str((lease.get("spec") or {}).get("holderIdentity") or "") for lease in facts.leases]
    if facts.leases and not any(holders):
        yield Finding(
            "error", "Reconciler", "No reconciler holds the Lease: nothing is reconciled.", "Read the reconciler's log."
        )


def _process(role: str, deployment: Mapping[str, Any]) -> Finding:
    subject, name = role.capitalize(), _name(deployment)
    ready = int((deployment.get("status") or {}).get("readyReplicas") or 0)
    wanted = int(deployment["spec"].get("replicas", 1))
    where = f"`kubectl -n {deployment['metadata']['namespace']} describe pods -l {naming.LABEL_COMPONENT}={role}`"
    if ready == 0:
        return Finding("error", subject, f"No pod of {name} is ready.", f"See {where} and their logs.")
    if ready < wanted:
        return Finding("warning", subject, f"{ready} of {wanted} pods of {name} are ready.", f"See {where}.")
    return Finding("ok", subject, f"{ready} of {wanted} pods of {name} are ready.")


def _versions(facts: Installation) -> Iterator[Finding]:
    images = {
        _name(each): str(each["spec"]["template"]["spec"]["containers"][0]["image"]) for each in facts.deployments
    }
    sidecars = Counter(image for each in facts.pods for image in _proxy_images(each))
    lines = [f"this command is {facts.version}, Kubernetes {facts.server}"]
    lines += [f"{name} runs {image}" for name, image in images.items()]
    lines += [f"{count} sidecar{'' if count == 1 else 's'} run {image}" for image, count in sidecars.most_common()]
    text = f"{'; '.join(lines)}."
    if len(set(images.values())) > 1:
        yield Finding("warning", "Versions", text, "Let the upgrade end: webhook and reconciler belong to one version.")
        return
    yield Finding("ok", "Versions", text)


def _configurations(facts: Installation, now: datetime, ends: Ends) -> Iterator[Finding]:
    entries = [entry for each in facts.configurations for entry in each.get("webhooks") or ()]
    names = {str(entry["name"]) for entry in entries}
    for name, effect in (
        ("pods.mimic.dev", "pods that ask for the proxy start without it"),
        ("namespaces.mimic.dev", "the namespace label mimic.dev/injection has no effect"),
        ("backends.mimic.dev", "MimicBackends are written without warnings"),
    ):
        if name not in names:
            yield Finding(
                "error", "Admission", f"The webhook {name} is not registered: {effect}.", "Install the chart."
            )
    for entry in entries:
        yield from _bundle(entry, now, ends)
    for (namespace, name), count in facts.endpoints.items():
        if count == 0:
            yield Finding(
                "error",
                "Admission",
                f"The Service {namespace}/{name} has no ready endpoint: the API server reaches no webhook.",
                "Let a webhook pod become ready, and compare the Service's selector with its labels.",
            )


def _bundle(entry: Mapping[str, Any], now: datetime, ends: Ends) -> Iterator[Finding]:
    name, given = entry["name"], str(entry["clientConfig"].get("caBundle") or "")
    wait = "The leading reconciler writes it (or cert-manager): read its log."
    if not given:
        yield Finding("error", "Certificate", f"The entry {name} has no caBundle: no call to it succeeds.", wait)
        return
    try:
        end = ends(base64.b64decode(given))
    except ValueError:
        yield Finding("error", "Certificate", f"The caBundle of {name} holds no certificate.", wait)
        return
    if end <= now:
        yield Finding("error", "Certificate", f"The authority of {name} expired on {end:%Y-%m-%d}.", wait)
    elif end - now < SOON:
        yield Finding("warning", "Certificate", f"The authority of {name} expires on {end:%Y-%m-%d}.", wait)
    else:
        yield Finding("ok", "Certificate", f"The authority of {name} is valid until {end:%Y-%m-%d}.")


def _trial(facts: Installation) -> Iterator[Finding]:
    trial = facts.trial
    if trial is None:
        return
    where = f"a trial pod in the namespace {trial.namespace} (a dry run)"
    if trial.injected:
        yield Finding("ok", "Admission", f"The API server called the webhook for {where}: it got the proxy.")
    elif trial.message.startswith("admission webhook") and "Mimic, " in trial.message:
        sentence = trial.message.partition("Mimic, ")[2]
        yield Finding("ok", "Admission", f"The API server called the webhook for {where}; it was denied: {sentence}")
    elif "failed calling webhook" in trial.message:
        yield Finding(
            "error",
            "Admission",
            f"The API server could not call the webhook for {where}: {trial.message}",
            "Let a webhook pod be ready; where the message names x509, restart the reconciler, which writes the "
            "caBundle; where it names a timeout, allow the control plane to reach the webhook's port.",
        )
    elif trial.status == 201:
        yield Finding(
            "error",
            "Admission",
            f"The API server did not call the webhook for {where}.",
            "Is the namespace excluded (see below)? Else install the chart's webhook configurations again.",
        )
    else:
        yield Finding(
            "warning", "Admission", f"There was no trial, {where} was refused: {trial.message}", "Choose another by -n."
        )


def _permissions(facts: Installation) -> Iterator[Finding]:
    roles = sorted({role for role, _ in facts.denied})
    for role in roles:
        missing = [what for each, what in facts.denied if each == role]
        yield Finding(
            "error", "RBAC", f"The {role} may not {_some(missing)}.", "Install the chart with rbac.create, or grant it."
        )
    reviewed = facts.deployments and not any(each.startswith("the permissions of") for each in facts.unread)
    if reviewed and not roles:
        yield Finding("ok", "RBAC", "The accounts of webhook and reconciler may do what they need.")


def _namespaces(facts: Installation) -> Iterator[Finding]:
    selectors = [
        entry.get("namespaceSelector") or {}
        for each in facts.configurations
        for entry in each.get("webhooks") or ()
        if entry["name"] == "pods.mimic.dev"
    ]
    if not selectors:
        return
    excluded = sorted(
        name for name, labels in facts.namespaces.items() if not any(_selects(each, labels) for each in selectors)
    )
    used = {str(each["metadata"]["namespace"]) for each in facts.backends}
    used |= {name for name, labels in facts.namespaces.items() if labels.get(naming.LABEL_INJECTION) == "enabled"}
    if lost := sorted(used & set(excluded)):
        yield Finding(
            "error",
            "Namespaces",
            f"{_some(lost)}: has MimicBackends or asks for the proxy, and is excluded from injection.",
            "Use another namespace, or change watchNamespaces or webhook.excludedNamespaces of the chart.",
        )
    yield Finding("ok", "Namespaces", f"Excluded from injection: {_some(excluded) or 'none'}.")


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    read: LabelSelector = read_fields(LabelSelector, selector, "", [])
    return read.matches(labels)


def _backends(facts: Installation) -> Iterator[Finding]:
    if not facts.backends and not facts.clusters and facts.definitions:
        yield Finding("warning", "MimicBackends", "There are none.", "Create one: see `kubectl explain mimicbackend`.")
    for each in (*facts.clusters, *facts.backends):
        conditions = {one["type"]: one for one in (each.get("status") or {}).get("conditions") or ()}
        ready = conditions.get("Ready")
        kind, where = str(each["kind"]).lower(), f"-n {_home(each)} " if _home(each) else ""
        describe = f"`kubectl {where}describe {kind} {each['metadata']['name']}`"
        if ready is None:
            yield Finding(
                "error",
                "MimicBackends",
                f"{_name(each)} has no status: no reconciler has read it.",
                "Is its namespace among watchNamespaces? Read the reconciler's log.",
            )
        elif ready["status"] != "True":
            text = f"{_name(each)} is not ready ({ready.get('reason')}): {ready.get('message')}"
            yield Finding("error", "MimicBackends", text, f"See {describe}.")
        for condition, bad in (("SecretResolved", "False"), ("Degraded", "True"), ("Insecure", "True")):
            found = conditions.get(condition)
            if found is not None and found["status"] == bad:
                text = f"{_name(each)}, {condition} ({found.get('reason')}): {found.get('message')}"
                yield Finding("warning", "MimicBackends", text, f"See {describe}.")
    if facts.backends:
        yield Finding(
            "ok", "MimicBackends", f"{len(facts.backends)} in {len({_home(e) for e in facts.backends})} namespaces."
        )


def _pods(facts: Installation, now: datetime) -> Iterator[Finding]:
    labels = {_name(each): each["metadata"].get("labels") or {} for each in facts.pods}
    alive = [each for each in facts.pods if (each.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
    bare = [_name(each) for each in alive if not _has_proxy(each)]
    if bare:
        yield Finding(
            "error",
            "Pods",
            f"{len(bare)} pods ask for the proxy and run without it: {_some(bare)}.",
            "Restart their workloads (kubectl rollout restart); `mimic-operator check POD` says why for one.",
        )
    waiting = [text for each in alive if (text := waits(each, now))]
    if waiting:
        yield Finding(
            "error",
            "Pods",
            f"{len(waiting)} pods wait for their sidecar: {_some(waiting)}.",
            "`mimic-operator check POD` says for what.",
        )
    if not bare and not waiting:
        count = Counter(each.get(naming.LABEL_INJECTED, "") for each in labels.values())
        text = f"{count[naming.SIDECAR]} have a sidecar, {count[naming.POINTED]} call a shared proxy; none waits."
        yield Finding("ok", "Pods", text)


def waits(pod: Mapping[str, Any], now: datetime) -> str:
    """The pod and what its sidecar waits for, longer than a start takes; empty if it does not wait."""
    status = pod.get("status") or {}
    created = datetime.fromisoformat(str(pod["metadata"]["creationTimestamp"]))
    if (now - created).total_seconds() < WAITING_SECONDS:
        return ""
    for each in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        found = (each.get("state") or {}).get("waiting")
        if each.get("name") == naming.CONTAINER and found is not None:
            return f"{_name(pod)} ({found.get('reason')})"
    return ""


def _has_proxy(pod: Mapping[str, Any]) -> bool:
    pointed = (pod["metadata"].get("labels") or {}).get(naming.LABEL_INJECTED) == naming.POINTED
    return pointed or any(True for _ in _proxy_images(pod))


def _proxy_images(pod: Mapping[str, Any]) -> Iterator[str]:
    spec = pod.get("spec") or {}
    for each in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        if each.get("name") == naming.CONTAINER:
            yield str(each.get("image"))


def _home(manifest: Mapping[str, Any]) -> str:
    return str(manifest["metadata"].get("namespace") or "")


def _name(manifest: Mapping[str, Any]) -> str:
    return f"{_home(manifest)}/{manifest['metadata']['name']}".lstrip("/")


def _some(names: Any) -> str:
    """The first ones, and how many more there are."""
    names = list(names)
    rest = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
