"""The way of finished spans to an exporter: a bounded queue, and a thread that empties it in batches.

The SDK's own processor is not used: its shutdown joins for up to 30 s, its export knows no deadline, and it logs each
span that it drops. What is kept of it are the names and meanings of OTEL_BSP_*.

Only `put` runs on the event loop's thread; it never waits. A full queue drops its oldest span.

The exporter itself is OTLP over HTTP, binary protobuf; it runs in that thread, with a client of its own.
"""

import contextlib
import gzip
import logging
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from mimic_proxy.errors import innermost_reason
from mimic_proxy.telemetry.tracing.settings import OTLP, Batching

T = TypeVar("T")

logger = logging.getLogger("mimic.tracing")


@dataclass(frozen=True, slots=True)
class Counts:
    """Spans so far. exported, failed: handed to the exporter, and what became of them. dropped: never were."""

    exported: int
    failed: int
    dropped: int
    queued: int


class Pipeline(Generic[T]):
    """One for the process; `send` is called in its thread alone.

    send: takes a batch; None, or a sentence that says why it failed. It may take its time, and must come back.
    hurry: called at the stop: what `send` waits for need not be waited for any more. close: called in the thread, last.
    """

    def __init__(
        self,
        send: Callable[[list[T]], str | None],
        batching: Batching,
        *,
        hurry: Callable[[], None] = lambda: None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._send = send
        self._batching = batching
        self._hurry = hurry
        self._close = close
        self._queue: deque[T] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._abandoned = False
        self._failing = False
        self._exported = self._failed = self._dropped = 0
        self._thread = threading.Thread(target=self._work, name="mimic traces", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Takes a finished span."""
        queue = self._queue
        if self._stopping:
            self._dropped += 1
            return
        queue.append(item)
        size = len(queue)
        if size >= self._batching.batch:
            if size > self._batching.queue:
                # Unless the thread has just emptied it.
                with contextlib.suppress(IndexError):
                    queue.popleft()
                    self._dropped += 1
            if not self._wake.is_set():
                self._wake.set()

    def counts(self) -> Counts:
        """As of now."""
        return Counts(self._exported, self._failed, self._dropped, len(self._queue))

    def shutdown(self, seconds: float) -> bool:
        """Exports what is left, for so long at most; what is left then is dropped. True if nothing was."""
        self._stopping = True
        self._wake.set()
        self._hurry()
        self._thread.join(seconds)
        self._abandoned = True
        with contextlib.suppress(IndexError):
            while True:
                self._queue.popleft()
                self._dropped += 1
        return not self._thread.is_alive()

    def _work(self) -> None:
        while not self._stopping:
            self._wake.wait(self._batching.delay)
            self._wake.clear()
            self._export(least=1)
            while len(self._queue) >= self._batching.batch and not self._stopping:
                self._export(least=self._batching.batch)
        while self._queue and not self._abandoned:
            # At the stop the first failure is the last: the collector is not there.
            if not self._export(least=1):
                break
        self._close()

    def _export(self, least: int) -> bool:
        queue = self._queue
        batch: list[T] = []
        if len(queue) < least:
            return True
        # It may be empty sooner, since a full queue drops what is oldest.
        with contextlib.suppress(IndexError):
            while len(batch) < self._batching.batch:
                batch.append(queue.popleft())
        if not batch:
            return True
        try:
            trouble = self._send(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs spans and is told, once
            trouble = f"a fault of Mimic's ({type(error).__name__})"
        if trouble is None:
            self._exported += len(batch)
        else:
            self._failed += len(batch)
        self._tell(trouble)
        return trouble is None

    def _tell(self, trouble: str | None) -> None:
        """One line when it begins to fail, one when it works again."""
        if (trouble is not None) is self._failing:
            return
        self._failing = trouble is not None
        if trouble is not None:
            logger.warning("Traces cannot be exported: %s. Mimic goes on, and tells when it works again.", trouble)
        else:
            logger.info("Traces are exported again.")


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
