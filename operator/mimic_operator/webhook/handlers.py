"""kopf's part: admission reviews come in, and events of what the index holds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import kopf
from lightkube import KubeConfig

from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.naming import GROUP, LABEL_COMPONENT, PLURAL, VERSION
from mimic_operator.resource.selection import Key
from mimic_operator.runtime.hosting import IDENTITY, configure, connection
from mimic_operator.webhook.decide import Trigger
from mimic_operator.webhook.lookup import Index
from mimic_operator.webhook.outcomes import Verdict
from mimic_operator.webhook.review import REPLY, Reviewer, operations, refusal
from mimic_operator.webhook.review import warnings as said
from mimic_operator.webhook.validate import judge

PODS, NAMESPACE_PODS, BACKENDS = "pods", "namespace-pods", "backends"
"""Paths of the webhook, and kopf's ids of the handlers."""
PATHS = frozenset({PODS, NAMESPACE_PODS, BACKENDS})
IDLE_SECONDS = 0.05
"""Soon, since a limit on kopf's tasks would be a queue."""
FORBIDDEN = 403
Serve = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the handlers work with."""

    config: KubeConfig
    index: Index
    reviewer: Reviewer
    defaults: ProxyDefaults
    serve: Serve
    """kopf's admission server."""


def registry_for(parts: Parts) -> kopf.OperatorRegistry:
    """All handlers of the webhook process."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry, id="settings")
    async def on_startup(settings: kopf.OperatorSettings, **_: object) -> None:
        _configure(settings, parts.serve)

    @kopf.on.login(registry=registry, id="login")
    async def login(**_: object) -> kopf.ConnectionInfo:
        return connection(parts.config)

    _watch(registry, parts.index)
    _answer(registry, parts)
    return registry


def _watch(registry: kopf.OperatorRegistry, index: Index) -> None:
    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry, id="backend")
    async def backend(*, event: kopf.RawEvent, body: kopf.Body, namespace: str | None, name: str, **_: Any) -> None:
        if event["type"] == "DELETED":
            index.backend_gone(Key(namespace or "", name))
        else:
            index.backend_seen(body)

    @kopf.on.event("apps", "v1", "controllerrevisions", registry=registry, id="revision")
    async def revision(*, event: kopf.RawEvent, body: kopf.Body, namespace: str | None, name: str, **_: Any) -> None:
        if event["type"] == "DELETED":
            index.revision_gone(Key(namespace or "", name))
        else:
            index.revision_seen(dict(body))


def _answer(registry: kopf.OperatorRegistry, parts: Parts) -> None:
    async def review(
        trigger: Trigger, body: Mapping[str, Any], namespace: str | None, dryrun: bool, warnings: list[str]
    ) -> None:
        pod, where = dict(body), namespace or "default"
        decision = await parts.reviewer.pod(pod, where, trigger, dryrun)
        reply = REPLY.get()
        reply.decision, reply.namespace, reply.dry_run = decision, where, dryrun
        reply.pod, reply.verdict = {"metadata": pod.get("metadata") or {}}, str(decision.verdict)
        warnings.extend(said(decision, dry_run=dryrun))
        if decision.verdict is Verdict.DENIED:
            raise kopf.AdmissionError(refusal(decision), code=FORBIDDEN)
        reply.operations = operations(pod, decision)

    @kopf.on.mutate("", "v1", "pods", registry=registry, id=PODS, operations=["CREATE"])
    async def pods(body: kopf.Body, namespace: str | None, dryrun: bool, warnings: list[str], **_: Any) -> None:
        await review("label", body, namespace, dryrun, warnings)

    @kopf.on.mutate("", "v1", "pods", registry=registry, id=NAMESPACE_PODS, operations=["CREATE"])
    async def others(body: kopf.Body, namespace: str | None, dryrun: bool, warnings: list[str], **_: Any) -> None:
        await review("namespace", body, namespace, dryrun, warnings)

    @kopf.on.validate(GROUP, VERSION, PLURAL, registry=registry, id=BACKENDS, operations=["CREATE", "UPDATE"])
    async def backends(
        body: kopf.Body, namespace: str | None, warnings: list[str], old: kopf.Body | None = None, **_: Any
    ) -> None:
        before = dict(old) if old is not None else None
        found = judge(dict(body), before, parts.reviewer.others(namespace or "default"), parts.defaults)
        reply = REPLY.get()
        reply.verdict = str(Verdict.DENIED if found.refusal else Verdict.WARNED if found.warnings else Verdict.ADMITTED)
        warnings.extend(f"Mimic: {each}" for each in found.warnings)
        if found.refusal:
            raise kopf.AdmissionError(f"Mimic: {found.refusal}", code=FORBIDDEN)


def _configure(settings: kopf.OperatorSettings, serve: Serve) -> None:
    configure(settings, GROUP, idle_seconds=IDLE_SECONDS)
    settings.admission.server = serve
    settings.admission.managed = None  # the chart owns the configurations
    settings.watching.label_selectors["apps", "v1", "controllerrevisions"] = LABEL_COMPONENT


async def answering(registry: kopf.OperatorRegistry, namespaces: Sequence[str]) -> None:
    """kopf's operator until a signal ends it, or it fails. namespaces: none is the whole cluster."""
    await kopf.operator(
        registry=registry,
        standalone=True,
        identity=IDENTITY,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        memo=kopf.Memo(),
    )
