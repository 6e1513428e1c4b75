"""Metrics and spans of the reconciler process."""

from collections import Counter as Tally
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from mimic_operator import catalogue
from mimic_operator.catalogue import FAULTS, Metric
from mimic_operator.reconcile.store import Entry, Store
from mimic_operator.runtime.informer import Informers
from mimic_operator.runtime.kinds import Key
from mimic_operator.runtime.metrics import Reading, asked, counter, gauge, histogram
from mimic_operator.runtime.queue import Outcome, WorkQueue
from mimic_operator.runtime.spans import Begun, Spans

Status = Mapping[str, Any]


class ReconcileMetrics:
    """Counted as it happens; what is a state is asked for at each scrape (see `read`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._failing: dict[Hashable, str] = {}
        self.reconciles = counter(catalogue.RECONCILES, registry)
        self.duration = histogram(catalogue.RECONCILE_DURATION, registry)
        self.rollouts = counter(catalogue.ROLLOUTS, registry)
        self.leader = gauge(catalogue.LEADER, registry)
        self.certificate = gauge(catalogue.CERTIFICATE, registry)
        self.read(catalogue.FAILING, self._failures)
        self.reconciles.labels("ok", "")
        for reason in FAULTS:
            self.reconciles.labels("error", reason)

    def reconciled(self, key: Hashable, seconds: float, reason: str) -> None:
        """One reconcile of a backend has ended; reason: empty, or the class of its fault."""
        self.reconciles.labels("error" if reason else "ok", reason).inc()
        self.duration.observe(seconds)
        if reason:
            self._failing[key] = reason
        else:
            self._failing.pop(key, None)

    def forget(self, key: Hashable) -> None:
        """A MimicBackend that is not reconciled for now does not fail either."""
        self._failing.pop(key, None)

    def states(self, queue: WorkQueue, informers: Informers, store: Store, status: Callable[[Key], Status]) -> None:
        """What is a state is read at each scrape. status: of a MimicBackend, as it was reported last."""
        self.read(catalogue.QUEUE_AGE, lambda: {(): queue.age()})
        self.read(catalogue.WATCH_AGE, informers.ages)
        self.read(catalogue.SKIPPED, lambda: {(): float(len(informers.away))})
        self.read(catalogue.MANAGED, lambda: _managed(store, status))
        self.read(catalogue.NOT_READY, lambda: _not_ready(store, status))
        self.read(catalogue.DEGRADED, lambda: _degraded(store, status))
        self.read(catalogue.PODS, lambda: _pods(store, status))

    def read(self, metric: Metric, reading: Reading) -> None:
        """Adds a gauge whose values are asked for at each scrape."""
        asked(metric, reading, self._registry)

    def _failures(self) -> Mapping[tuple[str, ...], float]:
        tally = Tally(self._failing.values())
        return {(reason,): float(tally[reason]) for reason in FAULTS}


class ReconcileSpans:
    """A span around each reconcile, from before its work until after its log line."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans
        self._begun: dict[Key, Begun] = {}

    def begin(self, key: Key) -> None:
        attributes = {"mimic.backend.namespace": key.namespace, "mimic.backend.name": key.name}
        self._begun[key] = self._spans.root("reconcile", attributes)

    def end(self, outcome: Outcome, entry: Entry | None, status: Status) -> bool:
        """Ends it, in the task that began it; False if none was. entry: None where there is no such MimicBackend."""
        begun = self._begun.pop(outcome.key, None)
        if begun is None:
            return False
        begun.set(
            {
                "mimic.reconcile.result": "error" if outcome.reason else "ok",
                "mimic.backend.generation": entry.generation if entry is not None else None,
                "mimic.backend.mode": entry.mode if entry is not None else "",
                "mimic.revision": str(status.get("updateRevision") or ""),
                "mimic.revision.current": str(status.get("currentRevision") or ""),
                "mimic.rollout.phase": str((status.get("rollout") or {}).get("phase") or ""),
            }
        )
        begun.end(outcome.reason)
        return True


def _managed(store: Store, status: Callable[[Key], Status]) -> Mapping[tuple[str, ...], float]:
    ready = [
        (entry.mode, "True" if any(_holds(each, "Ready") for each in _conditions(status(key))) else "False")
        for key, entry in store.entries.items()
    ]
    every = [(mode, value) for mode in ("Sidecar", "Deployment") for value in ("True", "False")]
    tally = Tally(ready)
    return {label: float(tally[label]) for label in every}


def _not_ready(store: Store, status: Callable[[Key], Status]) -> Mapping[tuple[str, ...], float]:
    ready = (each for key in store.entries for each in _conditions(status(key)) if each.get("type") == "Ready")
    tally = Tally(str(each.get("reason")) for each in ready if each.get("status") != "True")
    return {(reason,): float(tally[reason]) for reason in {*catalogue.UNREADY, *tally}}


def _degraded(store: Store, status: Callable[[Key], Status]) -> Mapping[tuple[str, ...], float]:
    true = (each for key in store.entries for each in _conditions(status(key)) if _holds(each, "Degraded"))
    tally = Tally(str(each.get("reason")) for each in true)
    return {(reason,): float(tally[reason]) for reason in {*catalogue.DEGRADATIONS, *tally}}


def _pods(store: Store, status: Callable[[Key], Status]) -> Mapping[tuple[str, ...], float]:
    injected = [status(key).get("injected") or {} for key in store.entries]
    states = ("current", "outdated", "missing")
    return {(state,): float(sum(each.get(state) or 0 for each in injected)) for state in states}


def _conditions(status: Status) -> Iterable[Mapping[str, Any]]:
    return status.get("conditions") or ()


def _holds(condition: Mapping[str, Any], kind: str) -> bool:
    return condition.get("type") == kind and condition.get("status") == "True"
