"""What is used of uvicorn is there in the installed version."""

import inspect
from importlib.metadata import version

from uvicorn import Config
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from mimic_proxy.relay.protocol import RelayProtocol

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
CYCLE_ATTRIBUTES = (
    "body",
    "disconnected",
    "keep_alive",
    "message_event",
    "more_body",
    "on_response",
    "response_complete",
)
ADVICE = (
    "uvicorn {version} has moved {what}. Look at uvicorn/protocols/http/httptools_impl.py ("
    + httptools_impl.__file__
    + ") and change mimic_proxy/relay/asgi.py where it uses that; then let tests/proxy/wire say whether requests "
    "that are not relayed, keep-alive and the stop still work."
)


def advice(what: object) -> str:
    return ADVICE.format(version=version("uvicorn"), what=what)


async def app(scope: object, receive: object, send: object) -> None:
    raise AssertionError("nobody calls this")


def test_uvicorn_s_cycle_is_made_as_we_make_it() -> None:
    arguments = inspect.signature(RequestResponseCycle.__init__).parameters
    wanted = [name for name, one in arguments.items() if name != "self" and one.default is inspect.Parameter.empty]
    assert set(wanted) == CYCLE_ARGUMENTS, advice("the arguments of RequestResponseCycle")


def test_uvicorn_s_cycle_has_what_we_look_at() -> None:
    source = inspect.getsource(RequestResponseCycle)
    missing = [name for name in CYCLE_ATTRIBUTES if f"self.{name}" not in source]
    assert missing == [], advice(missing)
    assert hasattr(RequestResponseCycle, "run_asgi"), advice("RequestResponseCycle.run_asgi")


def test_uvicorn_s_flow_control_is_used_as_before() -> None:
    assert list(inspect.signature(FlowControl.__init__).parameters) == ["self", "transport"], advice("FlowControl")
    for name in ("pause_writing", "resume_writing"):
        assert hasattr(FlowControl, name), advice(f"FlowControl.{name}")


def test_a_connection_is_made_and_stopped_as_uvicorn_does_it() -> None:
    arguments = list(inspect.signature(HttpToolsProtocol.__init__).parameters)
    assert arguments == ["self", "config", "server_state", "app_state", "_loop"], advice("HttpToolsProtocol.__init__")
    for name in ("connection_made", "connection_lost", "data_received", "eof_received", "shutdown"):
        assert hasattr(HttpToolsProtocol, name), advice(name)
    calls = {name for name in vars(HttpToolsProtocol) if name.startswith("on_")} - {"on_response_complete"}
    assert calls <= set(vars(RelayProtocol)), advice(f"parser callbacks: {calls - set(vars(RelayProtocol))}")


def test_uvicorn_s_configuration_has_what_a_request_is_made_of() -> None:
    config = Config(app, ws="none", lifespan="off", log_config=None)
    config.load()
    for name in ("loaded_app", "asgi_version", "root_path"):
        assert hasattr(config, name), advice(f"Config.{name}")


def test_uvicorn_s_server_looks_at_what_the_stop_relies_on() -> None:
    assert {"connections", "tasks", "default_headers"} <= set(vars(ServerState())), advice("ServerState")
    for name in ("serve", "shutdown", "capture_signals"):
        assert hasattr(Server, name), advice(f"Server.{name}")
    source = inspect.getsource(Server.shutdown)
    assert "connection.shutdown()" in source, advice("how the stop tells connections")
