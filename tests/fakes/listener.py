"""Who uses a connection to the backend: keeps what it hears, and pools on real sockets for it."""

import asyncio
import ssl
from collections.abc import Callable

from fakes.ports import Clock
from mimic_proxy.errors import MimicError
from mimic_proxy.http.headers import ResponseFields, response_names
from mimic_proxy.http.target import parse_base
from mimic_proxy.relay.connection import Connection
from mimic_proxy.relay.dial import Dialler
from mimic_proxy.relay.loop import CoalescedWrites
from mimic_proxy.relay.pool import Dial, Pool

PATIENCE_SECONDS = 10.0
REQUEST = b"POST /v1/x HTTP/1.1\r\nhost: backend.test\r\ncontent-length: 2\r\n\r\n{}"


class Listener:
    """Stands for an exchange; everything may be awaited with `until`."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.heads: list[ResponseFields] = []
        self.reads: list[bytes] = []
        self.ended = False
        self.error: MimicError | None = None
        self.writable: list[bool] = []
        self._changed = asyncio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(self.reads)

    def connected(self, connection: Connection) -> None:
        self.connection = connection
        self._changed.set()

    def dial_failed(self, error: MimicError) -> None:
        self.error = error
        self._changed.set()

    def upstream_received(self, fields: ResponseFields | None, body: bytes, ended: bool) -> None:
        assert not self.ended, "told more after the end"
        assert fields is not None or self.heads, "a body before its head"
        self.heads += [fields] if fields is not None else []
        self.reads.append(body)
        self.ended = ended
        self._changed.set()

    def upstream_lost(self, error: MimicError) -> None:
        assert self.error is None, "lost twice"
        self.error = error
        self._changed.set()

    def upstream_writable(self, writable: bool) -> None:
        self.writable.append(writable)
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def over(self) -> None:
        """The answer is whole, or lost."""
        await self.until(lambda: self.ended or self.error is not None)


class Pools:
    """Pools of real connections; everything is closed at the end."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.made: list[Pool] = []

    def __call__(self, url: str, context: ssl.SSLContext | None = None, timeout: float = 5.0) -> Pool:
        def tls() -> ssl.SSLContext:
            assert context is not None
            return context

        dialler = Dialler(context=tls, proxy_for=lambda base: None, timeout=timeout)
        writes = CoalescedWrites(asyncio.get_running_loop().call_soon)
        names = response_names(own_cors=False)
        pool = Pool(parse_base(url), dialler, self.clock, names, writes, rand=lambda: 0.5)
        self.made.append(pool)
        return pool

    async def close(self) -> None:
        for pool in self.made:
            pool.close()
        await closed(*self.made)


async def closed(*pools: Pool) -> None:
    """Wait until no connection of these pools is open."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(pool.connections or pool.dials for pool in pools):
            await asyncio.sleep(0)


async def dialled(pool: Pool) -> Connection:
    """A new connection, not attached to anything."""
    listener = Listener()
    dial: Dial = pool.dial(listener)
    await listener.until(lambda: listener.connection or listener.error)
    assert listener.connection is not None, listener.error
    assert dial.listener is listener
    return listener.connection


def ask(connection: Connection, request: bytes = REQUEST) -> Listener:
    """Attach and send."""
    listener = Listener()
    connection.attach(listener)
    connection.send(request)
    return listener


async def answered(connection: Connection, request: bytes = REQUEST) -> Listener:
    """Attach, send, wait for the whole answer or the loss."""
    listener = ask(connection, request)
    await listener.over()
    return listener
