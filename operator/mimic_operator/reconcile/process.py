"""The reconciler process: a candidate for the Lease that, once it leads, watches and reconciles.

    on.startup   acquire the Lease; from then on `hold` renews it
    leading      read the CRD, list every kind once, reconcile, keep the webhook's certificate
    on.cleanup   end all of it, release the Lease unless it was lost

Nothing that the API server answers ends a leader. What ends it: a signal, a lost Lease, and a first list that does not
succeed within SYNC_DEADLINE_SECONDS, which names the kind.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lightkube import KubeConfig

from mimic_operator.errors import OperatorError
from mimic_operator.reconcile.apply import Applier
from mimic_operator.reconcile.certificates import Trust
from mimic_operator.reconcile.cluster_backends import ClusterBackends
from mimic_operator.reconcile.definition import Definition
from mimic_operator.reconcile.metrics import ReconcileMetrics, ReconcileSpans
from mimic_operator.reconcile.missing import Evictions
from mimic_operator.reconcile.observe import Observer
from mimic_operator.reconcile.reconciler import Reconciler, Slots
from mimic_operator.reconcile.refused import Refused
from mimic_operator.reconcile.report import Reporter
from mimic_operator.reconcile.secrets import SecretChecks
from mimic_operator.reconcile.store import Store
from mimic_operator.reconcile.tenure import Identity, Tenure
from mimic_operator.reconcile.watches import informers_for
from mimic_operator.resource.container import proxy_defaults
from mimic_operator.resource.kinds import BACKEND
from mimic_operator.resource.naming import GROUP
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.health import serving
from mimic_operator.runtime.hosting import Host
from mimic_operator.runtime.informer import Informers
from mimic_operator.runtime.kinds import Key
from mimic_operator.runtime.lease import Election, Terms
from mimic_operator.runtime.logs import logger
from mimic_operator.runtime.process import Telemetry
from mimic_operator.runtime.queue import Backoff, Outcome, WorkQueue
from mimic_operator.settings import Settings

WORKERS = 8
IDLE_CHECK_SECONDS = 0.05
RELEASE_CHECK_SECONDS = 5.0
"""A MimicBackend that is gone is looked at again after so long while its CRD is in doubt."""


class LostLease(OperatorError):
    """Another leads now, or the API server cannot be reached: nothing may be written any more."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the process uses of its machine. clock: monotonic seconds; wall: Unix time; random: [0, 1)."""

    identity: str
    clock: Callable[[], float]
    wall: Callable[[], float]
    random: Callable[[], float]


async def run(settings: Settings, config: KubeConfig, machine: Machine, telemetry: Telemetry) -> None:
    """Runs until SIGTERM or SIGINT. Raises LostLease, NotSynced."""
    # The Lease and the watches have connections of their own: no crowd of other calls may keep them waiting.
    count = telemetry.requested
    async with (
        Cluster(config, telemetry.spans, count=count) as cluster,
        Cluster(config, count=count) as watching,
        Cluster(config, count=count) as for_lease,
    ):
        process = Process(settings, config, machine, telemetry, cluster, watching, for_lease)
        health = serving(settings.metrics_host, settings.metrics_port, registry=telemetry.registry, live={}, ready={})
        async with health as port:
            logger.info("Health and metrics on port %s", port, extra={"port": port})
            await process.host.run()


class Process:
    """One candidate for the Lease, and all that the leader runs."""

    def __init__(
        self,
        settings: Settings,
        config: KubeConfig,
        machine: Machine,
        telemetry: Telemetry,
        cluster: Cluster,
        watching: Cluster,
        for_lease: Cluster,
    ) -> None:
        self._settings, self._machine, self._cluster, self._watching = settings, machine, cluster, watching
        self._spans = ReconcileSpans(telemetry.spans)
        self._lost = False
        self.host = Host(config, GROUP, self._startup, self._cleanup)
        retry = Backoff(machine.random, most=settings.watch_retry_seconds)
        self.queue = WorkQueue(self._work, machine.clock, Backoff(machine.random), self._done)
        self.store = Store(self.queue.add)
        self.refused = Refused(cluster, self.store, machine.wall, self.queue.add)
        self.store.failed_create = self.refused.add_event
        self.slots = Slots(settings.max_concurrent_rollouts, self.queue.add)
        self.cluster_backends = ClusterBackends(
            cluster, watching, machine.clock, machine.wall, retry, settings.watch_seconds
        )
        informers = informers_for(
            self.store,
            watching,
            namespaces=settings.watch_namespaces,
            clock=machine.clock,
            backoff=retry,
            watch_seconds=settings.watch_seconds,
        )
        # An operator of a few namespaces has no rights on what is cluster-wide.
        clusterwide = () if settings.watch_namespaces else self.cluster_backends.informers
        self.informers = Informers(
            [*informers, *clusterwide],
            machine.clock,
            returned=self._namespace_returned,
            troubled=self._troubled,
        )
        self.definition = Definition(cluster, settings.definition_poll_seconds, retry, self._age)
        self.secret_checks = SecretChecks(cluster, self.store, machine.clock, machine.random, self.queue.add)
        self.election = Election(
            for_lease,
            namespace=settings.mimic_namespace,
            name=settings.lease_name,
            identity=machine.identity,
            clock=machine.clock,
            wall=machine.wall,
            terms=Terms(settings.lease_duration_seconds, settings.lease_renew_seconds, settings.lease_retry_seconds),
        )
        observer = Observer(
            cluster,
            self.store,
            proxy_defaults(settings),
            settings.rollout_on_upgrade,
            machine.clock,
            machine.wall,
            self.secret_checks.condition,
            self.refused.of,
        )
        self.own = own = Identity(not settings.watch_namespaces, settings.mimic_namespace, settings.lease_name)
        tenure = Tenure(cluster, own, machine.clock, machine.wall)
        reporter = Reporter(cluster, own, machine.clock, machine.wall, self._rollout_ended)
        self.store.misnamed = reporter.misnamed
        applier = Applier(cluster, self.store, machine.clock, machine.wall)
        self.reconciler = Reconciler(cluster, observer, applier, reporter, tenure, self.slots, self.queue.add)
        self.metrics = ReconcileMetrics(telemetry.registry)
        self.metrics.states(self.queue, self.informers, self.store, self._status)

    # The life of the process

    async def _startup(self) -> None:
        await self.election.acquire()
        self.metrics.leader.set(1)
        for work in (self._hold(), *self._leading()):
            self.host.beside(work)

    async def _cleanup(self) -> None:
        self.metrics.leader.set(0)
        if not self._lost:
            await self.election.release()

    async def _hold(self) -> None:
        await self.election.hold()
        self._lost = True
        self.host.cancel()
        raise LostLease("the Lease is lost")

    def _leading(self) -> Iterable[Coroutine[Any, Any, None]]:
        yield self.definition.run()
        yield self.informers.run()
        yield self._synced(self._reconcile)
        yield self._synced(self.refused.run)
        if not self._settings.watch_namespaces:
            yield self._synced(self.cluster_backends.run)
        missing = Evictions(self._cluster, self.store, self._machine.clock, self._settings.evict_missing, str(self.own))
        yield self._synced(missing.run)
        if self._settings.cert_mode == "self":
            yield self._trust().run()

    def _trust(self) -> Trust:
        return Trust(
            cluster=self._cluster,
            watching=self._watching,
            namespace=self._settings.mimic_namespace,
            secret=self._settings.cert_secret,
            service=self._settings.webhook_service,
            names=self._settings.webhook_names,
            configuration=self._settings.webhook_configuration,
            clock=self._machine.clock,
            wall=self._machine.wall,
            backoff=Backoff(self._machine.random, most=self._settings.watch_retry_seconds),
            watch_seconds=self._settings.watch_seconds,
            renewed=self.metrics.certificate.set,
        )

    async def _synced(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begins the work once everything that is there has been observed."""
        await self.definition.usable()
        await self.informers.synced(self._settings.sync_deadline_seconds)
        await work()

    async def _reconcile(self) -> None:
        for key in self.store.unused():
            self.queue.add(key)
        count = len(self.store.entries)
        logger.info("Watching %d MimicBackends", count, extra={"count": count})
        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run(WORKERS))
            group.create_task(self._open())
            group.create_task(self._resync())

    async def _open(self) -> None:
        """Restarts may begin once every MimicBackend was reconciled; to ask proxies is not urgent before either."""
        start = self._machine.clock()
        while not self.queue.idle():
            await asyncio.sleep(IDLE_CHECK_SECONDS)
        self.slots.start()
        seconds = round(self._machine.clock() - start, 3)
        logger.info("Every MimicBackend was looked at", extra={"seconds": seconds})
        await self.secret_checks.run()

    async def _resync(self) -> None:
        seconds = self._settings.resync_seconds
        while True:
            for key in self.store.entries.keys() | self.store.unused():
                self.queue.add_after(key, seconds * (0.5 + self._machine.random() / 2))
            await asyncio.sleep(seconds)

    def _troubled(self) -> None:
        backends = (each.trouble for each in self.informers.members if each.kind is BACKEND)
        if any(trouble is not None and trouble.reason == "absent" for trouble in backends):
            self.definition.doubt()

    def _namespace_returned(self, namespace: str) -> None:
        for key in self.store.entries:
            if key.namespace == namespace:
                self.queue.add(key)

    # One reconcile

    async def _work(self, key: Key) -> float | None:
        await self.definition.usable()
        if key.namespace in self.informers.away:
            return None
        self._spans.begin(key)
        if key not in self.store.entries and not await self.definition.may_release(self._applied(key)):
            return RELEASE_CHECK_SECONDS
        return await self.reconciler.reconcile(key)

    def _applied(self, key: Key) -> Iterable[str]:
        """When workloads that may have to be released got the operator's fields."""
        workloads = self.store.workloads.get(key.namespace, {})
        return [found.applied for ref in self.store.near(key) if (found := workloads.get(ref)) and found.applied]

    def _done(self, outcome: Outcome) -> None:
        if not self._spans.end(outcome, self.store.entries.get(outcome.key), self._status(outcome.key)):
            self.metrics.forget(outcome.key)  # it was skipped: its namespace is away
            return
        self.metrics.reconciled(outcome.key, outcome.seconds, outcome.reason)

    def _rollout_ended(self, result: str) -> None:
        self.metrics.rollouts.labels(result).inc()

    def _status(self, key: Key) -> Mapping[str, Any]:
        """The status as it was written last, or as it was found."""
        memory, entry = self.reconciler.memories.get(key), self.store.entries.get(key)
        if memory is not None and memory.reported is not None:
            return memory.reported
        return entry.status if entry is not None else {}

    def _age(self, since: str) -> float:
        return self._machine.wall() - datetime.fromisoformat(since).timestamp()
