"""Turns AdmissionReviews into decisions and back, within a time budget: the handlers of kopf."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import kopf

from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.naming import GROUP, PLURAL, VERSION
from mimic_operator.resource.selection import Candidate
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import Key
from mimic_operator.runtime.spans import Attributes, Spans
from mimic_operator.webhook import pods
from mimic_operator.webhook.decide import Decision, Request, Trigger, decide, end, softened
from mimic_operator.webhook.lookup import Lookup
from mimic_operator.webhook.mutate import patch
from mimic_operator.webhook.outcomes import Verdict
from mimic_operator.webhook.pods import malformed
from mimic_operator.webhook.validate import judge


@dataclass(slots=True)
class Reply:
    """operations: RFC 6902, for the response. decision and owner: for the Event that follows it."""

    operations: list[dict[str, Any]] = field(default_factory=list)
    decision: Decision | None = None
    pod: dict[str, Any] = field(default_factory=dict)
    """Its metadata, and nothing else of it."""
    namespace: str = ""
    dry_run: bool = False
    verdict: str = ""


REPLY: ContextVar[Reply] = ContextVar("reply")


logger = logging.getLogger("mimic.admission")
BUDGET_SECONDS = 2.0
"""The API server waits five seconds; until then the response is ours to give."""
PATIENCE = 0.75
"""The part of it to wait for a backend or its first revision that is on its way."""


@dataclass(slots=True)
class Reviewer:
    """server: major and minor version of the API server."""

    lookup: Lookup
    server: tuple[int, int]
    budget_seconds: float = BUDGET_SECONDS

    async def pod(self, pod: Mapping[str, Any], namespace: str, trigger: Trigger, dry_run: bool) -> Decision:
        """Never raises: what cannot be decided is a decision, too."""
        if wrong := malformed(pod):
            return softened(end("Malformed", problem=wrong), trigger)
        try:
            async with asyncio.timeout(self.budget_seconds):
                known = await self.lookup.know(pod, namespace, self.budget_seconds * PATIENCE)
            request = Request(namespace=known.namespace, trigger=trigger, server=self.server, dry_run=dry_run)
            return decide(pod, request, known.candidates, lambda where, name: known.revisions.get(Key(where, name)))
        except TimeoutError:
            problem = f"the API server did not respond within {self.budget_seconds:g} s"
        except Fault as fault:
            problem = f"the API server did not respond ({fault.reason})"
        except Exception:
            logger.exception("A review failed")
            return softened(end("Failed"), trigger)
        return softened(end("Undecided", problem=problem), trigger)

    def others(self, namespace: str) -> Sequence[Candidate]:
        """The MimicBackends of a namespace, as far as they are known."""
        return self.lookup.index.backends(namespace)


def operations(pod: Mapping[str, Any], decision: Decision) -> list[dict[str, Any]]:
    """The patch; none for what is denied."""
    return [] if decision.verdict is Verdict.DENIED else patch(pod, decision)


def warnings_of(decision: Decision, *, dry_run: bool) -> list[str]:
    """Admission warnings, which kubectl shows: what someone has to know; on a dry run all of it."""
    found = []
    if decision.verdict is Verdict.WARNED or (dry_run and decision.verdict is Verdict.ADMITTED):
        found.append(f"Mimic, {decision.reason}: {decision.sentence}")
    if decision.verdict is not Verdict.DENIED:
        found += [f"Mimic, {each.word}: {each.sentence}" for each in decision.notes if each.warns or dry_run]
    return found


def refusal(decision: Decision) -> str:
    """What the user reads instead of a pod."""
    return f"Mimic, {decision.reason}: {decision.sentence}"


TROUBLE = ("Undecided", "Failed")
"""Reasons that are the operator's own trouble; a denial is an answer like any other."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    spans: Spans

    @contextmanager
    def review(self, handler: str, headers: Mapping[str, str], reply: Reply) -> Iterator[None]:
        """headers: of the request, which may name a parent. reply: is read at the end."""
        begun = self.spans.served(f"admit {handler}", headers, {"mimic.admission.handler": handler})
        error = "internal"
        try:
            yield
            decision = reply.decision
            error = decision.reason if decision is not None and decision.reason in TROUBLE else ""
        finally:
            begun.set(_said(reply))
            begun.end(error)


def _said(reply: Reply) -> Attributes:
    decision = reply.decision
    if decision is None:
        return {"mimic.admission.verdict": reply.verdict}
    owner = pods.controller(reply.pod) or {}
    namespace, _, name = decision.backend.partition("/")
    return {
        "mimic.admission.verdict": str(decision.verdict),
        "mimic.admission.reason": decision.reason,
        "mimic.admission.notes": tuple(each.word for each in decision.notes) or None,
        "mimic.admission.namespace": reply.namespace,
        "mimic.admission.dry_run": reply.dry_run,
        "mimic.backend.namespace": namespace,
        "mimic.backend.name": name,
        "mimic.revision": decision.fit.revision.name if decision.fit is not None else "",
        "mimic.workload": f"{owner.get('kind')}/{owner.get('name')}" if owner else "",
    }


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
