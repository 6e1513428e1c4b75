"""What one process tells of itself besides its log: metrics and spans."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from prometheus_client import CollectorRegistry

from mimic_operator.telemetry.catalogue import SPANS
from mimic_operator.telemetry.exporting import exporting
from mimic_operator.telemetry.exposition import counter, process_registry
from mimic_operator.telemetry.spans import Spans


@dataclass(frozen=True, slots=True)
class Telemetry:
    """registry: what /metrics shows."""

    registry: CollectorRegistry
    spans: Spans


@contextmanager
def telemetry(process: Literal["webhook", "reconciler"], environ: Mapping[str, str]) -> Iterator[Telemetry]:
    """For the life of the process; at its end the last spans are sent, for which it waits some seconds at most."""
    own = version("mimic")
    registry = process_registry(process, own)
    handed = counter(SPANS, registry)

    def exported(result: str, count: int) -> None:
        handed.labels(result).inc(count)

    with exporting(environ, service=f"mimic-{process}", version=own, exported=exported) as spans:
        yield Telemetry(registry, spans)
