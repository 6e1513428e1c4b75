"""Workloads whose pods the API server refuses: by Mimic's webhook, without it, or by a quota because of the sidecar.

Their controllers wait up to 1,000 s before they try again. Touching the workload's metadata makes its controller try at
once. Who was refused, and why, is known from the Events of reason FailedCreate that controllers post, whoever labelled
the pods; their metadata is watched, and one that has changed is read.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mimic_operator.reconcile.store import Store
from mimic_operator.reconcile.workload import Ref, Workload, of_quota, read, seconds_of
from mimic_operator.resource.kinds import KIND_BY_NAME
from mimic_operator.resource.naming import ANNOTATION_RETRY_AT, GROUP, MANAGER
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.informer import Change
from mimic_operator.runtime.kinds import EVENT, Key

logger = logging.getLogger("mimic.retry")

POLL_SECONDS = 5.0
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 30.0, 300.0
"""Between two retries of a workload: doubled each time, begun anew when a backend of its namespace has changed."""
ACCEPTED_SECONDS = 60.0
"""Without a new refusal for so long after a retry the pods were accepted."""
FORGET_SECONDS = 1800.0
"""Older refusals are over: the longest back-off is 1,000 s."""
LONGEST_SENTENCE = 300
Backends = frozenset[tuple[str, int, str]]


class Refusal(NamedTuple):
    """The newest refused pod of a workload. at: Unix time."""

    ref: Ref
    at: float
    away: bool = False
    """No webhook answered."""
    quota: str = ""
    """What a quota or a limit range said."""


@dataclass(slots=True)
class Case:
    """One workload. backend: whose sidecar it is that does not fit into a quota."""

    refusal: Refusal
    since: float
    """Unix time of the first refusal. The controller's own tries come between, and each is refused."""
    backend: Key | None = None
    tries: int = 0
    retried: float = 0.0
    backends: Backends = frozenset()
    """Those of the namespace at the last retry."""


def refusal_in(event: Mapping[str, Any]) -> Refusal | None:
    """What an Event tells of a workload; None where it does not concern Mimic."""
    message, about = str(event.get("message") or ""), event.get("involvedObject") or {}
    quota = message if of_quota(message) else ""
    if not quota and f'.{GROUP}"' not in message:
        return None
    kind, namespace, name = (str(about.get(each) or "") for each in ("kind", "namespace", "name"))
    if kind == "ReplicaSet":
        kind, name = "Deployment", name.rpartition("-")[0]
    at = seconds_of(str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return Refusal(Ref(namespace, kind, name), at, "failed calling webhook" in message, quota[:LONGEST_SENTENCE])


def is_due(case: Case, backends: Backends, now: float) -> bool:
    """Whether the workload's controller is to try again now. Timestamps of Events are of whole seconds."""
    if case.refusal.at < int(case.retried):
        return False
    if backends != case.backends:
        return True
    wait = FIRST_RETRY_SECONDS * (1 if case.refusal.away else 2 ** min(case.tries, 10))
    return now - max(case.retried, case.since) >= min(wait, LONGEST_RETRY_SECONDS)


def is_over(case: Case, now: float) -> bool:
    accepted = 0 < case.retried < now - ACCEPTED_SECONDS and case.refusal.at < int(case.retried)
    return accepted or now - case.refusal.at > FORGET_SECONDS


@dataclass(slots=True)
class Refused:
    """wall: Unix time. changed: called with a backend of which other pods are refused than before."""

    cluster: Cluster
    store: Store
    wall: Callable[[], float]
    changed: Callable[[Key], None]
    cases: dict[Ref, Case] = field(default_factory=dict)
    _unread: dict[tuple[str, str], None] = field(default_factory=dict)

    def add_event(self, change: Change[str]) -> None:
        """An Event of reason FailedCreate has come, or counts another time."""
        if change.found is not None:
            self._unread[change.namespace, change.name] = None

    def of(self, key: Key) -> dict[Ref, str]:
        """What a quota said of pods with the backend's sidecar, by workload."""
        return {ref: case.refusal.quota for ref, case in self.cases.items() if case.backend == key}

    async def run(self) -> None:
        """Until cancelled."""
        said = ""
        while True:
            try:
                await self.poll()
            except Fault as fault:
                level = logging.DEBUG if fault.reason == said else logging.WARNING
                said, extra = fault.reason, {"reason": fault.reason}
                logger.log(level, "Refused pods could not be read or retried: %s", fault, extra=extra)
            else:
                said = ""
            await asyncio.sleep(POLL_SECONDS)

    async def poll(self) -> None:
        """Reads the Events that have come, and retries what is due. Raises Fault."""
        while self._unread:
            namespace, name = next(iter(self._unread))
            event = await self.cluster.get(EVENT, namespace, name)
            del self._unread[namespace, name]
            if event is not None and (refusal := refusal_in(event)) is not None:
                await self._note(refusal)
        now = self.wall()
        for ref, case in list(self.cases.items()):
            if is_over(case, now):
                self._drop(ref)
                continue
            backends = self._backends(ref.namespace)
            if is_due(case, backends, now):
                await self._retry(case, backends, now)

    async def _note(self, refusal: Refusal) -> None:
        ref = refusal.ref
        if ref not in self.store.workloads.get(ref.namespace, {}) or self.wall() - refusal.at > FORGET_SECONDS:
            return
        case = self.cases.get(ref)
        if case is not None:
            refused_anew = case.refusal.quota != refusal.quota
            case.refusal = refusal
            if refused_anew and case.backend is not None:
                self.changed(case.backend)
            return
        backend = None
        if refusal.quota:
            manifest = await self.cluster.get(KIND_BY_NAME[ref.kind], ref.namespace, ref.name)
            backend = self._backend(read(manifest)) if manifest is not None else None
            if backend is None:
                return  # a quota that is none of Mimic's business
        self.cases[ref] = Case(refusal, refusal.at, backend, backends=self._backends(ref.namespace))
        if backend is not None:
            self.changed(backend)

    def _backend(self, workload: Workload) -> Key | None:
        """Whose sidecar its pods ask for; None where they ask for none."""
        if workload.fields.inject != "true":
            return None
        named = workload.fields.backend or self.store.default_backend(workload.ref.namespace)
        return Key(workload.ref.namespace, named) if named else None

    def _backends(self, namespace: str) -> Backends:
        keys = (Key(namespace, name) for name in self.store.candidates.get(namespace, {}))
        entries = ((key.name, self.store.entries[key]) for key in keys)
        return frozenset((name, e.generation, str(e.status.get("currentRevision") or "")) for name, e in entries)

    def _drop(self, ref: Ref) -> None:
        case = self.cases.pop(ref)
        if case.backend is not None:
            self.changed(case.backend)

    async def _retry(self, case: Case, backends: Backends, now: float) -> None:
        ref = case.refusal.ref
        case.tries = case.tries + 1 if backends == case.backends else 1
        case.retried, case.backends = now, backends
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        patch = {"metadata": {"annotations": {ANNOTATION_RETRY_AT: stamp}}}
        try:
            await self.cluster.merge(KIND_BY_NAME[ref.kind], ref.namespace, ref.name, patch, MANAGER)
        except Fault as fault:
            if fault.reason not in ("absent", "invalid", "forbidden"):
                raise
            self._drop(ref)
            return
        logger.info("The pods of %s in %s are tried again", ref, ref.namespace, extra={"workload": str(ref)})
