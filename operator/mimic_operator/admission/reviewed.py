"""A span around each review."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from mimic_operator.admission import pods
from mimic_operator.admission.reply import Reply
from mimic_operator.telemetry.spans import Attributes, Spans, review

TROUBLE = ("Undecided", "Failed")
"""Reasons that are the operator's own trouble; a denial is an answer like any other."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    spans: Spans

    @contextmanager
    def review(self, handler: str, headers: Mapping[str, str], reply: Reply) -> Iterator[None]:
        """headers: of the request, which may name a parent. reply: is read at the end."""
        begun = self.spans.admission(handler, headers)
        error = "internal"
        try:
            yield
            decision = reply.decision
            error = decision.reason if decision is not None and decision.reason in TROUBLE else ""
        finally:
            begun.tell(_said(reply))
            begun.end(error)


def _said(reply: Reply) -> Attributes:
    decision = reply.decision
    if decision is None:
        return review(verdict=reply.verdict)
    owner = pods.controller(reply.pod) or {}
    return review(
        verdict=str(decision.verdict),
        reason=decision.reason,
        remarks=[each.word for each in decision.remarks],
        namespace=reply.namespace,
        backend=decision.backend,
        revision=decision.fit.revision.name if decision.fit is not None else "",
        workload=f"{owner.get('kind')}/{owner.get('name')}" if owner else "",
        dry_run=reply.dry_run,
    )
