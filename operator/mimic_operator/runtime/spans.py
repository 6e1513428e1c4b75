"""The operator's spans: their names and attributes stand here and nowhere else.

    reconcile            INTERNAL  one turn of a MimicBackend, a root
    `- get Deployment    CLIENT    each call to the API server in it
    admit pods           SERVER    one review; the API server's span is its parent, if that traces
    `- get Namespace     CLIENT

Attributes hold names, words and counts: nothing of a specification, no environment, no message of an error.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import context, trace
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mimic_operator.errors import OperatorError

NAMESPACE, NAME = "mimic.backend.namespace", "mimic.backend.name"
ERROR = "error.type"
"""The word of the reason, as metrics and logs have it."""
Attributes = Mapping[str, str | int | float | bool | Sequence[str] | None]
"""None: it is not known, and left out."""


_PARENT = TraceContextTextMapPropagator()


class Begun:
    """A span that is current in the task that began it, until it is ended there."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._token = context.attach(trace.set_span_in_context(span))

    def tell(self, attributes: Attributes) -> None:
        for name, value in attributes.items():
            if value is not None and value != "":
                self._span.set_attribute(name, value)

    def end(self, error: str = "", *, failed: bool = True) -> None:
        """error: the word of its reason, empty if all went well. failed: whether such an end is a failure."""
        if error:
            self._span.set_attribute(ERROR, error)
            if failed:
                self._span.set_status(Status(StatusCode.ERROR))
        context.detach(self._token)
        self._span.end()


@dataclass(frozen=True, slots=True)
class Spans:
    """What the operator tells a collector."""

    tracer: Tracer

    def reconcile(self, namespace: str, name: str) -> Begun:
        """One turn of a backend begins."""
        attributes = {NAMESPACE: namespace, NAME: name}
        return Begun(self.tracer.start_span("reconcile", context=context.Context(), attributes=attributes))

    def admission(self, handler: str, headers: Mapping[str, str]) -> Begun:
        """One review begins. handler: a word of a closed list. headers: of the request."""
        carrier = {name.lower(): value for name, value in headers.items() if name.lower() in _PARENT.fields}
        parent = _PARENT.extract(carrier, context=context.Context())
        attributes = {"mimic.admission.handler": handler}
        span = self.tracer.start_span(f"admit {handler}", context=parent, kind=SpanKind.SERVER, attributes=attributes)
        return Begun(span)

    @contextmanager
    def call(self, verb: str, kind: str, namespace: str | None, name: str | None) -> Iterator[None]:
        """A call to the API server within a span of ours; elections and watches have none, and make none."""
        if not trace.get_current_span().is_recording():
            yield
            return
        attributes = {"k8s.object.kind": kind, "k8s.object.namespace": namespace or "", "k8s.object.name": name or ""}
        begun = Begun(self.tracer.start_span(f"{verb} {kind}", kind=SpanKind.CLIENT))
        begun.tell(attributes)
        error = "internal"
        try:
            yield
            error = ""
        except OperatorError as fault:
            error = getattr(fault, "reason", error)
            raise
        except asyncio.CancelledError:
            error = "cancelled"
            raise
        finally:
            begun.end(error, failed=error != "absent")  # that nothing is there is what was asked


OFF = Spans(NoOpTracer())
"""Nothing is made, and log lines know the parent that a request named."""


def turn(*, result: str, generation: int | None, mode: str, revision: str, current: str, phase: str) -> Attributes:
    """How a turn ended. revision: the one that workloads are brought to; current: the one that other pods get."""
    return {
        "mimic.reconcile.result": result,
        "mimic.backend.generation": generation,
        "mimic.backend.mode": mode,
        "mimic.revision": revision,
        "mimic.revision.current": current,
        "mimic.rollout.phase": phase,
    }


def review(
    *,
    verdict: str,
    reason: str = "",
    notes: Sequence[str] = (),
    namespace: str = "",
    backend: str = "",
    revision: str = "",
    workload: str = "",
    dry_run: bool | None = None,
) -> Attributes:
    """How a review ended. backend: NAMESPACE/NAME. workload: KIND/NAME of what made the pod."""
    where, _, name = backend.partition("/")
    return {
        "mimic.admission.verdict": verdict,
        "mimic.admission.reason": reason,
        "mimic.admission.notes": tuple(notes) or None,
        "mimic.admission.namespace": namespace,
        "mimic.admission.dry_run": dry_run,
        NAMESPACE: where,
        NAME: name,
        "mimic.revision": revision,
        "mimic.workload": workload,
    }
