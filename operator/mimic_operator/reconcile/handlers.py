"""kopf's part: it lists and watches MimicBackends and hands each event on.

Only `on.event`: the other handlers keep their state in annotations of the user's object, two patches for each change.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kopf
from lightkube import KubeConfig

from mimic_operator.reconcile.queue import Key
from mimic_operator.resource.naming import GROUP, PLURAL, VERSION

Seen = Callable[[Key, Mapping[str, Any] | None], None]
WATCH_SECONDS = 290
IDLE_SECONDS = 0.5
"""kopf has a task for each object that had an event; they end after so long."""
REQUEST_SECONDS = 30.0
TOKEN_SECONDS = 600


def registry_for(seen: Seen, config: KubeConfig) -> kopf.OperatorRegistry:
    """The handlers. seen: hears of each MimicBackend, and with None that it is gone."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry, id="settings")
    async def configure(settings: kopf.OperatorSettings, **_: object) -> None:
        _configure(settings)

    @kopf.on.login(registry=registry, id="login")
    async def login(**_: object) -> kopf.ConnectionInfo:
        return _connection(config)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry, id="backend")
    async def backend(*, event: kopf.RawEvent, body: kopf.Body, namespace: str | None, name: str, **_: Any) -> None:
        seen(Key(namespace or "", name), None if event["type"] == "DELETED" else dict(body))

    return registry


def _configure(settings: kopf.OperatorSettings) -> None:
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 30
    settings.watching.connect_timeout = 10
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.queueing.worker_limit = 64
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)


def _connection(config: KubeConfig) -> kopf.ConnectionInfo:
    """kopf's credentials are lightkube's: one place decides which cluster it is."""
    single = config.get()
    assert single is not None
    cluster, user = single.cluster, single.user
    token, expiration = (user.token if user is not None else None), None
    if user is not None and user.token_file:  # the kubelet renews it
        token = Path(user.token_file).read_text("utf-8").strip()
        expiration = datetime.now(UTC) + timedelta(seconds=TOKEN_SECONDS)
    return kopf.ConnectionInfo(
        server=cluster.server,
        ca_path=cluster.certificate_auth,
        ca_data=cluster.certificate_auth_data,
        insecure=cluster.insecure,
        token=token,
        certificate_path=user.client_cert if user is not None else None,
        certificate_data=user.client_cert_data if user is not None else None,
        private_key_path=user.client_key if user is not None else None,
        private_key_data=user.client_key_data if user is not None else None,
        default_namespace=single.namespace,
        expiration=expiration,
    )


async def watching(
    registry: kopf.OperatorRegistry, namespaces: Sequence[str], stop: asyncio.Event, begun: Callable[[], None]
) -> None:
    """kopf's operator until `stop` is set or it fails. namespaces: none is the whole cluster.

    begun: called once kopf has taken the process's signals, so that they can be taken back.
    """
    others = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=registry,
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
        memo=kopf.Memo(),
    )
    begun()
    await kopf.run_tasks(tasks, ignored=others)
