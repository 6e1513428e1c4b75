"""TLS to the backend, and on the API port."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from fakes.backend import Backend
from fakes.caller import STREAM_BODY, Caller, ask, chat, request
from fakes.mimic import Mimic, Start, eventually, settings
from fakes.replies import COMPLETION, STORY, chunk, delta, hang, ok, stream, stream_head
from fakes.token_service import TokenService


class SecureBackend:
    """A backend with TLS; `names` holds the SNI of each handshake."""

    def __init__(self, authority: trustme.CA, *identities: str, client_ca: trustme.CA | None = None) -> None:
        self.server = Backend(ok())
        self.names: list[str | None] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.set_alpn_protocols(["h2", "http/1.1"])
        authority.issue_cert(*identities).configure_cert(self.context)
        if client_ca is not None:
            client_ca.configure_trust(self.context)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.sni_callback = self._named

    def _named(self, _: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        self.names.append(name)

    async def __aenter__(self) -> Backend:
        return await self.server.start(self.context)

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """A CA whose certificate stands in ca.pem."""
    found = trustme.CA()
    found.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return found


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    return str(tmp_path / "ca.pem")


async def test_a_ca_bundle_makes_a_backend_trusted(start: Start, authority: trustme.CA, bundle: str) -> None:
    secure = SecureBackend(authority, "localhost")
    async with secure as server, start(CHAT_API_URL=f"https://localhost:{server.port}/v1", CA_BUNDLE=bundle) as mimic:
        assert (await ask(mimic.port, chat())).body == COMPLETION
        server.script = stream(STORY)
        assert (await ask(mimic.port, chat(STREAM_BODY))).body == STORY
        assert {id(seen.connection) for seen in server.requests} == {id(server.requests[0].connection)}
        assert server.requests[0].value(b"host") == b"localhost:%d" % server.port
        tls = server.requests[0].connection.tls
        assert tls is not None
        assert tls.selected_alpn_protocol() == "http/1.1"
    assert secure.names == ["localhost"]


async def test_a_host_given_as_address_is_checked_by_its_address_and_named_to_nobody(
    start: Start, authority: trustme.CA, bundle: str
) -> None:
    secure = SecureBackend(authority, "127.0.0.1")
    async with secure as server, start(CHAT_API_URL=f"https://127.0.0.1:{server.port}/v1", CA_BUNDLE=bundle) as mimic:
        assert (await ask(mimic.port, chat())).status == 200
    assert secure.names == [None]


@pytest.mark.parametrize("trusted", [True, False], ids=["wrong name", "untrusted"])
async def test_a_certificate_that_does_not_verify_makes_the_backend_unreachable(
    start: Start, authority: trustme.CA, bundle: str, trusted: bool
) -> None:
    signer, name = (authority, "other.invalid") if trusted else (trustme.CA(), "localhost")
    secure = SecureBackend(signer, name)
    async with secure as server, start(CHAT_API_URL=f"https://localhost:{server.port}/v1", CA_BUNDLE=bundle) as mimic:
        got = await ask(mimic.port, chat())
        assert (got.status, got.error()["code"]) == (502, "upstream_unreachable")
        assert "certificate" in got.error()["message"].lower()
        assert server.requests == []


async def test_the_systems_store_is_used_without_a_bundle(start: Start, authority: trustme.CA) -> None:
    async with (
        SecureBackend(authority, "localhost") as server,
        start(CHAT_API_URL=f"https://localhost:{server.port}/v1") as mimic,
    ):
        assert (await ask(mimic.port, chat())).error()["code"] == "upstream_unreachable"


@pytest.mark.parametrize("name", ["CA_BUNDLE", "CLIENT_CERT", "TLS_CERT"])
async def test_a_file_that_holds_no_certificate_stops_the_start(
    backend: Backend, tokens: TokenService, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "none.pem"
    file.write_text("no certificate")
    key = {"CLIENT_CERT": "CLIENT_KEY", "TLS_CERT": "TLS_KEY"}.get(name)
    files = {name: str(file)} | ({key: str(file)} if key is not None else {})
    mimic = Mimic(settings(backend, tokens, **files), tmp_path)
    try:
        assert await mimic.ended() == 2
    finally:
        mimic.kill()
    assert name in mimic.log
    mimic.judge_log()


async def test_verification_can_be_switched_off_and_warns(start: Start) -> None:
    secure = SecureBackend(trustme.CA(), "other.invalid")
    async with secure as server, start(CHAT_API_URL=f"https://localhost:{server.port}/v1", VERIFY_SSL="False") as mimic:
        assert (await ask(mimic.port, chat())).status == 200
        assert "VERIFY_SSL" in mimic.log
    assert secure.names == ["localhost"]


async def test_a_client_certificate_is_shown(start: Start, authority: trustme.CA, bundle: str, tmp_path: Path) -> None:
    clients = trustme.CA()
    own = clients.issue_cert("mimic@example.com")
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "own.pem"))
    own.private_key_pem.write_to_path(str(tmp_path / "own.key"))
    more = {"CA_BUNDLE": bundle, "CLIENT_CERT": str(tmp_path / "own.pem"), "CLIENT_KEY": str(tmp_path / "own.key")}
    async with SecureBackend(authority, "localhost", client_ca=clients) as server:
        async with start(CHAT_API_URL=f"https://localhost:{server.port}/v1", **more) as mimic:
            assert (await ask(mimic.port, chat())).status == 200
        tls = server.requests[0].connection.tls
        assert tls is not None
        assert "mimic@example.com" in str(tls.getpeercert())


async def test_a_missing_client_certificate_is_a_502(start: Start, authority: trustme.CA, bundle: str) -> None:
    async with (
        SecureBackend(authority, "localhost", client_ca=trustme.CA()) as server,
        start(CHAT_API_URL=f"https://localhost:{server.port}/v1", CA_BUNDLE=bundle) as mimic,
    ):
        got = await ask(mimic.port, chat())
        assert (got.status, got.error()["type"]) == (502, "upstream_error")


async def test_a_backend_that_speaks_no_tls_is_unreachable(start: Start, backend: Backend) -> None:
    async with start(CHAT_API_URL=f"https://127.0.0.1:{backend.port}/v1") as mimic:
        backend.faults.clear()
        got = await ask(mimic.port, chat())
        assert (got.status, got.error()["code"]) == (502, "upstream_unreachable")
    assert backend.faults, "the hello was taken for a broken request"
    backend.faults.clear()


async def test_a_stream_cut_without_close_notify_is_a_cut(start: Start, authority: trustme.CA, bundle: str) -> None:
    async with (
        SecureBackend(authority, "localhost") as server,
        start(CHAT_API_URL=f"https://localhost:{server.port}/v1", CA_BUNDLE=bundle) as mimic,
    ):
        server.script = hang(stream_head(), chunk(delta("one")))
        async with await Caller.connect(mimic.port) as caller:
            await caller.send(chat(STREAM_BODY))
            await caller.head()
            await caller.body_until(b"one")
            server.requests[0].connection.reset()
            assert b'"error"' in await caller.body_until(b'"code"')


def write(file: str, data: bytes) -> None:
    Path(file).write_bytes(data)


async def test_a_changed_bundle_is_used_by_new_connections_and_retires_those_that_stand(
    start: Start, authority: trustme.CA, bundle: str
) -> None:
    later = trustme.CA()
    first, second = SecureBackend(authority, "localhost"), SecureBackend(later, "localhost")
    async with first as old, second as new:
        more = {
            "CHAT_API_URL": f"https://localhost:{old.port}/v1",
            "EMBEDDING_API_URL": f"https://localhost:{new.port}/v1",
        }
        async with start(CA_BUNDLE=bundle, **more) as mimic:
            embeddings = request(b"POST", b"/v1/embeddings", b"{}")
            assert (await ask(mimic.port, chat())).status == 200
            assert (await ask(mimic.port, embeddings)).status == 502
            kept = old.requests[0].connection
            write(bundle, b"no certificate")
            await eventually(lambda: "the old ones stay" in mimic.log)
            assert (await ask(mimic.port, chat())).status == 200
            write(bundle, authority.cert_pem.bytes() + later.cert_pem.bytes())
            async with asyncio.timeout(10):
                await kept.lost.wait()
            assert (await ask(mimic.port, chat())).status == 200
            assert (await ask(mimic.port, embeddings)).status == 200


def service_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


async def test_the_token_service_is_verified_by_the_same_rules(
    start: Start, backend: Backend, authority: trustme.CA, bundle: str
) -> None:
    backend.script = ok()
    async with TokenService(service_context(authority)) as service:
        for trust in ({"CA_BUNDLE": bundle}, {"VERIFY_SSL": "false"}):
            async with start(TOKEN_URL=service.url, **trust) as mimic:
                assert (await ask(mimic.port, chat())).status == 200
        async with start(TOKEN_URL=service.url, ready=False) as mimic:
            got = await ask(mimic.port, chat())
            assert (got.status, got.error()["code"]) == (503, "token_unavailable")
    assert service.calls == 2


@pytest.fixture
def port_tls(authority: trustme.CA, tmp_path: Path) -> tuple[dict[str, str], ssl.SSLContext]:
    """Settings for TLS on the API port, and a caller's context that trusts it."""
    own = authority.issue_cert("localhost", "127.0.0.1")
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "port.pem"))
    own.private_key_pem.write_to_path(str(tmp_path / "port.key"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return {"TLS_CERT": str(tmp_path / "port.pem"), "TLS_KEY": str(tmp_path / "port.key")}, context


async def test_the_api_port_speaks_tls(
    start: Start, backend: Backend, port_tls: tuple[dict[str, str], ssl.SSLContext]
) -> None:
    more, context = port_tls
    async with start(**more) as mimic:
        backend.script = ok()
        assert (await ask(mimic.port, chat(), tls=context)).body == COMPLETION
        assert (await ask(mimic.port, request(b"GET", b"/openapi.json"), b"GET", tls=context)).status == 200
        backend.script = stream(*[STORY] * 2)
        large = b'{"model":"m","user":"' + b"x" * 1_000_000 + b'","stream":true}'
        assert (await ask(mimic.port, chat(large), tls=context)).body.startswith(STORY)


async def test_a_caller_that_leaves_over_tls_closes_the_backends_connection(
    start: Start, backend: Backend, port_tls: tuple[dict[str, str], ssl.SSLContext]
) -> None:
    more, context = port_tls
    backend.script = hang(stream_head(), chunk(delta("one")))
    async with start(**more) as mimic:
        for leave in (Caller.close, Caller.reset):
            number = len(backend.requests)
            async with await Caller.connect(mimic.port, tls=context) as caller:
                await caller.send(chat(STREAM_BODY))
                await caller.head()
                await caller.body_until(b"one")
                leave(caller)
                async with asyncio.timeout(2):
                    await backend.requests[number].connection.lost.wait()


async def test_plain_http_to_a_tls_port_harms_nobody(
    start: Start, backend: Backend, port_tls: tuple[dict[str, str], ssl.SSLContext]
) -> None:
    more, context = port_tls
    backend.script = ok()
    async with start(**more) as mimic:
        async with await Caller.connect(mimic.port) as caller:
            await caller.send(chat())
            assert COMPLETION not in await caller.ended()
        assert (await ask(mimic.port, chat(), tls=context)).status == 200
