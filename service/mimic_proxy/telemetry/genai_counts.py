"""OpenTelemetry's metrics for generative AI, for whoever has dashboards for them (`MIMIC_GENAI_METRICS`). Pure.

Names and buckets are prescribed by semantic-conventions-genai, docs/gen-ai/gen-ai-metrics.md, in its form for a client;
Prometheus's naming (underscores, unit) is applied as the OpenTelemetry exporter does it.
"""

from collections.abc import Callable, Mapping

from mimic_proxy.telemetry.catalogue import GENAI
from mimic_proxy.telemetry.counts import Counts
from mimic_proxy.telemetry.models import ModelLabels
from mimic_proxy.telemetry.observation import Operation
from mimic_proxy.telemetry.record import Record

OPERATIONS: dict[Operation, str] = {"chat": "chat", "embeddings": "embeddings"}
"""Values of `gen_ai.operation.name`; other operations have none."""

Address = tuple[str, str]
"""Host and port of a backend."""


class GenAICounts:
    """Counts calls to models. servers: the backend's address by operation."""

    def __init__(
        self,
        models: ModelLabels,
        responding: ModelLabels,
        servers: Mapping[Operation, Address],
        provider: str = "openai",
    ) -> None:
        """models: names as callers send them; responding: as backends answer."""
        self.counts = Counts(GENAI)
        self._models = models
        self._responding = responding
        self._servers = servers
        self._provider = provider

    def count(self, seen: Record) -> None:
        """Counts one finished exchange, if it was a call to a model."""
        name = OPERATIONS.get(seen.operation)
        if name is None:
            return
        histograms = self.counts.histograms
        response = "" if seen.shown.model is None else self._responding.answered(seen.shown.model)
        labels = (name, self._provider, self._models.label(seen.model), response, *self._servers[seen.operation])
        failed = "" if seen.outcome == "completed" else seen.error_type or seen.error_code or seen.outcome
        histograms["gen_ai_client_operation_duration_seconds"].child(*labels, failed).observe(seen.duration_seconds)
        usage = histograms["gen_ai_client_token_usage"]
        for kind, tokens in (("input", seen.shown.usage.input), ("output", seen.shown.usage.output)):
            if tokens is not None:
                usage.child(*labels, kind).observe(tokens)
        if seen.first_chunk_seconds is not None:
            first = histograms["gen_ai_client_operation_time_to_first_chunk_seconds"]
            first.child(*labels).observe(seen.first_chunk_seconds)

    def gaps(
        self, operation: Operation, model: str | None, observe: Callable[[float], None]
    ) -> Callable[[float], None]:
        """Also tells `observe`. The model that responds is not known yet while chunks come."""
        name = OPERATIONS.get(operation)
        if name is None:
            return observe
        labels = (name, self._provider, self._models.label(model), "", *self._servers[operation])
        chunk = self.counts.histograms["gen_ai_client_operation_time_per_output_chunk_seconds"].child(*labels)

        def both(seconds: float) -> None:
            observe(seconds)
            chunk.observe(seconds)

        return both
