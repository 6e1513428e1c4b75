"""kopf's credentials are lightkube's: one place decides which cluster it is."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import kopf
from lightkube import KubeConfig

TOKEN_SECONDS = 600
"""After which a token's file is read again: the kubelet renews it."""


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
