"""Slots with a bounded queue, and the circuit breaker."""

import asyncio
import contextlib

import pytest

from fakes.backend import Backend
from fakes.caller import Caller, Response, ask, chat, request
from fakes.mimic import Mimic, Start
from fakes.replies import answer, cut, held, ok, reply

FORM = [(b"content-type", b"multipart/form-data; boundary=x")]
NARROW = {"MAX_CONCURRENCY": "2", "MAX_QUEUE": "2"}


def numbered(number: int) -> bytes:
    return chat(b'{"number":%d}' % number)


async def test_beyond_slots_and_queue_callers_are_told_at_once(backend: Backend, start: Start) -> None:
    gate = asyncio.Event()
    backend.script = held(gate, ok())
    async with start(**NARROW) as mimic:
        callers = [await Caller.connect(mimic.port) for _ in range(5)]
        for number, caller in enumerate(callers):
            await caller.send(numbered(number))
        answers = [asyncio.ensure_future(caller.response()) for caller in callers]
        done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED, timeout=5)
        (refused,) = done
        got: Response = refused.result()
        assert (got.status, got.error()["code"], got.error()["type"]) == (503, "overloaded", "unavailable_error")
        assert 0 < int(got.value(b"retry-after-ms") or b"0") <= 60_000
        await backend.request(1)
        assert len(backend.requests) == 2
        gate.set()
        statuses = sorted([(await answer).status for answer in answers])
        assert statuses == [200, 200, 200, 200, 503]
        for caller in callers:
            caller.close()


async def test_a_queued_caller_that_leaves_gives_up_its_place_and_reaches_no_backend(
    backend: Backend, start: Start
) -> None:
    gate = asyncio.Event()
    backend.script = held(gate, ok())
    async with start(MAX_CONCURRENCY="1", MAX_QUEUE="1") as mimic:
        async with await Caller.connect(mimic.port) as first, await Caller.connect(mimic.port) as last:
            await first.send(numbered(0))
            await backend.request()
            async with await Caller.connect(mimic.port) as leaving:
                await leaving.send(numbered(1))
                await mimic.until(lambda: _is_full(mimic))
            await last.send(numbered(2))
            gate.set()
            assert [(await caller.response()).status for caller in (first, last)] == [200, 200]
        await mimic.until(lambda: _is_free(mimic))
    assert b'{"number":1}' not in [seen.body for seen in backend.requests]


async def _is_full(mimic: Mimic) -> bool:
    return (await ask(mimic.port, chat(b'{"probe":1}'))).status == 503


async def _is_free(mimic: Mimic) -> bool:
    return (await ask(mimic.port, chat(b'{"probe":1}'))).status == 200


async def test_a_slot_that_does_not_come_in_time_is_a_503(backend: Backend, start: Start) -> None:
    gate = asyncio.Event()
    backend.script = held(gate, ok())
    async with start(MAX_CONCURRENCY="1", QUEUE_TIMEOUT="0.3") as mimic, await Caller.connect(mimic.port) as first:
        await first.send(numbered(0))
        await backend.request()
        got = await ask(mimic.port, numbered(1))
        assert (got.status, got.error()["code"]) == (503, "overloaded")
        assert int(got.value(b"retry-after-ms") or b"0") > 0
        gate.set()
        assert (await first.response()).status == 200
    assert len(backend.requests) == 1


WITHHELD: dict[str, tuple[bytes, list[tuple[bytes, bytes]]]] = {
    "a chat that asks first": (b"/v1/chat/completions", [(b"expect", b"100-continue")]),
    "an upload that asks first": (b"/v1/files", [(b"expect", b"100-continue"), *FORM]),
    "an upload": (b"/v1/files", FORM),
}


@pytest.mark.parametrize(("path", "fields"), WITHHELD.values(), ids=WITHHELD)
async def test_a_body_that_never_comes_takes_neither_slot_nor_buffer(
    backend: Backend, start: Start, path: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    """Twenty heads cost their sender nothing, and would otherwise turn all other callers away."""
    backend.script = ok()
    limits = {"MAX_CONCURRENCY": "20", "MAX_QUEUE": "0", "MAX_BODY_BYTES": "1000000", "MAX_BUFFERED_BYTES": "1000000"}
    head_alone = request(b"POST", path, b"", [*fields, (b"content-length", b"1000000")])
    async with start(**limits) as mimic, contextlib.AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(await Caller.connect(mimic.port)) for _ in range(20)]
        for caller in callers:
            await caller.send(head_alone)
        for caller in callers:
            if (b"expect", b"100-continue") in fields:
                assert await caller.interim() == 100
        honest = [await ask(mimic.port, chat()) for _ in range(20)]
    assert [got.status for got in honest] == [200] * 20


async def test_callers_who_leave_free_their_slots(backend: Backend, start: Start) -> None:
    backend.script = held(asyncio.Event(), ok())
    async with start(MAX_CONCURRENCY="1", MAX_QUEUE="0") as mimic:
        for _ in range(5):
            async with await Caller.connect(mimic.port) as caller:
                number = len(backend.requests)
                await caller.send(chat())
                await backend.request(number)
            await backend.until(lambda: not backend.in_use)
        backend.script = ok()
        assert (await ask(mimic.port, chat())).status == 200


async def test_the_breaker_opens_after_failures_and_closes_after_a_probe(backend: Backend, start: Start) -> None:
    async with start(BREAKER_FAILURES="3", BREAKER_COOLDOWN="0.5") as mimic:
        backend.script = cut()
        assert [(await ask(mimic.port, chat())).status for _ in range(3)] == [502, 502, 502]
        backend.script = ok()
        got = await ask(mimic.port, chat())
        assert (got.status, got.error()["code"]) == (503, "circuit_open")
        assert 0 < int(got.value(b"retry-after-ms") or b"0") <= 500
        assert len(backend.requests) == 3
        await mimic.until(lambda: _is_free(mimic))
        assert [(await ask(mimic.port, chat())).status for _ in range(3)] == [200, 200, 200]


async def test_refusals_of_the_callers_requests_do_not_open_the_breaker(backend: Backend, start: Start) -> None:
    async with start(BREAKER_FAILURES="2", BREAKER_COOLDOWN="30") as mimic:
        backend.script = reply(answer(400, b"{}"))
        assert {(await ask(mimic.port, chat())).status for _ in range(5)} == {400}
        assert (await ask(mimic.port, chat(b"[]"))).status == 400
        backend.script = ok()
        assert (await ask(mimic.port, chat())).status == 200
