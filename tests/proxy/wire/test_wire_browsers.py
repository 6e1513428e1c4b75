"""The browser rule: no web page reaches a proxy that ignores keys, by Origin or by DNS rebinding."""

import pytest

from fakes.backend import Backend
from fakes.caller import CHAT_BODY, ask, request
from fakes.mimic import Mimic, Start
from fakes.replies import ok

LOOPBACK = [
    b"localhost",
    b"localhost:8000",
    b"127.0.0.1",
    b"127.0.0.1:1",
    b"127.9.9.9",
    b"[::1]",
    b"[::1]:8000",
    b"LOCALHOST",
    b"app.localhost",
]
FOREIGN = [
    b"rebound.example",
    b"rebound.example:8000",
    b"localhost.example",
    b"127.0.0.1.example",
    b"10.0.0.1",
    b"[::2]",
    b"0.0.0.0",
    b"128.0.0.1",
]
ORIGINS = [b"https://page.example", b"http://localhost:3000", b"null", b"file://"]
ROUTES = [
    (b"POST", b"/v1/chat/completions"),
    (b"GET", b"/v1/models"),
    (b"GET", b"/openapi.json"),
    (b"POST", b"/v1/nonsense"),
    (b"OPTIONS", b"/v1/chat/completions"),
]


def asked(method: bytes, path: bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
    return request(method, path, CHAT_BODY if method == b"POST" else None, fields)


@pytest.mark.parametrize("host", LOOPBACK)
async def test_loopback_names_are_served(mimic: Mimic, backend: Backend, host: bytes) -> None:
    backend.script = ok()
    got = await ask(mimic.port, asked(b"POST", b"/v1/chat/completions", [(b"host", host)]))
    assert got.status == 200
    assert not [name for name, _ in got.headers if name.startswith(b"access-control-")]


@pytest.mark.parametrize("connection", [b"origin", b"close, Origin", b"upgrade, origin"])
async def test_connection_cannot_take_the_origin_away(mimic: Mimic, backend: Backend, connection: bytes) -> None:
    fields = [(b"origin", b"https://page.example"), (b"connection", connection), (b"upgrade", b"h2c")]
    got = await ask(mimic.port, asked(b"POST", b"/v1/chat/completions", fields))
    assert (got.status, got.error()["code"]) == (403, "forbidden_origin")
    assert backend.requests == []


@pytest.mark.parametrize("host", FOREIGN)
async def test_foreign_hosts_are_refused(mimic: Mimic, backend: Backend, host: bytes) -> None:
    got = await ask(mimic.port, asked(b"POST", b"/v1/chat/completions", [(b"host", host)]))
    assert (got.status, got.error()["code"], got.error()["type"]) == (403, "forbidden_host", "invalid_request_error")
    assert "ALLOWED_HOSTS" in got.error()["message"]
    assert backend.requests == []


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_web_pages_are_refused_on_every_route(
    mimic: Mimic, backend: Backend, method: bytes, path: bytes, origin: bytes
) -> None:
    got = await ask(mimic.port, asked(method, path, [(b"origin", origin)]), method)
    assert (got.status, got.error()["code"]) == (403, "forbidden_origin")
    assert not [name for name, _ in got.headers if name.startswith(b"access-control-")]
    assert backend.requests == []


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_foreign_hosts_are_refused_on_every_route(
    mimic: Mimic, backend: Backend, method: bytes, path: bytes
) -> None:
    got = await ask(mimic.port, asked(method, path, [(b"host", b"rebound.example")]), method)
    assert (got.status, got.error()["code"]) == (403, "forbidden_host")
    assert backend.requests == []


@pytest.mark.parametrize("path", [b"/readyz", b"/metrics", b"/config"])
@pytest.mark.parametrize("field", [(b"host", b"rebound.example"), (b"origin", b"https://page.example")])
async def test_the_admin_port_refuses_them_likewise(mimic: Mimic, path: bytes, field: tuple[bytes, bytes]) -> None:
    got = await ask(mimic.admin_port, request(b"GET", path, None, [field]), b"GET")
    assert got.status == 403


async def test_a_caller_of_http_1_0_need_not_name_a_host(mimic: Mimic, backend: Backend) -> None:
    backend.script = ok()
    data = b"POST /v1/chat/completions HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    assert (await ask(mimic.port, data)).status == 200


async def test_allowed_hosts_and_origins_are_settings(backend: Backend, start: Start) -> None:
    backend.script = ok()
    lists = {"ALLOWED_HOSTS": "mimic.apps.svc, mimic", "ALLOWED_ORIGINS": "https://page.example"}
    async with start(**lists) as mimic:
        for host, origin, status in (
            (b"mimic", None, 200),
            (b"Mimic.Apps.svc:8000", None, 200),
            (b"localhost", None, 200),
            (b"mimic.other.svc", None, 403),
            (b"mimic", b"https://page.example", 200),
            (b"mimic", b"https://page.example:444", 403),
            (b"mimic", b"http://page.example", 403),
        ):
            fields = [(b"host", host), *([(b"origin", origin)] if origin else [])]
            got = await ask(mimic.port, asked(b"POST", b"/v1/chat/completions", fields))
            assert got.status == status, (host, origin)
