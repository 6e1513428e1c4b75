"""The webhook process: answers admission reviews and writes nothing but Events.

    on.startup   wait for the API server, list MimicBackends and revisions once
    admission    kopf's handlers, behind the HTTPS server of server.py
    on.cleanup   end what runs beside

It is ready once both kinds were listed and a call to itself over TLS succeeded. It is alive while its loop runs and
such calls succeed; how old a watch is says nothing about that, and is a metric.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from random import random
from typing import Any

from lightkube import KubeConfig

from mimic_operator.resource.container import proxy_defaults
from mimic_operator.resource.kinds import BACKEND
from mimic_operator.resource.naming import GROUP, LABEL_COMPONENT
from mimic_operator.resource.selection import candidate
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.health import serving
from mimic_operator.runtime.hosting import Host
from mimic_operator.runtime.informer import Informer, Informers, scopes, whole
from mimic_operator.runtime.kinds import CONTROLLER_REVISION
from mimic_operator.runtime.logs import logger
from mimic_operator.runtime.process import Telemetry
from mimic_operator.runtime.queue import Backoff
from mimic_operator.settings import Settings
from mimic_operator.webhook import review
from mimic_operator.webhook.decide import Decision, Trigger, softened
from mimic_operator.webhook.events import Announcer
from mimic_operator.webhook.lookup import READ_SECONDS, Index, Lookup, Reader, keep_revision
from mimic_operator.webhook.metrics import AdmissionMetrics
from mimic_operator.webhook.outcomes import OUTCOMES
from mimic_operator.webhook.review import Reply, Reviewed, Reviewer
from mimic_operator.webhook.server import ServedCertificate, Server

CHECK_SECONDS = 5.0
FIRST_CHECK_SECONDS = 0.05
DEAD_SECONDS = 60.0
"""For so long calls to itself have to fail before it counts as dead."""
TRIGGERS: Mapping[str, Trigger] = {review.PODS: "label", review.NAMESPACE_PODS: "namespace"}


async def serve(settings: Settings, config: KubeConfig, telemetry: Telemetry) -> None:
    """Runs until SIGTERM or SIGINT. Raises UnusableCertificate, OSError for a port that is taken."""
    metrics = AdmissionMetrics(telemetry.registry, possible_ends())
    certificate = ServedCertificate(settings.webhook_cert_dir, _follow(metrics))
    count = telemetry.requested
    async with (
        Cluster(config, count=count) as cluster,
        Cluster(config, count=count) as watching,
        Cluster(config, telemetry.spans, count=count, seconds=READ_SECONDS) as reading,
    ):
        process = Process(settings, config, metrics, certificate, telemetry, cluster, watching, reading)
        health = serving(
            settings.metrics_host,
            settings.metrics_port,
            registry=telemetry.registry,
            live={"tls": process.dead},
            ready={"index": lambda: process.unlisted, "tls": lambda: process.unheard},
        )
        async with health as port:
            logger.info("Health and metrics on port %d", port, extra={"port": port})
            await process.host.run(process.server)


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


class Process:
    """The parts of the webhook, and what runs beside the handlers."""

    def __init__(
        self,
        settings: Settings,
        config: KubeConfig,
        metrics: AdmissionMetrics,
        certificate: ServedCertificate,
        telemetry: Telemetry,
        cluster: Cluster,
        watching: Cluster,
        reading: Cluster,
    ) -> None:
        self._settings, self._metrics, self._certificate, self._reading = settings, metrics, certificate, reading
        self._backoff = Backoff(random, most=settings.watch_retry_seconds)
        self._answered_itself = time.monotonic()
        self.unlisted = "the first list is not complete"
        """Why it is not ready, empty if it is; so is the next."""
        self.unheard = "no call to itself was made yet"
        self.index = Index()
        self.informers = Informers(list(self._informers(watching)), time.monotonic)
        self.announcer = Announcer(cluster, time.monotonic, time.time, lambda end: metrics.events.labels(end).inc())
        self.lookup = Lookup(
            self.index, Reader(reading), time.monotonic, time.time, lambda kind: metrics.misses.labels(kind).inc()
        )
        self.server = Server(
            settings.webhook_host,
            settings.webhook_port,
            context=certificate.context,
            handlers=review.PATHS,
            answered=self._answered,
            traced=Reviewed(telemetry.spans).review,
            clock=time.monotonic,
        )
        self.host = Host(config, GROUP, self._startup, self._cleanup)
        metrics.watches(self.informers)
        for kind in (BACKEND, CONTROLLER_REVISION):
            metrics.indexed(kind.kind, partial(self.index.count, kind))

    def _informers(self, watching: Cluster) -> Iterator[Informer[Any]]:
        for namespace in scopes(self._settings.watch_namespaces):
            common: dict[str, Any] = {
                "cluster": watching,
                "clock": time.monotonic,
                "backoff": self._backoff,
                "watch_seconds": self._settings.watch_seconds,
                "namespace": namespace,
            }
            yield Informer(kind=BACKEND, view=whole(BACKEND, candidate), changed=self.index.backend_changed, **common)
            yield Informer(
                kind=CONTROLLER_REVISION,
                view=whole(CONTROLLER_REVISION, keep_revision),
                changed=self.index.revision_changed,
                labels=LABEL_COMPONENT,
                **common,
            )

    # The life of the process

    async def _startup(self) -> None:
        reviewer = Reviewer(self.lookup, await self._version())
        review.add_handlers(self.host.registry, reviewer, proxy_defaults(self._settings))
        for work in (self.informers.run(), self._certificate.follow(), self.announcer.run(), self._check()):
            self.host.beside(work)
        # Without a deadline: while the CRD is absent there is nothing to answer for, and it may come at any time.
        await self.informers.synced(float("inf"))
        self.unlisted = ""
        counts = {"backends": self.index.count(BACKEND), "revisions": self.index.count(CONTROLLER_REVISION)}
        logger.info("The index is complete", extra=counts)

    async def _cleanup(self) -> None:
        """Nothing is left to give back."""

    async def _version(self) -> tuple[int, int]:
        failures = 0
        while True:
            try:
                return await self._reading.version()
            except Fault as fault:
                failures += 1
                level = logging.WARNING if failures == 1 else logging.DEBUG
                logger.log(level, "The API server cannot be reached yet: %s", fault, extra={"reason": fault.reason})
                await asyncio.sleep(fault.retry_after or self._backoff(failures))

    async def _check(self) -> None:
        while True:
            self.unheard = await self.server.ask_itself()
            if not self.unheard or not self.server.listens.is_set():
                self._answered_itself = time.monotonic()
            await asyncio.sleep(CHECK_SECONDS if not self.unheard else FIRST_CHECK_SECONDS)

    def dead(self) -> str:
        """For the liveness probe: why it cannot answer reviews, empty if it can."""
        silent = time.monotonic() - self._answered_itself
        return f"calls to itself fail for {silent:.0f} s: {self.unheard}" if silent > DEAD_SECONDS else ""

    # Reviews

    def _answered(self, handler: str, reply: Reply, seconds: float) -> None:
        self._metrics.duration.labels(handler).observe(seconds)
        decision = reply.decision
        if decision is None:
            self._metrics.validations.labels(reply.verdict or "admitted").inc()
            return
        trigger = TRIGGERS[handler]
        self._metrics.decisions.labels(decision.reason, str(decision.verdict), trigger).inc()
        for each in decision.notes:
            self._metrics.notes.labels(each.word).inc()
        if not reply.dry_run:
            self.announcer.add(reply.pod, reply.namespace, decision)
