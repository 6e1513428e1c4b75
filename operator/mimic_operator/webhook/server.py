"""Serves admission reviews over HTTPS, as the admission server of kopf: an asynchronous generator.

kopf's own server closes its listener for a new certificate, fails when the files are missing for a moment, and refuses
bodies over 1 MiB. This one keeps its listener; the TLS context is changed in place.
"""

import asyncio
import base64
import json
import logging
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from mimic_operator.errors import OperatorError
from mimic_operator.runtime.certificates import ends
from mimic_operator.webhook.review import REPLY, Reply

IDLE_SECONDS = 30.0
"""For a request's head, and between requests. An API server opens another connection when it needs one."""
READ_SECONDS = 10.0
"""For a whole body; an API server has it ready."""
SMALL_BODY_BYTES = 256 << 10
SMALL_AT_ONCE, LARGE_AT_ONCE = 64, 2
"""Bodies that are read and reviewed at once. A pod has 10 to 30 KiB; one of 8 MiB takes ten times as much while it is
decoded, and many of them would end the process at its memory limit. Others wait until READ_SECONDS are over."""
RESOURCES = {"pods": "pods", "namespace-pods": "pods", "backends": "mimicbackends"}
"""The resource that each handler reviews."""
OPERATIONS = ("CREATE", "UPDATE")


class Resource(msgspec.Struct):
    resource: str
    version: str
    group: str = ""


class Request(msgspec.Struct):
    """Of the review's request what must be there; all else may be."""

    uid: str
    resource: Resource
    operation: str
    object: dict[str, Any]
    oldObject: dict[str, Any] | None = None  # noqa: N815 - the API's name
    namespace: str = ""
    dryRun: bool | None = None  # noqa: N815 - the API's name
    userInfo: dict[str, Any] | None = None  # noqa: N815 - the API's name


class Review(msgspec.Struct):
    request: Request


async def read_review(request: web.Request, handler: str) -> dict[str, Any]:
    """The review, its object in the request's namespace. Raises HTTPException."""
    body = await _body(request)
    try:
        review: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        read = msgspec.convert(review, Review).request
    except msgspec.ValidationError as wrong:
        raise web.HTTPBadRequest(text=f"the body is not an AdmissionReview: {wrong}") from None
    except (msgspec.DecodeError, RecursionError):
        raise web.HTTPBadRequest(text="the body is not JSON") from None
    if read.resource.resource != RESOURCES[handler] or read.operation not in OPERATIONS:
        raise web.HTTPBadRequest(text=f"this webhook reviews {RESOURCES[handler]} that are created or updated")
    given = review["request"]
    given.setdefault("userInfo", {})
    for written in filter(None, (given["object"], given.get("oldObject"))):
        if not isinstance(written.setdefault("metadata", {}), dict):
            raise web.HTTPBadRequest(text="the body is not an AdmissionReview: its object's metadata is not a mapping")
        if read.namespace:
            written["metadata"]["namespace"] = read.namespace
    return review


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the body did not arrive within {READ_SECONDS:g} s") from None
    except (OSError, web.RequestPayloadError):
        raise web.HTTPBadRequest(text="the body cannot be read") from None


logger = logging.getLogger("mimic.admission")
LARGEST_BODY_BYTES = 8 << 20
"""An API server sends 3 MiB at most (its own limit on a request); an old and a new object may come together."""
DRAIN_SECONDS = 3.0
"""An API server keeps its connections: for so long after the end was decided each is closed with its next answer."""
END_SECONDS = 5.0
"""Then, for reviews that are still running."""
SELF_SECONDS = 5.0
Answered = Callable[[str, Reply, float], None]
"""Called after each response: handler, its reply, seconds."""
Traced = Callable[[str, Mapping[str, str], Reply], AbstractContextManager[None]]
"""Around each review: handler, the request's headers, what the handler leaves."""


class Server:
    """context: changed in place when the certificate is. clock: monotonic seconds. Port 0 takes a free one."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        context: ssl.SSLContext,
        handlers: frozenset[str],
        answered: Answered,
        traced: Traced,
        clock: Callable[[], float],
    ) -> None:
        self._host, self.port = host, port
        self._context = context
        self._handlers = handlers
        self._answered = answered
        self._traced = traced
        self._clock = clock
        self._review: Any = None
        self._small, self._large = asyncio.Semaphore(SMALL_AT_ONCE), asyncio.Semaphore(LARGE_AT_ONCE)
        self.listens = asyncio.Event()
        """Set from the start until the process is told to end."""

    async def __call__(self, review: Any) -> AsyncIterator[Mapping[str, Any]]:
        """Serve until closed, then drain. review: kopf's function from one AdmissionReview to its answer."""
        self._review = review
        app = web.Application(client_max_size=LARGEST_BODY_BYTES)
        app.router.add_get("/livez", self._alive)
        app.router.add_post("/{handler}", self._serve)
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=END_SECONDS,
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=READ_SECONDS,
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self.port, ssl_context=self._context, backlog=1024)
            await site.start()
            self.port = int(runner.addresses[0][1])
            logger.info("Admission reviews on port %d", self.port, extra={"port": self.port})
            self.listens.set()
            yield {}
            await asyncio.Event().wait()
        finally:
            self.listens.clear()
            await asyncio.sleep(DRAIN_SECONDS)
            await runner.cleanup()

    async def ask_itself(self) -> str:
        """One call over TLS, as the API server makes them: empty, or what is wrong."""
        if not self.listens.is_set():
            return "it does not listen yet"
        host = "127.0.0.1" if self._host in ("0.0.0.0", "") else "::1" if self._host == "::" else self._host
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = (
            False,
            ssl.CERT_NONE,
        )  # only whether it responds
        try:
            async with asyncio.timeout(SELF_SECONDS):
                reader, writer = await asyncio.open_connection(host, self.port, ssl=context)
                writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                line = await reader.readline()
                writer.close()
                with suppress(OSError, ssl.SSLError):
                    await writer.wait_closed()
        except (OSError, ssl.SSLError, TimeoutError) as error:
            return f"a call to itself failed ({type(error).__name__})"
        return "" if b" 200 " in line else "a call to itself was refused"

    async def _alive(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _serve(self, request: web.Request) -> web.Response:
        handler = request.match_info["handler"]
        if handler not in self._handlers:
            raise web.HTTPNotFound(text="there is no such webhook")
        async with self._room(request):
            review = await read_review(request, handler)
            return await self._answer(request, handler, review)

    @asynccontextmanager
    async def _room(self, request: web.Request) -> AsyncIterator[None]:
        """Waits until the body may be read. Raises HTTPServiceUnavailable."""
        size = request.content_length
        room = self._small if size is not None and size <= SMALL_BODY_BYTES else self._large
        try:
            await asyncio.wait_for(room.acquire(), READ_SECONDS)
        except TimeoutError:
            raise web.HTTPServiceUnavailable(text="too many reviews at once; send it again") from None
        try:
            yield
        finally:
            room.release()

    async def _answer(self, request: web.Request, handler: str, review: Mapping[str, Any]) -> web.Response:
        begun = self._clock()
        reply = Reply()
        token = REPLY.set(reply)
        try:
            with self._traced(handler, request.headers, reply):
                answer = await self._review(review, webhook=handler, headers=dict(request.headers))
        except Exception:
            logger.exception("A review failed before it was decided")
            raise web.HTTPInternalServerError(
                text="the webhook failed on this review; its log has the details"
            ) from None
        finally:
            REPLY.reset(token)
        _merge(answer, reply)
        self._answered(handler, reply, self._clock() - begun)
        response = web.Response(body=msgspec.json.encode(answer), content_type="application/json")
        if not self.listens.is_set():
            response.force_close()
        return response


def _merge(answer: Any, reply: Reply) -> None:
    """Puts our own patch into kopf's response, which has none, and the class of a refusal (meta/v1, StatusReason)."""
    response = answer["response"]
    if not response["allowed"]:
        response["status"]["reason"] = "Forbidden"
    elif reply.operations:
        encoded = json.dumps(reply.operations, separators=(",", ":")).encode()
        response |= {"patch": base64.b64encode(encoded).decode(), "patchType": "JSONPatch"}


certificates = logging.getLogger("mimic.certificate")
CERTIFICATE, KEY = "tls.crt", "tls.key"
LOOK_SECONDS = 2.0


class UnusableCertificate(OperatorError):
    """There is no certificate, or the key does not belong to it."""


class ServedCertificate:
    """The certificate that the webhook serves, from files that change. It is loaded at once; `follow` takes over later
    ones in place. Open connections keep theirs.

    Raises UnusableCertificate. changed: called with the end of each one taken over, and with None for an unusable one.
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
                    certificates.info("The webhook serves a new certificate")
            except UnusableCertificate as error:
                certificates.error("The new certificate is not used, the previous one stays: %s", error)

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
                f"{self._folder}: {CERTIFICATE} and {KEY} are not a certificate and its key ({type(error).__name__})"
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
