"""Waves of callers, each with a connection of its own and one call on it."""

import asyncio
import socket
import struct

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""A caller's reset leaves no port behind that would be taken for a minute (RFC 9293, 3.5)."""


class OneShot(asyncio.Protocol):
    """Sends one call, and resets the connection when its answer holds `until`."""

    def __init__(self, call: bytes, until: bytes) -> None:
        self.call = call
        self.until = until
        self.answered = asyncio.get_running_loop().create_future()
        self.seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        transport.write(self.call)

    def data_received(self, data: bytes) -> None:
        self.seen += data
        if self.until in self.seen:
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.answered.done():
            self.answered.set_result(self.until in self.seen)


async def wave(port: int, size: int, call: bytes, until: bytes) -> int:
    """So many callers at once; how many of them were answered."""
    loop = asyncio.get_running_loop()
    made = await asyncio.gather(
        *(loop.create_connection(lambda: OneShot(call, until), "127.0.0.1", port) for _ in range(size))
    )
    return sum(await asyncio.gather(*(caller.answered for _, caller in made)))
