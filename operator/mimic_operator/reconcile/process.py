"""The reconciler process: elected, it watches and works until it is told to end or loses its Lease."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from lightkube import KubeConfig

from mimic_operator import catalogue
from mimic_operator.errors import OperatorError
from mimic_operator.reconcile import handlers
from mimic_operator.reconcile.apply import Applier
from mimic_operator.reconcile.denied import Denied
from mimic_operator.reconcile.metrics import ReconcileMetrics
from mimic_operator.reconcile.missing import Missing
from mimic_operator.reconcile.observe import Observer
from mimic_operator.reconcile.reconciler import Reconciler, Slots
from mimic_operator.reconcile.report import Reporter
from mimic_operator.reconcile.secrets import Asking
from mimic_operator.reconcile.store import Store
from mimic_operator.reconcile.trust import Trust
from mimic_operator.reconcile.turns import Turns
from mimic_operator.reconcile.watches import NotInstalled, Watches
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.crd import NAME as CRD_NAME
from mimic_operator.resource.crd import missing_fields
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.health import serving
from mimic_operator.runtime.informer import MetadataReader
from mimic_operator.runtime.kinds import CRD
from mimic_operator.runtime.lease import Election
from mimic_operator.runtime.logs import logger
from mimic_operator.runtime.process import Telemetry
from mimic_operator.runtime.queue import Backoff, Key, Outcome, WorkQueue
from mimic_operator.settings import Settings

WORKERS = 8
RESYNC_SECONDS = 300.0
"""Within this time every backend is looked at, whatever events were lost."""
COMPARE_SECONDS = 60.0
STEADY_SECONDS = 60.0
"""A watch that held this long was no failure."""
IDLE_LOOK_SECONDS = 0.05


class LostLease(OperatorError):
    """Another leads now, or the API server cannot be reached: nothing may be written any more."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the process has of its machine. clock: monotonic seconds; wall: Unix time; random: [0, 1)."""

    identity: str
    clock: Callable[[], float]
    wall: Callable[[], float]
    random: Callable[[], float]


async def run(settings: Settings, config: KubeConfig, around: Machine, shown: Telemetry) -> None:
    """Until SIGTERM or SIGINT. Raises LostLease, NotInstalled, Fault."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # The Lease has connections of its own: no crowd of other calls may keep it from being renewed.
    async with Cluster(config, shown.spans) as cluster, Cluster(config) as for_lease:
        process = Process(settings, config, around, cluster, for_lease, shown)
        health = serving(
            settings.metrics_host,
            settings.metrics_port,
            registry=shown.registry,
            live={"watches": process.stale},
            ready={},
        )
        async with health as port:
            logger.info("Health and metrics on port %s", port, extra={"port": port})
            await process.run(stop)


class Process:
    """One candidate for the lead, and all that the leader runs."""

    def __init__(
        self,
        settings: Settings,
        config: KubeConfig,
        around: Machine,
        cluster: Cluster,
        for_lease: Cluster,
        shown: Telemetry,
    ) -> None:
        self._settings, self._config, self._around, self._cluster = settings, config, around, cluster
        self._for_lease = for_lease
        self.metrics = ReconcileMetrics(shown.registry)
        self._turns = Turns(shown.spans)
        backoff = Backoff(around.random)
        self.queue = WorkQueue(self._work, around.clock, backoff, self._done)
        self.store = Store(self.queue.add)
        self.slots = Slots(settings.max_concurrent_rollouts, self.queue.add)
        self.reader = MetadataReader(config)
        self.watches = Watches(
            self.reader, self.store, around.clock, Backoff(around.random, most=30.0), settings.watch_namespaces
        )
        self.asking = Asking(cluster, self.store, around.clock, around.random, self.queue.add)
        observer = Observer(
            cluster,
            self.store,
            defaults_of(settings),
            settings.rollout_on_upgrade,
            around.clock,
            around.wall,
            self.asking.verdict,
        )
        reporter = Reporter(cluster, around.clock, around.wall, self._rollout_ended)
        applier = Applier(cluster, self.store, around.clock, around.wall)
        self.reconciler = Reconciler(cluster, observer, applier, reporter, self.slots, self.queue.add)
        self._show()

    async def run(self, stop: asyncio.Event) -> None:
        """Candidate, leader, end. The Lease is released unless it was lost."""
        election = Election(
            self._for_lease,
            namespace=self._settings.mimic_namespace,
            name=self._settings.lease_name,
            identity=self._around.identity,
            clock=self._around.clock,
            wall=self._around.wall,
        )
        try:
            if not await _first(election.acquire(), stop):
                return
            self.metrics.leader.set(1)
            try:
                await self._lead(election, stop)
            finally:
                self.metrics.leader.set(0)
        finally:
            await self.reader.close()
        await election.release()

    async def _lead(self, election: Election, stop: asyncio.Event) -> None:
        backends = await self.watches.prepare()
        await self._judge_schema()
        tasks: list[Coroutine[Any, Any, None]] = [
            self._hold(election),
            self.watches.run(),
            self._kopf(),
            self._reconcile(backends),
            self._listed(Denied(self._cluster, self.store, self._settings.watch_namespaces, self._around.wall).run),
            self._listed(self._missing().run),
        ]
        if self._settings.cert_mode == "self":
            tasks.append(self._trust().run())
        running = [asyncio.create_task(task) for task in tasks]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
        finally:
            for task in (*running, stopping):
                task.cancel()
            await asyncio.gather(*running, stopping, return_exceptions=True)

    async def _judge_schema(self) -> None:
        """Nothing is written under a schema that would prune what this operator means (decided case 27)."""
        try:
            manifest = await self._cluster.get(CRD, None, CRD_NAME)
        except Fault as fault:
            if fault.reason != "forbidden":
                raise
            logger.warning("The schema of MimicBackend could not be compared: %s", fault)
            return
        if lacks := missing_fields(manifest or {}):
            named = ", ".join(lacks[:5])
            raise NotInstalled(
                f"the cluster's MimicBackend is older than this operator, it lacks {named}: apply its CRD"
            )

    async def _listed(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begins once all that is there has been seen."""
        for informer in self.watches.informers:
            await informer.listed.wait()
        await work()

    def _missing(self) -> Missing:
        return Missing(self._cluster, self.store, self._around.clock, self._settings.evict_missing)

    def _trust(self) -> Trust:
        return Trust(
            cluster=self._cluster,
            reader=self.reader,
            namespace=self._settings.mimic_namespace,
            secret=self._settings.cert_secret,
            service=self._settings.webhook_service,
            names=self._settings.webhook_names,
            configuration=self._settings.webhook_configuration,
            clock=self._around.clock,
            wall=self._around.wall,
            backoff=Backoff(self._around.random, most=30.0),
            told=self.metrics.certificate.set,
        )

    async def _hold(self, election: Election) -> None:
        await election.hold()
        raise LostLease("the Lease is lost")

    async def _kopf(self) -> None:
        """kopf ends at what it does not expect (410 or 403 as the answer to a watch); here it begins anew."""
        backoff, failures = Backoff(self._around.random, most=30.0), 0
        while True:
            begun = self._around.clock()
            try:
                await handlers.watching(self.store.backend_seen, self._config, self._settings.watch_namespaces)
            except Exception as error:  # noqa: BLE001 - whatever it was, the list that comes next is what counts
                logger.warning("The watch of MimicBackends broke: %s", type(error).__name__)
            failures = 1 if self._around.clock() - begun > STEADY_SECONDS else failures + 1
            await asyncio.sleep(backoff(failures))

    async def _reconcile(self, backends: set[Key]) -> None:
        await self.watches.listed(backends)
        for key in self.store.unused():
            self.queue.add(key)
        logger.info("Watching %d MimicBackends", len(self.store.entries), extra={"count": len(self.store.entries)})
        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run(WORKERS))
            group.create_task(self._open())
            group.create_task(self._compare())
            group.create_task(self._resync())

    async def _open(self) -> None:
        """Restarts may begin once every backend has had its first turn; to ask proxies is not urgent before either."""
        start = self._around.clock()
        while not self.queue.idle():
            await asyncio.sleep(IDLE_LOOK_SECONDS)
        self.slots.start()
        seconds = round(self._around.clock() - start, 3)
        logger.info("Every MimicBackend was looked at", extra={"seconds": seconds})
        await self.asking.run()

    async def _compare(self) -> None:
        while True:
            await asyncio.sleep(COMPARE_SECONDS)
            await self.watches.compare()

    async def _resync(self) -> None:
        while True:
            keys = self.store.entries.keys() | self.store.unused()
            for key in keys:
                self.queue.add_after(key, RESYNC_SECONDS * (0.5 + self._around.random() / 2))
            await asyncio.sleep(RESYNC_SECONDS)

    async def _work(self, key: Key) -> float | None:
        self._turns.begin(key)
        return await self.reconciler.reconcile(key)

    def _done(self, outcome: Outcome) -> None:
        self._turns.end(outcome, self.store.entries.get(outcome.key), self._status(outcome.key))
        self.metrics.turned(outcome.key, outcome.seconds, outcome.reason)

    def _rollout_ended(self, result: str) -> None:
        self.metrics.rollouts.labels(result).inc()

    def stale(self) -> str:
        """For the liveness probe."""
        return self.watches.stale()

    def _show(self) -> None:
        read = self.metrics.read
        read(catalogue.QUEUE_AGE, lambda: {(): self.queue.age()})
        read(catalogue.WATCH_AGE, self.watches.ages)
        read(catalogue.MANAGED, self._managed)
        read(catalogue.DEGRADED, self._degraded)
        read(catalogue.PODS, self._pods)

    def _status(self, key: Key) -> Mapping[str, Any]:
        """As it was written last, or as it was found."""
        memory, entry = self.reconciler.memories.get(key), self.store.entries.get(key)
        if memory is not None and memory.reported is not None:
            return memory.reported
        return entry.status if entry is not None else {}

    def _managed(self) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {
            (mode, ready): 0.0 for mode in ("Sidecar", "Deployment") for ready in ("True", "False")
        }
        for key, entry in self.store.entries.items():
            ready = any(holds(each, "Ready") for each in self._status(key).get("conditions") or ())
            label = (entry.mode, "True" if ready else "False")
            found[label] = found.get(label, 0.0) + 1
        return found

    def _degraded(self) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {(reason,): 0.0 for reason in catalogue.DEGRADATIONS}
        for key in self.store.entries:
            for each in self._status(key).get("conditions") or ():
                if holds(each, "Degraded"):
                    label = (str(each.get("reason")),)
                    found[label] = found.get(label, 0.0) + 1
        return found

    def _pods(self) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {(state,): 0.0 for state in ("current", "outdated", "missing")}
        for memory in self.reconciler.memories.values():
            injected = (memory.reported or {}).get("injected") or {}
            for (state,) in found:
                found[state,] += float(injected.get(state) or 0)
        return found


def holds(condition: Mapping[str, Any], kind: str) -> bool:
    """Whether it is the condition of this type, and true."""
    return condition.get("type") == kind and condition.get("status") == "True"


def defaults_of(settings: Settings) -> ProxyDefaults:
    """What the settings say of proxies."""
    return ProxyDefaults(
        image=settings.mimic_image,
        pull_policy=settings.mimic_image_pull_policy,
        requests=dict(settings.proxy_requests),
        limits=dict(settings.proxy_limits),
    )


async def _first(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Whether the work ended before it was told to stop."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    for task in (working, stopping):
        if not task.done():
            task.cancel()
    await asyncio.gather(working, stopping, return_exceptions=True)
    if stop.is_set():
        return False
    working.result()
    return True
