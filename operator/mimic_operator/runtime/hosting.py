"""How both processes run kopf. Its credentials are lightkube's: one place decides which cluster it is."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kopf
from lightkube import KubeConfig

IDENTITY: Any = "mimic"  # of a type that kopf keeps to itself
"""For peering, which is off: kopf would make one of the user's name, and the user of a pod has none."""
WATCH_SECONDS = 290
"""Then a watch begins anew, with a list: whatever was lost comes."""
REQUEST_SECONDS = 30.0
TOKEN_SECONDS = 600
"""After which a token's file is read again: the kubelet renews it."""


def configure(settings: kopf.OperatorSettings, prefix: str, *, idle_seconds: float) -> None:
    """Watches that end, and nothing written to anybody's objects.

    prefix: of the annotations and the finalizer, which kopf names and never writes here.
    idle_seconds: kopf has a task for each object that had an event; they end after so long.
    """
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 30
    settings.watching.connect_timeout = 10
    settings.queueing.idle_timeout = idle_seconds
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.persistence.finalizer = f"{prefix}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=prefix)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=prefix)


def connection(config: KubeConfig) -> kopf.ConnectionInfo:
    """As kopf's login handler returns it. Reads the token's file, if there is one."""
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
