"""Secrets, keys, prompts and answers stand in nothing that Mimic shows, whatever happens to them."""

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import mimic_proxy
from fakes.backend import Backend, Request, Script
from fakes.caller import Caller, ask, request
from fakes.connect_proxy import ConnectProxy
from fakes.mimic import eventually
from fakes.planted import (
    ANSWER,
    BODY,
    CALLER_FIELDS,
    FILE,
    FORMS,
    PROMPT,
    PROXY_PASSWORD,
    PROXY_USER,
    QUERY,
    Planting,
    Witness,
    chat,
    planting,
)
from fakes.replies import DONE, LAST_CHUNK, answer, chunk, delta, event, hang, head, reply, stream_head
from fakes.token_service import TokenService

SERVICE = str(Path(mimic_proxy.__file__).parent.parent)
STREAM_BODY = BODY[:-1] + b',"stream":true}'
FORM = [(b"content-type", b"multipart/form-data; boundary=x"), *CALLER_FIELDS]
COMPLETION = json.dumps({"model": "m", "choices": [{"message": {"content": ANSWER}}], "usage": {}}).encode()
HTML = [(b"content-type", b"text/html")]


@pytest.fixture(scope="module", params=FORMS)
async def _shared(
    request: pytest.FixtureRequest, anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Witness, Backend]]:
    folder = tmp_path_factory.mktemp("planted")
    async with (
        Backend() as backend,
        TokenService() as tokens,
        planting(str(request.param), folder, backend, tokens) as witness,
    ):
        yield witness, backend


@pytest.fixture
async def witness(_shared: tuple[Witness, Backend]) -> AsyncIterator[Witness]:
    """Of a Mimic that some tests share; judged after each of them."""
    yield _shared[0]
    await _shared[0].judge()


@pytest.fixture
def told(_shared: tuple[Witness, Backend]) -> Backend:
    """The backend behind it."""
    _shared[1].reset()
    return _shared[1]


@pytest.fixture
def plant(tmp_path: Path, backend: Backend, tokens: TokenService) -> Planting:
    """The same, of the test's own: `async with plant("json", A_SETTING="1")`."""
    return lambda form="json", **more: planting(form, tmp_path, backend, tokens, **more)


def echo(status: int, fields: list[tuple[bytes, bytes]]) -> Script:
    """Tell the caller everything that came: its head, the access token in it, the prompt."""

    async def play(request: Request) -> None:
        await request.whole.wait()
        heads = b"".join(name + b": " + value + b"; " for name, value in request.headers)
        message = (request.target + b" " + heads + request.body).decode("ascii", "replace")
        body = json.dumps({"error": {"message": message, "type": "t", "param": None, "code": None}}).encode()
        await request.send(answer(status, body, fields))

    return play


async def test_calls_that_succeed(witness: Witness, told: Backend) -> None:
    port = witness.mimic.port
    told.script = reply(answer(200, COMPLETION))
    for _ in range(2):
        assert (await ask(port, chat())).status == 200
    told.script = reply(stream_head() + chunk(delta(ANSWER) + delta(ANSWER) + DONE) + LAST_CHUNK)
    assert (await ask(port, chat(STREAM_BODY))).status == 200
    told.script = reply(answer(200, FILE.encode(), [(b"content-type", b"text/plain")]))
    upload = b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\n%s\r\n--x--' % FILE.encode()
    assert (await ask(port, request(b"POST", b"/v1/files", upload, FORM))).status == 200
    download = request(b"GET", b"/v1/files/f/content?note=" + QUERY.encode(), fields=CALLER_FIELDS)
    assert (await ask(port, download, b"GET")).status == 200
    told.script = reply(answer(200, b'{"object":"list","data":[]}'))
    models = request(b"GET", b"/v1/models?note=" + QUERY.encode(), fields=CALLER_FIELDS)
    assert (await ask(port, models, b"GET")).status == 200
    embed = json.dumps({"model": "m", "input": PROMPT}).encode()
    assert (await ask(port, request(b"POST", b"/v1/embeddings", embed, CALLER_FIELDS))).status == 200


ECHOES = {
    "400": (400, [(b"content-type", b"application/json")]),
    "403": (403, [(b"content-type", b"application/json")]),
    "429": (429, [(b"content-type", b"application/json")]),
    "500": (500, [(b"content-type", b"application/json")]),
    "502 in HTML": (502, HTML),
}


async def test_a_backend_that_tells_what_it_was_sent(witness: Witness, told: Backend) -> None:
    """Its answers are the caller's; they stand in nothing else."""
    for status, fields in ECHOES.values():
        told.script = echo(status, fields)
        for body in (BODY, STREAM_BODY):
            got = await ask(witness.mimic.port, chat(body))
            assert (got.status, PROMPT.encode() in got.body) == (status, True)
    await witness.judge("echoes")
    told.script = echo(401, [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")])
    await witness.ask("a token refused with an echo", chat(), code="upstream_auth_failed")
    path = b"/v1/models?note=" + QUERY.encode()
    got = await ask(witness.mimic.port, request(b"GET", path, fields=CALLER_FIELDS), b"GET")
    assert got.status == 502
    witness.answers.append(("a token refused to the models", got))


def repeating(make: Callable[[bytes, bytes], bytes]) -> Script:
    """Answer with bytes that are made of the access token and the prompt, then close."""

    async def play(request: Request) -> None:
        await request.whole.wait()
        await request.send(make(request.value(b"authorization") or b"", PROMPT.encode()))
        request.connection.close()

    return play


BROKEN: dict[str, Callable[[bytes, bytes], bytes]] = {
    "a redirect": lambda token, prompt: head(307, [(b"location", b"https://other.test/?t=" + token)]),
    "no HTTP": lambda token, prompt: token + b" " + prompt + b"\r\n\r\n",
    "a broken field": lambda token, prompt: b"HTTP/1.1 200 OK\r\n" + prompt + b"\r\n" + token + b"\r\n\r\n",
    "a broken length": lambda token, prompt: head(200, [(b"content-length", token)]),
    "a broken reason": lambda token, prompt: b"HTTP/1.1 2x0 " + token + prompt + b"\r\n\r\n",
    "nothing": lambda token, prompt: b"",
    "a stream without an event": lambda token, prompt: (
        stream_head() + chunk(b": " + token + prompt + b"\n\n") + LAST_CHUNK
    ),
}


async def test_a_backend_that_breaks(witness: Witness, told: Backend) -> None:
    for why, make in BROKEN.items():
        told.script = repeating(make)
        got = await ask(witness.mimic.port, chat(STREAM_BODY))
        assert (why, got.status) == (why, 502)
        witness.answers.append((why, got))
    for last in (b"", event({"error": {"message": PROMPT, "code": 500}}), b"data: {" + PROMPT.encode()):
        told.script = repeating(lambda token, prompt, last=last: stream_head() + chunk(delta(ANSWER) + last))  # type: ignore[misc]
        assert (await ask(witness.mimic.port, chat(STREAM_BODY))).status == 200


CHUNKED = chat(PROMPT.encode()).replace(b"content-length: %d" % len(PROMPT), b"transfer-encoding: chunked")
WRONG: dict[str, tuple[bytes, str]] = {
    "no JSON": (chat(PROMPT.encode()), "invalid_request"),
    "half of JSON": (chat(BODY[:-5]), "invalid_request"),
    "no object": (chat(b'["%s"]' % PROMPT.encode()), "invalid_request"),
    "an unknown route": (request(b"POST", b"/v1/no?" + QUERY.encode(), BODY, CALLER_FIELDS), "unknown_route"),
    "a wrong method": (request(b"PUT", b"/v1/models?" + QUERY.encode(), BODY, CALLER_FIELDS), "method_not_allowed"),
    "a foreign page": (chat().replace(b"\r\n", b"\r\norigin: https://a.test\r\n", 1), "forbidden_origin"),
    "a broken field": (b"GET /v1/models HTTP/1.1\r\nauthorization %s\r\n\r\n" % PROMPT.encode(), "invalid_request"),
    "a broken chunk": (CHUNKED, "invalid_request"),
    "a large head": (chat().replace(b"\r\n", b"\r\nx: %s\r\n" % (b"y" * 70_000), 1), "head_too_large"),
}


async def test_callers_whose_requests_are_wrong(witness: Witness) -> None:
    for why, (data, code) in WRONG.items():
        await witness.ask(why, data, data.split(b" ")[0], code=code)
    async with await Caller.connect(witness.mimic.port) as leaving:
        await leaving.send(chat(BODY + b" " * 100)[:-50])


FAULTS = """
import mimic_proxy.relay.upstream_request as understanding
import mimic_proxy.web.models as models


def broken(body):
    return body.decode("ascii") + body["nothing"]


async def unread(self, *asked):
    secret = await self._token(None, 0.0, asked[-1])
    return secret.value + asked


understanding.read_fields = broken
models.Models.one = unread
"""


@pytest.mark.parametrize("form", FORMS)
async def test_faults_of_our_own(plant: Planting, tmp_path: Path, form: str) -> None:
    """A traceback shows lines of code, not what they worked on."""
    (tmp_path / "sitecustomize.py").write_text(FAULTS)
    async with plant(form, PYTHONPATH=os.pathsep.join([str(tmp_path), SERVICE])) as witness:
        for body in (BODY, BODY, BODY + b" " * 1_100_000, BODY + "\N{SNOWMAN}".encode()):
            await witness.ask("a fault in a call", chat(body), code="internal_error")
        path = b"/v1/models/m?note=" + QUERY.encode()
        await witness.ask(
            "a fault in FastAPI", request(b"GET", path, fields=CALLER_FIELDS), b"GET", code="internal_error"
        )
        assert "Traceback (most recent call last)" in witness.mimic.log


async def test_a_stop_in_the_middle(plant: Planting, backend: Backend) -> None:
    # The caller stays until all is judged: Mimic ends once nobody is left.
    async with AsyncExitStack() as callers, plant(DRAIN_TIMEOUT="20") as witness:
        # A span of this one is there whatever becomes of the last.
        backend.script = reply(answer(200, COMPLETION))
        assert (await ask(witness.mimic.port, chat())).status == 200
        collector = witness.collector
        assert collector is not None
        await eventually(lambda: bool(collector.spans), what="a span")
        backend.script = hang(stream_head() + chunk(delta(ANSWER)))
        caller = await callers.enter_async_context(await Caller.connect(witness.mimic.port))
        await caller.send(chat(STREAM_BODY))
        await caller.head()
        await witness.judge("in the middle of a stream")
        witness.mimic.signal(signal.SIGTERM)
        await eventually(lambda: "Stopping" in witness.mimic.log, what="the stop")
        await witness.judge("while it stops")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_outbound_proxy_that_refuses(plant: Planting, backend: Backend, scheme: str) -> None:
    async with ConnectProxy({}) as between:
        body = f"{PROXY_USER} {PROXY_PASSWORD} is unknown".encode()
        between.refusal = answer(407, body, HTML)
        url = f"http://{PROXY_USER}:{PROXY_PASSWORD}@127.0.0.1:{between.port}"
        more = {
            f"{scheme.upper()}_PROXY": url,
            "NO_PROXY": "127.0.0.1",
            "EMBEDDING_API_URL": f"{scheme}://backend.invalid/v1",
        }
        async with plant(**more) as witness:
            got = await ask(witness.mimic.port, request(b"POST", b"/v1/embeddings", BODY, CALLER_FIELDS))
            if scheme == "https":
                assert (got.status, got.error()["code"]) == (502, "upstream_unreachable")
                witness.answers.append(("a proxy that refuses", got))
        assert between.heads
