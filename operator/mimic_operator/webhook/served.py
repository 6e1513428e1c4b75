"""The certificate that the webhook serves: files that somebody replaces, one TLS context that takes them over."""

import asyncio
import logging
import ssl
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from mimic_operator.errors import OperatorError
from mimic_operator.runtime.certificates import ends

logger = logging.getLogger("mimic.certificate")
CERTIFICATE, KEY = "tls.crt", "tls.key"
LOOK_SECONDS = 2.0


class UnusableCertificate(OperatorError):
    """There is none, or its key is another's."""


class ServedCertificate:
    """Loaded at once; `follow` takes over what comes later. Connections that stand keep what they began with.

    Raises UnusableCertificate. changed: called with the end of each one taken over, and with None if one was unusable.
    """

    def __init__(self, folder: Path, changed: Callable[[datetime | None], None]) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._folder = folder
        self._changed = changed
        self._loaded = b"", b""
        self._refused = b"", b""
        self.take()

    async def follow(self) -> None:
        """Until cancelled. By content: a mounted Secret is changed by a link, whose times say nothing."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                if self.take():
                    logger.info("The webhook serves a new certificate")
            except UnusableCertificate as error:
                logger.error("The new certificate is not used, the one before goes on: %s", error)

    def take(self) -> bool:
        """Whether another one was taken over. Raises UnusableCertificate once for each that cannot be."""
        try:
            found = (self._folder / CERTIFICATE).read_bytes(), (self._folder / KEY).read_bytes()
        except OSError as error:
            found = b"", str(error.strerror).encode()
        if found in (self._loaded, self._refused):
            return False
        try:
            end = self._load(*found)
        except (ssl.SSLError, ValueError, OSError) as error:
            self._refused = found
            self._changed(None)
            raise UnusableCertificate(
                f"{self._folder}: {CERTIFICATE} and {KEY} are no pair of certificate and key ({type(error).__name__})"
            ) from None
        self._loaded, self._refused = found, (b"", b"")
        self._changed(end)
        return True

    def _load(self, certificate: bytes, key: bytes) -> datetime:
        """First into a context of its own: a half-loaded pair would spoil the one that serves."""
        end = ends(certificate)
        with tempfile.TemporaryDirectory() as folder:
            files = Path(folder, CERTIFICATE), Path(folder, KEY)
            files[1].touch(mode=0o600)
            files[0].write_bytes(certificate)
            files[1].write_bytes(key)
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files)
            self.context.load_cert_chain(*files)
        return end
