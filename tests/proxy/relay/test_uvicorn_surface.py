"""What is used of uvicorn's HTTP protocol is there in the installed version, and nothing else of it is used."""

import ast
import asyncio
import inspect
from importlib.metadata import version
from pathlib import Path

from uvicorn import Config
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from mimic_proxy import relay
from mimic_proxy.relay.protocol import UVICORN_SURFACE, RelayProtocol

CYCLE_ARGUMENTS = {
    "scope",
    "transport",
    "flow",
    "logger",
    "access_logger",
    "access_log",
    "default_headers",
    "message_event",
    "expect_100_continue",
    "keep_alive",
    "on_response",
}
CYCLE_ATTRIBUTES = ("body", "disconnected", "keep_alive", "message_event", "more_body", "response_complete")
ADVICE = (
    "uvicorn {version} has moved {what}. Look at uvicorn/protocols/http/httptools_impl.py ("
    + httptools_impl.__file__
    + "), "
    "mend mimic_proxy/relay/protocol.py where it uses that, and UVICORN_SURFACE; then let tests/proxy/wire say whether "
    "requests that are not relayed, keep-alive and the stop still work."
)


def advice(what: object) -> str:
    return ADVICE.format(version=version("uvicorn"), what=what)


async def app(scope: object, receive: object, send: object) -> None:
    raise AssertionError("nobody calls this")


def used_of_self() -> set[str]:
    """Names that RelayProtocol reads or writes on itself and does not bring along."""
    # Not `protocol.__file__`: compiled, that is no source.
    tree = ast.parse(Path(relay.__file__).with_name("protocol.py").read_text("utf-8"))
    (kind,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "RelayProtocol")
    (init,) = (node for node in kind.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    used, own = set(), {node.name for node in kind.body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(kind):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            used.add(node.attr)
    for node in ast.walk(init):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            own.add(node.attr)
    return used - own


async def test_everything_used_of_uvicorn_s_protocol_is_there() -> None:
    config = Config(app, ws="none", lifespan="off", log_config=None)
    made = HttpToolsProtocol(config, ServerState(), {}, asyncio.get_running_loop())
    missing = [name for name in UVICORN_SURFACE if not hasattr(made, name)]
    assert missing == [], advice(missing)


def test_the_surface_lists_all_that_is_used_and_nothing_else() -> None:
    set_per_request = {"url", "headers", "scope"}
    assert used_of_self() - set_per_request == set(UVICORN_SURFACE), (
        "UVICORN_SURFACE in relay/protocol.py has to say so"
    )


def test_uvicorn_s_cycle_is_made_as_we_make_it() -> None:
    arguments = inspect.signature(RequestResponseCycle.__init__).parameters
    wanted = [name for name, one in arguments.items() if name != "self" and one.default is inspect.Parameter.empty]
    assert set(wanted) == CYCLE_ARGUMENTS, advice("the arguments of RequestResponseCycle")


def test_uvicorn_s_cycle_has_what_we_look_at() -> None:
    source = inspect.getsource(RequestResponseCycle)
    missing = [name for name in CYCLE_ATTRIBUTES if f"self.{name}" not in source]
    assert missing == [], advice(missing)


def test_uvicorn_s_protocol_is_called_as_before() -> None:
    arguments = list(inspect.signature(HttpToolsProtocol.__init__).parameters)
    assert arguments == ["self", "config", "server_state", "app_state", "_loop"], advice("HttpToolsProtocol.__init__")
    for name in ("connection_made", "connection_lost", "data_received", "eof_received", "shutdown"):
        assert hasattr(HttpToolsProtocol, name), advice(name)
    calls = {name for name in vars(HttpToolsProtocol) if name.startswith("on_")}
    assert calls <= set(vars(RelayProtocol)), advice(f"parser callbacks: {calls - set(vars(RelayProtocol))}")


def test_uvicorn_s_server_looks_at_what_the_stop_relies_on() -> None:
    assert {"connections", "tasks", "default_headers"} <= set(vars(ServerState())), advice("ServerState")
    for name in ("serve", "shutdown", "capture_signals"):
        assert hasattr(Server, name), advice(f"Server.{name}")
    source = inspect.getsource(Server.shutdown)
    assert "connection.shutdown()" in source, advice("how the stop tells connections")
