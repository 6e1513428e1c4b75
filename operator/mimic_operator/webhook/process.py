"""The webhook process: answers admission reviews and writes nothing but Events."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from lightkube import KubeConfig

from mimic_operator.errors import OperatorError
from mimic_operator.resource.container import proxy_defaults
from mimic_operator.resource.kinds import BACKEND
from mimic_operator.resource.naming import GROUP, KIND, LABEL_COMPONENT
from mimic_operator.resource.selection import Key
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.health import serving
from mimic_operator.runtime.informer import Metadata, MetadataReader
from mimic_operator.runtime.kinds import CONTROLLER_REVISION, Kind
from mimic_operator.runtime.logs import logger
from mimic_operator.runtime.process import Telemetry
from mimic_operator.runtime.spans import Spans
from mimic_operator.settings import Settings
from mimic_operator.webhook import handlers
from mimic_operator.webhook.decide import Decision, Trigger, softened
from mimic_operator.webhook.events import Announcer
from mimic_operator.webhook.lookup import Index, Lookup
from mimic_operator.webhook.metrics import AdmissionMetrics
from mimic_operator.webhook.outcomes import OUTCOMES
from mimic_operator.webhook.reader import Reader
from mimic_operator.webhook.review import Reply, Reviewed, Reviewer
from mimic_operator.webhook.served import ServedCertificate
from mimic_operator.webhook.server import Server

COMPARE_SECONDS = 60.0
"""The index against a list: what kopf did not hear of goes."""
CHECK_SECONDS = 5.0
SETTLE_SECONDS = 0.05
STALE_SECONDS = 900.0
"""Three watches long nothing was heard, although there is something to hear of: they are broken."""
TRIGGERS: Mapping[str, Trigger] = {handlers.PODS: "label", handlers.NAMESPACE_PODS: "namespace"}
SELECTORS: dict[Kind, str | None] = {BACKEND: None, CONTROLLER_REVISION: LABEL_COMPONENT}


class NotInstalled(OperatorError):
    """The cluster does not know MimicBackend."""


async def serve(settings: Settings, config: KubeConfig, shown: Telemetry) -> None:
    """Until SIGTERM or SIGINT. Raises NotInstalled, UnusableCertificate, Fault, OSError for a port that is taken."""
    metrics = AdmissionMetrics(shown.registry, possible_ends())
    certificate = ServedCertificate(settings.webhook_cert_dir, _follow(metrics))
    async with Cluster(config) as cluster, Reader(config, shown.spans) as reader:
        process = Process(
            settings,
            config,
            metrics,
            certificate,
            reader,
            Announcer(cluster, time.monotonic, time.time, lambda result: metrics.events.labels(result).inc()),
            shown.spans,
        )
        health = serving(
            settings.metrics_host,
            settings.metrics_port,
            registry=shown.registry,
            live={"watches": process.stale},
            ready={"index": lambda: process.unlisted, "tls": lambda: process.unheard},
        )
        async with health as port:
            logger.info("Health and metrics on port %d", port, extra={"port": port})
            await process.run(await reader.version())


def possible_ends() -> Iterator[tuple[str, str, str]]:
    """Reason, verdict and trigger of everything that may become of a pod."""
    for trigger in TRIGGERS.values():
        for outcome in OUTCOMES.values():
            made = Decision(outcome=outcome, verdict=outcome.verdict, sentence="")
            yield made.reason, str(softened(made, trigger).verdict), trigger


def _follow(metrics: AdmissionMetrics) -> Callable[[datetime | None], None]:
    def changed(end: datetime | None) -> None:
        metrics.reloads.labels("failed" if end is None else "ok").inc()
        if end is not None:
            metrics.certificate.set(end.timestamp())

    return changed


@dataclass(slots=True)
class Process:
    """The parts of the webhook, and their tasks."""

    settings: Settings
    config: KubeConfig
    metrics: AdmissionMetrics
    certificate: ServedCertificate
    reader: Reader
    announcer: Announcer
    spans: Spans
    index: Index = field(default_factory=lambda: Index(time.monotonic))
    unlisted: str = "the first list is not complete"
    """Why it is not ready, empty if it is; so is the next."""
    unheard: str = "no call to itself was made yet"

    async def run(self, version: tuple[int, int]) -> None:
        """Until kopf ends, which a signal makes it do."""
        for kind in SELECTORS:
            name = kind.kind
            self.metrics.watch(name, partial(self.index.age, name), partial(self._count, name))
        server = Server(
            self.settings.webhook_host,
            self.settings.webhook_port,
            context=self.certificate.context,
            handlers=handlers.PATHS,
            answered=self._answered,
            traced=Reviewed(self.spans).review,
            clock=time.monotonic,
        )
        lookup = Lookup(
            self.index, self.reader, time.monotonic, time.time, lambda kind: self.metrics.misses.labels(kind).inc()
        )
        parts = handlers.Parts(
            self.config, self.index, Reviewer(lookup, version), proxy_defaults(self.settings), server
        )
        listing = MetadataReader(self.config)
        try:
            backends = await self._list(listing, BACKEND)
            besides = [
                self._compare(listing, backends),
                self._check(server),
                self.certificate.follow(),
                self.announcer.run(),
            ]
            await _beside(handlers.answering(handlers.registry_for(parts), self.settings.watch_namespaces), besides)
        finally:
            await listing.close()

    def _count(self, kind: str) -> int:
        return len(self.index.names(kind))

    def _answered(self, handler: str, reply: Reply, seconds: float) -> None:
        self.metrics.duration.labels(handler).observe(seconds)
        decision = reply.decision
        if decision is None:
            self.metrics.validations.labels(reply.verdict or "admitted").inc()
            return
        trigger = TRIGGERS[handler]
        self.metrics.decisions.labels(decision.reason, str(decision.verdict), trigger).inc()
        for each in decision.notes:
            self.metrics.notes.labels(each.word).inc()
        if not reply.dry_run:
            self.announcer.tell(reply.pod, reply.namespace, decision)

    async def _list(self, listing: MetadataReader, kind: Kind) -> set[Key]:
        found: set[Key] = set()
        for namespace in self.settings.watch_namespaces or (None,):
            try:
                listed, _ = await listing.list(kind, namespace, SELECTORS[kind])
            except Fault as fault:
                if fault.reason == "absent":
                    raise NotInstalled(
                        f"{kind.plural}.{GROUP} is not installed: apply the chart's CRD first"
                    ) from fault
                raise
            found |= {Key(each.namespace, each.name) for each in listed if kind is BACKEND or _is_ours(each)}
        return found

    async def _compare(self, listing: MetadataReader, backends: set[Key]) -> None:
        """First wait for all that is there now; then look again and again for what went unheard."""
        revisions = await self._list(listing, CONTROLLER_REVISION)
        wanted = {BACKEND: backends, CONTROLLER_REVISION: revisions}
        for kind, names in wanted.items():
            while missing := names - self.index.names(kind.kind):
                await asyncio.sleep(SETTLE_SECONDS)
                if missing == names - self.index.names(kind.kind):  # nothing comes: perhaps it has gone since
                    names.intersection_update(await self._list(listing, kind))
        self.unlisted = ""
        logger.info("The index is complete", extra={"backends": len(backends), "revisions": len(revisions)})
        while True:
            await asyncio.sleep(COMPARE_SECONDS)
            for kind in SELECTORS:
                since = time.monotonic()
                try:
                    dropped = self.index.keep(kind.kind, await self._list(listing, kind), since)
                except Fault as fault:
                    logger.warning("The index was not compared: %s", fault, extra={"reason": fault.reason})
                    continue
                if dropped:
                    logger.warning("%d %s went unheard", dropped, kind.plural, extra={"count": dropped})

    async def _check(self, server: Server) -> None:
        while True:
            self.unheard = await server.ask_itself()
            await asyncio.sleep(CHECK_SECONDS if not self.unheard else SETTLE_SECONDS)

    def stale(self) -> str:
        """For the liveness probe."""
        ages = {kind.kind: self.index.age(kind.kind) for kind in SELECTORS if self.index.names(kind.kind)}
        late = [f"{kind} for {age:.0f} s" for kind, age in ages.items() if age > STALE_SECONDS]
        return f"nothing was heard of {', '.join(late)}" if late else ""


def _is_ours(metadata: Metadata) -> bool:
    """Of a ControllerRevision: whether a MimicBackend owns it. StatefulSets and DaemonSets have revisions too."""
    owner = metadata.controller()
    return owner is not None and owner.kind == KIND


async def _beside(main: Coroutine[Any, Any, None], besides: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run `main` with the others beside it: they end with it, and a failure of one ends all."""
    others = [asyncio.create_task(each) for each in besides]
    working = asyncio.create_task(main)
    try:
        done, _ = await asyncio.wait([working, *others], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (working, *others):
            task.cancel()
        await asyncio.gather(working, *others, return_exceptions=True)
