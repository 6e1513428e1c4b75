"""The kinds that the reconciler watches, and what of them goes into the store."""

from collections.abc import Callable, Iterable
from typing import Any

from mimic_operator.reconcile.store import Store, keep_backend, keep_child, keep_pod, keep_version, keep_workload
from mimic_operator.resource.kinds import BACKEND, CHILDREN, WORKLOADS
from mimic_operator.resource.naming import LABEL_COMPONENT, LABEL_INJECT, LABEL_INJECTED
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.informer import Change, Informer, View, metadata_only, scopes, whole
from mimic_operator.runtime.kinds import DEPLOYMENT, EVENT, POD, POD_MONITOR, Key, Kind
from mimic_operator.runtime.queue import Backoff

POD_LABELS = (f"{LABEL_INJECT}=true", f"{LABEL_INJECTED},{LABEL_INJECT}!=true")
"""Pods that ask for the proxy themselves, and those that got it by the label of their namespace."""
REFUSED = "reason=FailedCreate"
NOT_ENDED = "status.phase!=Succeeded,status.phase!=Failed"


def informers_for(
    store: Store,
    cluster: Cluster,
    *,
    namespaces: Iterable[str],
    clock: Callable[[], float],
    backoff: Backoff,
    watch_seconds: float,
) -> list[Informer[Any]]:
    """One for each kind and namespace; MimicBackends come whole, everything else as metadata."""
    found: list[Informer[Any]] = []
    for namespace in scopes(namespaces):

        def add(
            kind: Kind,
            view: View[Any],
            changed: Callable[[Change[Any]], None],
            labels: str | None = None,
            fields: str | None = None,
            namespace: str | None = namespace,
        ) -> None:
            informer = Informer(
                cluster=cluster,
                kind=kind,
                view=view,
                changed=changed,
                clock=clock,
                backoff=backoff,
                watch_seconds=watch_seconds,
                namespace=namespace,
                labels=labels,
                fields=fields,
                optional=kind is POD_MONITOR,
            )
            found.append(informer)

        add(BACKEND, whole(BACKEND, keep_backend), lambda each: store.set_backend(Key(*each[:2]), each.found))
        for kind in WORKLOADS:
            add(kind, metadata_only(keep_workload), _of_kind(store.set_workload, kind))
        add(EVENT, metadata_only(keep_version), store.failed_create, None, REFUSED)
        for labels in POD_LABELS:
            add(POD, metadata_only(keep_pod), store.set_pod, labels, NOT_ENDED)
        for kind in CHILDREN:
            if kind is not DEPLOYMENT:  # it is among the workloads
                add(kind, metadata_only(keep_child), _of_kind(store.set_child, kind), LABEL_COMPONENT)
    return found


def _of_kind(seen: Callable[[str, Change[Any]], None], kind: Kind) -> Callable[[Change[Any]], None]:
    return lambda change: seen(kind.kind, change)
