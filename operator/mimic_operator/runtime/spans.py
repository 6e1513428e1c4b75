"""Spans of a process: roots, served requests, and the calls to the API server that are made within them.

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

    def set(self, attributes: Attributes) -> None:
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
    """Begins spans for a collector."""

    tracer: Tracer

    def root(self, name: str, attributes: Attributes) -> Begun:
        """Begins a span without a parent."""
        begun = Begun(self.tracer.start_span(name, context=context.Context()))
        begun.set(attributes)
        return begun

    def served(self, name: str, headers: Mapping[str, str], attributes: Attributes) -> Begun:
        """Begins the span of a request; its header fields may name a parent."""
        carrier = {field.lower(): value for field, value in headers.items() if field.lower() in _PARENT.fields}
        parent = _PARENT.extract(carrier, context=context.Context())
        begun = Begun(self.tracer.start_span(name, context=parent, kind=SpanKind.SERVER))
        begun.set(attributes)
        return begun

    @contextmanager
    def call(self, verb: str, kind: str, namespace: str | None, name: str | None) -> Iterator[None]:
        """A call to the API server within one of these spans; elections and watches have none, and make none."""
        if not trace.get_current_span().is_recording():
            yield
            return
        attributes = {"k8s.object.kind": kind, "k8s.object.namespace": namespace or "", "k8s.object.name": name or ""}
        begun = Begun(self.tracer.start_span(f"{verb} {kind}", kind=SpanKind.CLIENT))
        begun.set(attributes)
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
            begun.end(error, failed=error != "absent")  # that nothing is there is a result


OFF = Spans(NoOpTracer())
"""Nothing is made, and log lines know the parent that a request named."""
