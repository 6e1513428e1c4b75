"""Hosts a process in kopf: signals, startup and cleanup, admission. docs/operator.md says what kopf does not host.

kopf 1.45 watches nothing here. Its own watch ends the operator at a 404 and at most events of type ERROR, never
reports what was deleted between two lists, and hides bookmarks (tests/controller/runtime/test_kopf_watch.py shows
each); informer.py keeps the contracts that an operator needs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kopf
from lightkube import ConfigError, KubeConfig

from mimic_operator.errors import OperatorError, Problem, SettingsError

IDENTITY: Any = "mimic"  # of a type that kopf keeps to itself
"""For peering, which is off: kopf would derive one from the user's name, and the user of a pod has none."""
REQUEST_SECONDS = 30.0
TOKEN_SECONDS = 600
"""After which a token's file is read again: the kubelet renews it."""


class _Forever:
    """Pauses between attempts of kopf's one request at its start, the discovery of kinds."""

    def __iter__(self) -> Iterator[float]:
        yield from (1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0)
        while True:
            yield 21.0


def cluster_config() -> KubeConfig:
    """The pod's service account, else the file that KUBECONFIG names. Raises SettingsError."""
    try:
        return KubeConfig.from_env()
    except ConfigError as error:
        raise SettingsError([Problem("KUBECONFIG", f"leads to no cluster: {error}")]) from error


class Host:
    """One process. startup: is done before admission begins. cleanup: runs at the end, whatever ended it.

    prefix: of annotations and the finalizer, which kopf has to name and never writes here.
    """

    def __init__(
        self,
        config: KubeConfig,
        prefix: str,
        startup: Callable[[], Awaitable[None]],
        cleanup: Callable[[], Awaitable[None]],
    ) -> None:
        self.registry = kopf.OperatorRegistry()
        self._config, self._prefix, self._startup, self._cleanup = config, prefix, startup, cleanup
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None

    async def run(self, admission: Any = None) -> None:
        """Runs until a signal, or until work beside it ends; raises what that raised.

        admission: kopf's admission server, for the handlers that are in the registry.
        """

        @kopf.on.startup(registry=self.registry, id="startup", errors=kopf.ErrorsMode.PERMANENT)
        async def startup(settings: kopf.OperatorSettings, **_: object) -> None:
            _configure(settings, self._prefix, admission)
            try:
                await self._startup()
            except BaseException:  # stopped before it was ready: kopf runs no cleanup then
                await self._end()
                raise

        @kopf.on.cleanup(registry=self.registry, id="cleanup", errors=kopf.ErrorsMode.PERMANENT)
        async def cleanup(**_: object) -> None:
            await self._end()

        @kopf.on.login(registry=self.registry, id="login")
        async def login(**_: object) -> kopf.ConnectionInfo:
            return connection(self._config)

        try:
            await kopf.operator(
                registry=self.registry,
                standalone=True,
                identity=IDENTITY,
                clusterwide=True,
                stop_flag=self._stop,
                memo=kopf.Memo(),
            )
        except Exception as error:
            if isinstance(error.__cause__, OperatorError):  # kopf wraps what a startup handler raises
                raise error.__cause__ from None
            raise
        if self._failure is not None:
            raise self._failure

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs work in the process's loop; its end, or its failure, ends the process."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def cancel(self) -> None:
        """Ends all work at once but the task that calls."""
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def _end(self) -> None:
        self.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._cleanup()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._failure = self._failure or task.exception()
            self._stop.set()


def _configure(settings: kopf.OperatorSettings, prefix: str, admission: Any) -> None:
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.error_backoffs = _Forever()
    settings.process.ultimate_exiting_timeout = None  # the container's grace period is the limit
    settings.persistence.finalizer = f"{prefix}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=prefix)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=prefix)
    settings.admission.server = admission
    settings.admission.managed = None  # the chart owns the webhook configurations


def connection(config: KubeConfig) -> kopf.ConnectionInfo:
    """The credentials as kopf's login handler returns them. Reads the token's file, if there is one."""
    single = config.get()
    assert single is not None
    cluster, user = single.cluster, single.user
    token, expiration = (user.token if user is not None else None), None
    if user is not None and user.token_file:
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
