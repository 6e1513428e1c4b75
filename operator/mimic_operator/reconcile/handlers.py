"""kopf's part: it lists and watches MimicBackends and hands each event on.

Only `on.event`: the other handlers keep their state in annotations of the user's object, two patches for each change.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import kopf
from lightkube import KubeConfig

from mimic_operator.resource.naming import GROUP, PLURAL, VERSION
from mimic_operator.runtime.hosting import IDENTITY, configure, connection
from mimic_operator.runtime.queue import Key

Seen = Callable[[Key, Mapping[str, Any] | None], None]
IDLE_SECONDS = 0.5


def registry_for(seen: Seen, config: KubeConfig) -> kopf.OperatorRegistry:
    """The handlers. seen: hears of each MimicBackend, and with None that it is gone."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry, id="settings")
    async def on_startup(settings: kopf.OperatorSettings, **_: object) -> None:
        configure(settings, GROUP, idle_seconds=IDLE_SECONDS)

    @kopf.on.login(registry=registry, id="login")
    async def login(**_: object) -> kopf.ConnectionInfo:
        return connection(config)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry, id="backend")
    async def backend(*, event: kopf.RawEvent, body: kopf.Body, namespace: str | None, name: str, **_: Any) -> None:
        seen(Key(namespace or "", name), None if event["type"] == "DELETED" else dict(body))

    return registry


async def watching(seen: Seen, config: KubeConfig, namespaces: Sequence[str]) -> None:
    """kopf's operator until it fails, with whatever it raises, or this is cancelled. namespaces: none is all of them.

    In a thread and loop of its own: kopf takes the signals of the loop that it runs in, and at its end cancels every
    task that it finds there.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    stops: list[Callable[[], object]] = []

    def hand_over(key: Key, manifest: Mapping[str, Any] | None) -> None:
        loop.call_soon_threadsafe(seen, key, manifest)

    def run() -> None:
        failure: Exception | None = None
        try:
            asyncio.run(_operator(registry_for(hand_over, config), namespaces, stops.append))
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_end, ended, failure)

    threading.Thread(target=run, name="kopf", daemon=True).start()
    try:
        await ended
    finally:
        for stop in stops:
            with suppress(RuntimeError):  # its loop is closed: it has ended
                stop()


async def _operator(
    registry: kopf.OperatorRegistry, namespaces: Sequence[str], begun: Callable[[Callable[[], object]], None]
) -> None:
    """begun: is given what stops it, to be called from any thread."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    begun(lambda: loop.call_soon_threadsafe(stop.set))
    await kopf.operator(
        registry=registry,
        standalone=True,
        identity=IDENTITY,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
        memo=kopf.Memo(),
    )


def _end(ended: asyncio.Future[None], failure: Exception | None) -> None:
    if ended.done():
        return
    if failure is None:
        ended.set_result(None)
    else:
        ended.set_exception(failure)
