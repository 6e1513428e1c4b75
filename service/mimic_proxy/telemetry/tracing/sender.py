"""Spans to a collector: OTLP over HTTP, binary protobuf (OpenTelemetry Protocol, "OTLP/HTTP").

Runs in the pipeline's thread, with a client of its own.
"""

import gzip
import ssl
import threading
import time
from typing import TYPE_CHECKING

from mimic_proxy.errors import innermost_reason
from mimic_proxy.telemetry.tracing.settings import OTLP

if TYPE_CHECKING:
    import httpx2

RETRIED = frozenset((429, 502, 503, 504))
"""Statuses that say: try again."""
FIRST_PAUSE_SECONDS = 0.5
MOST_ANSWER_BYTES = 65536


class Sender:
    """Sends one request after the other. proxy: URL of the proxy on the way, None for none."""

    def __init__(self, otlp: OTLP, version: str, proxy: str | None = None) -> None:
        self._otlp = otlp
        self._proxy = proxy
        self._client: httpx2.Client | None = None
        self._stopped = threading.Event()
        self._headers = {
            "user-agent": f"mimic-proxy/{version}",
            **dict(otlp.headers),
            "content-type": "application/x-protobuf",
            **({"content-encoding": "gzip"} if otlp.gzip else {}),
        }

    def stop(self) -> None:
        """From now on nothing is repeated, and no pause is waited for. From any thread."""
        self._stopped.set()

    def close(self) -> None:
        """Gives the connection back; in the thread that sends."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def send(self, body: bytes) -> str | None:
        """None if the collector took it, else why it did not. Repeats what may be repeated while its timeout lasts."""
        if self._otlp.gzip:
            body = gzip.compress(body, compresslevel=1)
        until = time.monotonic() + self._otlp.timeout
        pause = FIRST_PAUSE_SECONDS
        while True:
            trouble, asked = self._post(body, until)
            if trouble is None or asked is None:
                return trouble
            wait = max(pause, asked)
            if time.monotonic() + wait >= until or self._stopped.wait(wait):
                return trouble
            pause *= 2

    def _post(self, body: bytes, until: float) -> tuple[str | None, float | None]:
        """Why it failed, and after how many seconds it may be repeated; None: never."""
        # Imported at the first call, as the token service does: the start need not wait for it.
        import httpx2

        try:
            if self._client is None:
                self._client = self._new_client()
            limits = httpx2.Timeout(max(until - time.monotonic(), 0.001))
            with self._client.stream(
                "POST", self._otlp.url, content=body, headers=self._headers, timeout=limits
            ) as answer:
                size = 0
                for chunk in answer.iter_raw():
                    size += len(chunk)
                    if size > MOST_ANSWER_BYTES or time.monotonic() > until:
                        break
                if 200 <= answer.status_code < 300:
                    return None, None
                trouble = f"the collector answered with status {answer.status_code}"
                return trouble, _asked(answer.headers) if answer.status_code in RETRIED else None
        except httpx2.TimeoutException:
            return f"the collector did not answer within {self._otlp.timeout:g} s", None
        except httpx2.TransportError as error:
            return f"the collector could not be reached: {innermost_reason(error)}", 0.0
        except (httpx2.InvalidURL, OSError, ValueError) as error:
            # Their messages may quote a header field, or the path of a key: the name of the class has to do.
            return f"the collector could not be called ({type(error).__name__})", None

    def _new_client(self) -> "httpx2.Client":
        import httpx2

        otlp = self._otlp
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if otlp.url.lower().startswith("https:"):
            context = ssl.create_default_context(cafile=otlp.certificate)
            if otlp.client_certificate is not None:
                context.load_cert_chain(otlp.client_certificate, otlp.client_key)
        return httpx2.Client(verify=context, proxy=self._proxy, trust_env=False, follow_redirects=False)


def _asked(headers: "httpx2.Headers") -> float:
    """Seconds that Retry-After asks for; its form as a date counts as none."""
    value = headers.get("retry-after", "").strip()
    return float(value) if value.isascii() and value.isdigit() and len(value) < 7 else 0.0
