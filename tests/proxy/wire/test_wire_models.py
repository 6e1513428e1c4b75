"""The list of models: configured, the backend's, or what has worked so far."""

import asyncio

from fakes.backend import Backend
from fakes.caller import Response, ask, chat, request
from fakes.mimic import Mimic, Start
from fakes.replies import answer, cut, ok, reply

LIST = (
    b'{"object":"list","data":[{"id":"org/name-1","object":"model","created":7,"owned_by":"them","vendor":1.0},'
    b'{"id":"plain","object":"model","created":8,"owned_by":"them"}]}'
)


async def models(mimic: Mimic, rest: bytes = b"") -> Response:
    return await ask(mimic.port, request(b"GET", b"/v1/models" + rest), b"GET")


async def test_the_backends_list_is_served_and_asked_for_once(backend: Backend, start: Start) -> None:
    backend.script = reply(answer(200, LIST))
    async with start() as mimic:
        got = await models(mimic)
        assert got.status == 200
        assert [entry["id"] for entry in got.json()["data"]] == ["org/name-1", "plain"]
        assert got.json()["object"] == "list"
        one = await models(mimic, b"/org%2Fname-1")
        assert (one.status, one.json()["id"], one.json()["object"]) == (200, "org/name-1", "model")
        assert (await models(mimic, b"/plain")).json()["owned_by"] == "them"
    assert [(seen.method, seen.target) for seen in backend.requests] == [(b"GET", b"/chat-base/models")]
    assert (backend.requests[0].value(b"authorization") or b"").startswith(b"Bearer fake-access-token-")


async def test_an_unknown_model_is_told_in_the_openai_shape(backend: Backend, start: Start) -> None:
    backend.script = reply(answer(200, LIST))
    async with start() as mimic:
        got = await models(mimic, b"/unknown")
        assert (got.status, got.error()["code"]) == (404, "model_not_found")
        assert "unknown" in got.error()["message"]
        assert got.value(b"x-request-id")


async def test_a_configured_list_wins(backend: Backend, start: Start) -> None:
    async with start(MODELS="one, org/two") as mimic:
        assert [entry["id"] for entry in (await models(mimic)).json()["data"]] == ["one", "org/two"]
        assert (await models(mimic, b"/org%2Ftwo")).json()["id"] == "org/two"
        assert (await models(mimic, b"/three")).status == 404
    assert backend.requests == []


async def test_the_list_is_served_stale_while_the_backend_is_down(backend: Backend, start: Start) -> None:
    backend.script = reply(answer(200, LIST))
    async with start(MODELS_CACHE_SECONDS="0.1") as mimic:
        assert (await models(mimic)).status == 200
        for script in (reply(answer(500, b"down")), cut()):
            backend.script = script
            seen = len(backend.requests)
            await mimic.until(lambda seen=seen: _asked_again(mimic, backend, seen))  # type: ignore[misc]
            assert len((await models(mimic)).json()["data"]) == 2


async def _asked_again(mimic: Mimic, backend: Backend, seen: int) -> bool:
    assert (await models(mimic)).status == 200
    return len(backend.requests) > seen


async def test_without_a_list_the_models_that_worked_are_told(backend: Backend, start: Start) -> None:
    async with start(MODELS_CACHE_SECONDS="0.1") as mimic:
        backend.script = reply(answer(404, b"{}"))
        assert (await models(mimic)).json()["data"] == []
        backend.script = ok()
        assert (await ask(mimic.port, chat(b'{"model":"that/worked"}'))).status == 200
        backend.script = reply(answer(404, b"{}"))
        assert [entry["id"] for entry in (await models(mimic)).json()["data"]] == ["that/worked"]
        assert (await models(mimic, b"/that%2Fworked")).status == 200
        assert "MODELS" in mimic.log


async def test_many_callers_of_a_cold_list_cost_one_call(backend: Backend, start: Start) -> None:
    backend.script = reply(answer(200, LIST))
    async with start() as mimic:
        answers = await asyncio.gather(*(models(mimic) for _ in range(20)))
        assert {got.status for got in answers} == {200}
    assert len(backend.requests) == 1


async def test_a_backend_that_is_down_from_the_start_is_an_error_in_the_openai_shape(
    backend: Backend, start: Start
) -> None:
    backend.script = cut()
    async with start() as mimic:
        got = await models(mimic)
        assert (got.status, got.error()["type"]) == (502, "upstream_error")
