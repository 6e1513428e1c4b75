"""Why kopf hosts the processes and watches nothing: what its watch does, and what an informer does in the same place.

When a newer kopf passes what is asserted of kopf here, the test fails, and the exception in docs/operator.md can go.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import kopf
import pytest
from aiohttp import web

from fakes.api_server import ApiServer, serving, status
from mimic_operator.resource.kinds import BACKEND
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.hosting import IDENTITY, connection
from mimic_operator.runtime.informer import Change, Informer, metadata_only
from mimic_operator.runtime.queue import Backoff

Events = list[tuple[str, str | None]]


@asynccontextmanager
async def kopf_watching(server: ApiServer) -> AsyncIterator[tuple["asyncio.Task[None]", Events]]:
    events: Events = []
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: object) -> None:
        settings.scanning.disabled = True
        settings.posting.enabled = False
        settings.networking.error_backoffs = [0.01] * 5
        settings.watching.reconnect_backoff = 0.01
        settings.queueing.idle_timeout = 0.05
        settings.process.ultimate_exiting_timeout = None

    @kopf.on.login(registry=registry)
    async def login(**_: object) -> kopf.ConnectionInfo:
        return connection(server.config())

    @kopf.on.event("mimic.dev", "v1alpha1", "mimicbackends", registry=registry)
    async def event(event: kopf.RawEvent, name: str, **_: Any) -> None:
        events.append((name, event["type"]))

    stop = asyncio.Event()
    running = asyncio.create_task(
        kopf.operator(
            registry=registry, standalone=True, clusterwide=True, identity=IDENTITY, stop_flag=stop, memo=kopf.Memo()
        )
    )
    try:
        yield running, events
    finally:
        stop.set()
        server.cut()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def informer_watching(server: ApiServer) -> AsyncIterator[tuple["asyncio.Task[None]", Events]]:
    events: Events = []

    def changed(change: Change[str]) -> None:
        events.append((change.name, "DELETED" if change.found is None else None))

    loop = asyncio.get_running_loop()
    async with Cluster(server.config()) as cluster:
        informer = Informer(
            cluster=cluster,
            kind=BACKEND,
            view=metadata_only(lambda metadata: metadata.resource_version),
            changed=changed,
            clock=loop.time,
            backoff=Backoff(lambda: 0.0, first=0.02, most=0.02),
            watch_seconds=1,
        )
        running = asyncio.create_task(informer.run())
        try:
            yield running, events
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def until(holds: Any) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


def absent(request: web.Request) -> web.StreamResponse | None:
    """The CustomResourceDefinition is deleted, or not there yet."""
    return web.Response(status=404, text="404 page not found") if request.path.endswith("/mimicbackends") else None


async def test_a_kind_that_is_away_ends_kopf_and_no_informer(caplog: pytest.LogCaptureFixture):
    async with serving() as server, kopf_watching(server) as (running, _):
        await server.watching.wait()
        server.before = absent
        server.events.put_nowait(("ERROR", {"code": 410, "metadata": {}}))
        await until(running.done)
        assert running.exception() is not None
    async with serving() as server, informer_watching(server) as (running, events):
        await server.watching.wait()
        server.before = absent
        server.cut()
        asked = len(server.asked)
        await until(lambda: len(server.asked) > asked + 4)
        server.before = lambda request: None
        server.put("late")
        await until(lambda: events == [("late", None)])
        assert not running.done()


async def test_fault_05_a_failed_list_does_not_end_an_informer():
    """429, 503, 403, a reset and a response that is cut short: any of them ended the leader."""
    refusals = [429, 503, 500, 403, 0, -1]

    def refuse(request: web.Request) -> web.StreamResponse | None:
        if not refusals or not request.path.endswith("/mimicbackends"):
            return None
        code = refusals.pop()
        if code == 0:
            assert request.transport is not None
            request.transport.abort()
        return status(code) if code > 0 else web.Response(text='{"kind": "MimicBackendList", "items": [', status=200)

    async with serving() as server:
        server.put("corp")
        server.before = refuse
        async with informer_watching(server) as (running, events):
            await until(lambda: events == [("corp", None)])
            assert not refusals
            assert not running.done()


async def test_an_error_within_a_watch_ends_kopf_and_no_informer():
    error = ("ERROR", {"kind": "Status", "code": 500, "message": "etcd event received with PrevKv=nil"})
    async with serving() as server, kopf_watching(server) as (running, _):
        await server.watching.wait()
        server.events.put_nowait(error)
        await until(running.done)
        assert "PrevKv" in str(running.exception())
    async with serving() as server, informer_watching(server) as (running, events):
        await server.watching.wait()
        server.events.put_nowait(error)
        server.cut()
        server.put("late")
        server.report("ADDED", "late")
        await until(lambda: events == [("late", None)])
        assert not running.done()


async def test_a_deletion_between_two_lists_reaches_an_informer_and_not_kopf():
    expired = ("ERROR", {"kind": "Status", "code": 410, "metadata": {}})
    for watching, found in ((kopf_watching, []), (informer_watching, [("gone", "DELETED")])):
        async with serving() as server:
            server.put("gone")
            async with watching(server) as (_, events):
                await until(lambda events=events: ("gone", None) in events)
                await server.watching.wait()
                server.watching.clear()
                del server.objects["gone"]
                server.put("after")
                server.events.put_nowait(expired)
                server.cut()
                await until(lambda events=events: ("after", None) in events)
                await until(server.watching.is_set)  # the list is complete
                assert [event for event in events if event[1] == "DELETED"] == found
