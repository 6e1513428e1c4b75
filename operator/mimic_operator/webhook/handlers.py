"""Answers admission reviews as handlers of kopf."""

from collections.abc import Mapping
from typing import Any

import kopf

from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.naming import GROUP, PLURAL, VERSION
from mimic_operator.webhook.decide import Trigger
from mimic_operator.webhook.outcomes import Verdict
from mimic_operator.webhook.review import REPLY, Reviewer, operations, refusal
from mimic_operator.webhook.review import warnings as warnings_of
from mimic_operator.webhook.validate import judge

PODS, NAMESPACE_PODS, BACKENDS = "pods", "namespace-pods", "backends"
"""Paths of the webhook, and kopf's ids of the handlers."""
PATHS = frozenset({PODS, NAMESPACE_PODS, BACKENDS})
FORBIDDEN = 403


def add_handlers(registry: kopf.OperatorRegistry, reviewer: Reviewer, defaults: ProxyDefaults) -> None:
    """All handlers of the webhook process."""

    async def review(
        trigger: Trigger, body: Mapping[str, Any], namespace: str | None, dryrun: bool, warnings: list[str]
    ) -> None:
        pod, where = dict(body), namespace or "default"
        decision = await reviewer.pod(pod, where, trigger, dryrun)
        reply = REPLY.get()
        reply.decision, reply.namespace, reply.dry_run = decision, where, dryrun
        reply.pod, reply.verdict = {"metadata": pod.get("metadata") or {}}, str(decision.verdict)
        warnings.extend(warnings_of(decision, dry_run=dryrun))
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
        found = judge(dict(body), before, reviewer.others(namespace or "default"), defaults)
        reply = REPLY.get()
        reply.verdict = str(Verdict.DENIED if found.refusal else Verdict.WARNED if found.warnings else Verdict.ADMITTED)
        warnings.extend(f"Mimic: {each}" for each in found.warnings)
        if found.refusal:
            raise kopf.AdmissionError(f"Mimic: {found.refusal}", code=FORBIDDEN)
