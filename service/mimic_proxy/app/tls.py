"""TLS towards backend and token service: one context, built when first needed, built again when files change."""

import ssl
from collections.abc import Callable
from pathlib import Path

from mimic_proxy.settings.fields import Settings


def client_context(settings: Settings) -> ssl.SSLContext:
    """Verification against the system's store (or CA_BUNDLE alone), host names checked, HTTP/1.1 by ALPN.

    VERIFY_SSL=False drops the checks of chain and name and keeps SNI. Raises OSError and ssl.SSLError for files that
    cannot be used.
    """
    bundle = None if settings.ca_bundle is None else str(settings.ca_bundle)
    context = ssl.create_default_context(cafile=bundle)
    if not settings.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.client_cert is not None:
        key = None if settings.client_key is None else str(settings.client_key)
        context.load_cert_chain(str(settings.client_cert), key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def server_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """For the API port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(str(certificate), None if key is None else str(key))
    context.set_alpn_protocols(["http/1.1"])
    return context


class ClientTLS:
    """The context of the moment. A plain-http set-up never pays for loading the system's store."""

    def __init__(self, build: Callable[[], ssl.SSLContext]) -> None:
        self._build = build
        self._context: ssl.SSLContext | None = None

    def __call__(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = self._build()
        return self._context

    def reload(self) -> None:
        """Read the files again. The old context stays if that raises."""
        self._context = self._build()
