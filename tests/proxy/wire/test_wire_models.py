"""The list of models: configured, the backend's, or what has worked so far."""

import asyncio

import pytest

from fakes.backend import Backend, Request, Script
from fakes.caller import Caller, Response, ask, chat, request
from fakes.mimic import Mimic, Start
from fakes.replies import answer, cut, ok, reply

ENTRIES = {
    b"org%2Fname-1": b'{"id":"org/name-1","object":"model","created":7,"owned_by":"them","vendor":1.0}',
    b"plain": b'{"id":"plain","object":"model","created":8,"owned_by":"them"}',
}
REFUSAL = b'{"error": {"message": "no such model", "type": "invalid_request_error", "param": "model", "code": null}}'
LIST = b'{"object":"list","data":[' + b",".join(ENTRIES.values()) + b"]}"


async def catalogue(request: Request) -> None:
    """A backend with a list and with a route for each model."""
    _, _, raw_id = request.target.partition(b"/chat-base/models")
    entry = LIST if not raw_id else ENTRIES.get(raw_id[1:])
    await request.send(answer(404, REFUSAL) if entry is None else answer(200, entry))


async def only_a_list(request: Request) -> None:
    """A backend without a route for one model."""
    await request.send(answer(200, LIST) if request.target == b"/chat-base/models" else answer(404, b"no route"))


async def models(mimic: Mimic, rest: bytes = b"") -> Response:
    return await ask(mimic.port, request(b"GET", b"/v1/models" + rest), b"GET")


async def test_the_backends_list_is_served_and_asked_for_once(backend: Backend, start: Start) -> None:
    backend.script = catalogue
    async with start() as mimic:
        for _ in range(3):
            got = await models(mimic)
            assert (got.status, got.body) == (200, LIST)
    assert [(seen.method, seen.target) for seen in backend.requests] == [(b"GET", b"/chat-base/models")]
    assert (backend.requests[0].value(b"authorization") or b"").startswith(b"Bearer fake-access-token-")


@pytest.mark.parametrize("script", [catalogue, only_a_list])
@pytest.mark.parametrize("raw_id", ENTRIES)
async def test_a_model_is_found_by_its_raw_id(mimic: Mimic, backend: Backend, script: Script, raw_id: bytes) -> None:
    backend.script = script
    got = await models(mimic, b"/" + raw_id)
    assert (got.status, got.body) == (200, ENTRIES[raw_id])
    assert backend.requests[0].target == b"/chat-base/models/" + raw_id


async def test_an_unknown_model_is_told_in_the_openai_shape(mimic: Mimic, backend: Backend) -> None:
    backend.script = only_a_list
    got = await models(mimic, b"/unknown")
    assert (got.status, got.error()["code"]) == (404, "model_not_found")
    assert "unknown" in got.error()["message"]
    assert got.value(b"x-request-id")


async def test_the_backends_own_refusal_of_a_model_passes(mimic: Mimic, backend: Backend) -> None:
    backend.script = catalogue
    got = await models(mimic, b"/unknown")
    assert (got.status, got.body) == (404, REFUSAL)


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
        await mimic.until(lambda: _lists(mimic, "that/worked"))
        assert (await models(mimic, b"/that%2Fworked")).status == 200
        assert "MODELS" in mimic.log


async def _lists(mimic: Mimic, *names: str) -> bool:
    return [entry["id"] for entry in (await models(mimic)).json()["data"]] == list(names)


async def test_a_backend_that_is_down_from_the_start_is_an_error_in_the_openai_shape(
    backend: Backend, start: Start
) -> None:
    backend.script = cut()
    async with start() as mimic:
        got = await models(mimic)
        assert (got.status, got.error()["type"]) == (502, "upstream_error")


async def test_callers_that_leave_are_no_errors_in_the_log(mimic: Mimic, backend: Backend) -> None:
    """Half of them end their side of the connection, half reset it; the backend takes its time."""
    gate = asyncio.Event()

    async def slow(request: Request) -> None:
        await gate.wait()
        await request.send(answer(200, LIST))

    backend.script = slow
    before = len(mimic.log)
    callers = [await Caller.connect(mimic.port) for _ in range(40)]
    for caller in callers:
        await caller.send(request(b"GET", b"/v1/models/any", fields=[(b"openai-project", b"of-those-who-leave")]))
    await backend.request()
    for caller in callers[::2]:
        caller.half_close()
    for caller in callers[1::2]:
        caller.reset()
    await mimic.until(mimic.is_idle)
    gate.set()
    for caller in callers[::2]:
        caller.close()
    assert [line for line in mimic.log[before:].splitlines() if '"ERROR"' in line] == []
