"""Answers of the web application: one request over uvicorn's cycle, which speaks ASGI to the application."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from mimic_proxy.relay.request import CALLER, CALLER_LEFT, Inbound, asgi_scope

logger = logging.getLogger("uvicorn.error")


class WebAnswer:
    """One request while the web application answers it."""

    def __init__(
        self,
        inbound: Inbound,
        transport: asyncio.Transport,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        keep_alive: bool,
    ) -> None:
        self._app = config.loaded_app
        self._tasks = server_state.tasks
        self._flow = FlowControl(transport)
        # The scope must not lead back here: such a circle would stay until a full collection.
        self._left = asyncio.Event()
        connection = {
            "asgi": {"version": config.asgi_version, "spec_version": "2.3"},
            "server": get_local_addr(transport),
            "client": get_remote_addr(transport),
            "scheme": "https" if is_ssl(transport) else "http",
            "root_path": config.root_path,
            "state": app_state.copy(),
            CALLER_LEFT: self._left.is_set,
            CALLER: inbound.request.fields.caller,
        }
        self._cycle = RequestResponseCycle(
            scope=asgi_scope(inbound, connection),  # type: ignore[arg-type]
            transport=transport,
            flow=self._flow,
            logger=logger,
            access_logger=logger,
            access_log=False,
            default_headers=server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=inbound.request.fields.expect_continue,
            keep_alive=keep_alive,
            on_response=_nothing,
        )

    def start(self, loop: asyncio.AbstractEventLoop, ended: Callable[[bool], None], writable: bool) -> None:
        """ended: called when the answer is written, with whether the connection is kept. writable: it is, now."""
        cycle = self._cycle
        cycle.on_response = lambda: ended(cycle.keep_alive)
        self.writable(writable)
        task = loop.create_task(cycle.run_asgi(self._app))
        task.add_done_callback(self._tasks.discard)
        self._tasks.add(task)

    def feed(self, body: bytes, limit: int) -> bool:
        """A piece of the request's body. False: with it more than `limit` bytes wait to be read (0: no limit)."""
        cycle = self._cycle
        cycle.body += body
        cycle.message_event.set()
        return not limit or len(cycle.body) <= limit

    def complete(self) -> None:
        """The request is whole."""
        self._cycle.more_body = False
        self._cycle.message_event.set()

    def writable(self, writable: bool) -> None:
        """The caller's socket takes bytes again, or takes no more."""
        if writable:
            self._flow.resume_writing()
        else:
            self._flow.pause_writing()

    def stop(self) -> None:
        """This is the connection's last answer."""
        self._cycle.keep_alive = False

    def leave(self) -> None:
        """The caller has left: the application hears of it, and nothing it still says is written."""
        self._left.set()
        cycle = self._cycle
        if not cycle.response_complete:
            cycle.disconnected = True
        cycle.message_event.set()
        self._flow.resume_writing()


def _nothing() -> None:
    """Nobody waits for the end."""
