"""The telemetry of one process: metrics, spans, and in the log the reason why it ends."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from prometheus_client import CollectorRegistry

from mimic_operator.catalogue import API_REQUESTS, SPANS
from mimic_operator.errors import OperatorError
from mimic_operator.runtime.exporting import exporting
from mimic_operator.runtime.logs import logger
from mimic_operator.runtime.metrics import counter, process_registry
from mimic_operator.runtime.spans import Spans

OK, FAILED = 0, 1
Name = Literal["webhook", "reconciler"]


@dataclass(frozen=True, slots=True)
class Telemetry:
    """registry: what /metrics shows."""

    registry: CollectorRegistry
    spans: Spans
    requested: Callable[[str, str], None]
    """Counts a request to the API server by verb and status."""


@contextmanager
def telemetry(process: Name, environ: Mapping[str, str]) -> Iterator[Telemetry]:
    """For the life of the process; at its end the last spans are sent, for which it waits some seconds at most."""
    own = version("mimic")
    registry = process_registry(process, own)
    handed, requests = counter(SPANS, registry), counter(API_REQUESTS, registry)

    def exported(result: str, count: int) -> None:
        handed.labels(result).inc(count)

    with exporting(environ, service=f"mimic-{process}", version=own, exported=exported) as spans:
        yield Telemetry(registry, spans, lambda verb, code: requests.labels(verb, code).inc())


def run_to_its_end(process: Name, environ: Mapping[str, str], work: Callable[[Telemetry], None]) -> int:
    """The exit code; the log says why it is not 0."""
    try:
        with telemetry(process, environ) as shown:
            work(shown)
    except OperatorError as error:
        logger.error("The %s ends: %s", process, error, extra={"reason": type(error).__name__})
        return FAILED
    except Exception:  # noqa: BLE001 - a defect's trace stands in a line like every other, and the container restarts
        logger.exception("The %s broke", process)
        return FAILED
    return OK
