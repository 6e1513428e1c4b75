"""Calls that end in every way there is: a backend that does what the name of the model says, and callers for it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from fakes.backend import Backend, Request
from fakes.caller import Caller, Response, ask, request
from fakes.mimic import Mimic, settings
from fakes.replies import (
    COMPLETION,
    DONE,
    LAST_CHUNK,
    Fields,
    answer,
    chunk,
    cut,
    delta,
    hang,
    held,
    reply,
    stream_head,
)
from fakes.token_service import REFUSAL, TokenService

EMBEDDING = b'{"object":"list","model":"embedder","data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}'
MODELS = b'{"object":"list","data":[{"id":"large","object":"model"},{"id":"small","object":"model"}]}'
FAILURE = b'{"error":{"message":"the model is out of order","type":"server_error","param":null,"code":null}}'
LIMIT = b'{"error":{"message":"too many requests","type":"rate_limit","param":null,"code":null}}'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}\n\n'
CLIENT_KEY = "fake-client-key-5e0c"
PAUSE_SECONDS = 0.03
FAULT = """
import importlib.abc
import sys


class Saboteur(importlib.abc.MetaPathFinder):
    # Breaks one method of the module once it is imported; the process does not know of it before.
    def find_spec(self, name, path, target=None):
        if name != "mimic_proxy.web.models":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def break_it(module):
            load(module)
            one = module.Models.one

            async def broken(self, raw_id, *rest):
                if raw_id == b"broken":
                    raise RuntimeError("sabotage")
                return await one(self, raw_id, *rest)

            module.Models.one = broken

        spec.loader.exec_module = break_it
        return spec


sys.meta_path.insert(0, Saboteur())
"""
"""A fault of Mimic's own cannot be had from outside: this `sitecustomize` makes the lookup of one model fail."""


def sabotaged(folder: Path) -> str:
    """A PYTHONPATH with the fault in front."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(FAULT)
    return str(folder)


class Stage:
    """Backend and token service of one Mimic; `gate` holds back what asks for the model `held`."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.tokens = TokenService()
        self.backend = Backend(self.tokens.guard(self._play))
        self.slow_tokens = False
        self.tokens.script = self._issue

    async def __aenter__(self) -> "Stage":
        await self.tokens.__aenter__()
        await self.backend.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.backend.stop()
        await self.tokens.__aexit__(None, None, None)

    def settings(self, **more: str) -> dict[str, str]:
        """Environment of the Mimic between them."""
        return settings(self.backend, self.tokens, CLIENT_KEYS=f"crm: {CLIENT_KEY}", **more)

    async def _issue(self, request: Request) -> None:
        await request.whole.wait()
        if self.slow_tokens:
            await asyncio.sleep(PAUSE_SECONDS)
        await self.tokens.issue(request)

    async def _play(self, request: Request) -> None:
        await request.whole.wait()
        if request.target.endswith(b"/models"):
            await request.send(answer(200, MODELS))
        elif request.target.endswith(b"/embeddings"):
            await request.send(answer(200, EMBEDDING))
        else:
            await self._play_model(request, json.loads(request.body)["model"])

    async def _play_model(self, request: Request, model: str) -> None:
        story = delta(role="assistant") + delta("one")
        scripts: dict[str, Callable[[Request], Awaitable[None]]] = {
            "held": held(self.gate, reply(answer(200, COMPLETION))),
            "limited": reply(answer(429, LIMIT)),
            "broken": reply(answer(500, FAILURE)),
            "refused": reply(answer(401, REFUSAL)),
            "silent": hang(),
            "breaks-off": cut(stream_head() + chunk(story)),
            "falls-silent": hang(stream_head() + chunk(story)),
            "endless": _endless,
            "story": _story,
        }
        await scripts.get(model, reply(answer(200, COMPLETION)))(request)


async def _story(request: Request) -> None:
    """A stream with gaps, usage and an end."""
    await request.send(stream_head(), chunk(delta(role="assistant")))
    for word in ("one", "two", "three"):
        await asyncio.sleep(PAUSE_SECONDS)
        await request.send(chunk(delta(word)))
    await request.send(*map(chunk, (delta(finish="stop"), USAGE, DONE)), LAST_CHUNK)


async def _endless(request: Request) -> None:
    await request.send(stream_head())
    while True:
        await request.send(chunk(delta("x" * 1000)))


def chat(model: str, *, stream: bool = False, again: bool = False) -> bytes:
    """The bytes of a chat completion's request."""
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    fields = [(b"x-stainless-retry-count", b"1")] if again else []
    return called(b"POST", b"/v1/chat/completions", json.dumps(body).encode(), fields)


def called(method: bytes, path: bytes, body: bytes | None = None, fields: Fields = ()) -> bytes:
    """The bytes of a request of a caller that is let in."""
    return request(method, path, body, [(b"x-api-key", CLIENT_KEY.encode()), *fields])


async def outcomes(mimic: Mimic, stage: Stage) -> dict[str, Response]:
    """One call for each way to end that needs no limit and no stop; the answers by what was asked for."""
    models = ("large", "small", "limited", "broken", "silent")
    asked = {
        **{model: chat(model) for model in models},
        **{f"{model} stream": chat(model, stream=True) for model in ("story", "breaks-off", "falls-silent")},
        "again": chat("large", again=True),
        "embeddings": called(b"POST", b"/v1/embeddings", b'{"model":"embedder","input":"hello"}'),
        "list": called(b"GET", b"/v1/models"),
        "fault": called(b"GET", b"/v1/models/broken"),
        "lost": called(b"GET", b"/chat/completions"),
    }
    answers = await asyncio.gather(
        *(ask(mimic.port, data, b"GET" if data.startswith(b"GET") else b"POST") for data in asked.values())
    )
    await leave(mimic)
    await queue(mimic, stage)
    return dict(zip(asked, answers, strict=True))


async def leave(mimic: Mimic) -> None:
    """A caller reads the beginning of a stream and goes."""
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat("falls-silent", stream=True))
        await caller.head()


async def queue(mimic: Mimic, stage: Stage, calls: int = 6) -> None:
    """More calls than there are slots, at a backend that holds them for a moment."""
    stage.gate.clear()
    running = [asyncio.create_task(ask(mimic.port, chat("held"))) for _ in range(calls)]
    await asyncio.sleep(PAUSE_SECONDS * 3)
    stage.gate.set()
    await asyncio.gather(*running)


async def refused_tokens(mimic: Mimic, stage: Stage) -> Response:
    """A revoked token that several calls notice, then a model that refuses every token; the answer about the latter."""
    stage.tokens.revoke()
    stage.slow_tokens = True
    await asyncio.gather(*(ask(mimic.port, chat("large")) for _ in range(4)))
    stage.slow_tokens = False
    return await ask(mimic.port, chat("refused"))
