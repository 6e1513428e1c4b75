"""Tokens end to end: one flight, replays after a refusal, outages, and secrets that change on disk."""

import asyncio
import json
from pathlib import Path

import pytest

from fakes.backend import Backend, Request
from fakes.caller import CHAT_BODY, STREAM_BODY, Caller, Response, ask, chat, request
from fakes.mimic import Mimic, Start
from fakes.replies import COMPLETION, DONE, STORY, answer, event, hang, held, in_turn, ok, reply, stream
from fakes.token_service import REFUSAL, TokenService

COLD_CALLERS = 1000
REVOKED_CALLERS = 200
FORCED_SOON = {"TOKEN_MIN_REFRESH_INTERVAL": "0.1"}


async def all_answers(port: int, callers: int, data: bytes) -> list[Response]:
    """One connection each; all requests are written before the first answer is read.

    Each as soon as its connection is there: a head that has not come in time is nobody's who is waited for.
    """
    connected = await asyncio.gather(*(_asking(port, data) for _ in range(callers)))
    try:
        return list(await asyncio.gather(*(caller.response() for caller in connected)))
    finally:
        for caller in connected:
            caller.close()


async def _asking(port: int, data: bytes) -> Caller:
    caller = await Caller.connect(port)
    await caller.send(data)
    return caller


async def wait_for_a_later_token(mimic: Mimic, backend: Backend, tokens: TokenService) -> None:
    """Until a call is served with a token that is not the first."""
    await mimic.until(lambda: _carries(mimic, backend, tokens))


async def _carries(mimic: Mimic, backend: Backend, tokens: TokenService) -> bool:
    got = await ask(mimic.port, chat())
    carried = backend.requests[-1].value(b"authorization") or b""
    return got.status == 200 and carried.decode() == f"Bearer {tokens.issued[-1]}" and len(tokens.issued) > 1


@pytest.mark.timeout(40)
async def test_a_thousand_callers_of_a_cold_mimic_cost_one_token_call(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    gate = asyncio.Event()
    tokens.script = held(gate, tokens.issue)
    backend.script = tokens.guard(ok())
    async with start(ready=False) as mimic:
        assert not await mimic.is_ready()
        answers = asyncio.ensure_future(all_answers(mimic.port, COLD_CALLERS, chat()))
        await mimic.until(lambda: _established(mimic, COLD_CALLERS))
        gate.set()
        assert {got.status for got in await answers} == {200}
        assert await mimic.is_ready()
    assert tokens.calls == 1


async def _established(mimic: Mimic, callers: int) -> bool:
    return mimic.open_files >= callers


async def test_two_hundred_refusals_of_a_revoked_token_cost_one_more_call_and_nobody_notices(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    backend.script = tokens.guard(ok())
    async with start(**FORCED_SOON) as mimic:
        assert (await ask(mimic.port, chat())).status == 200
        tokens.revoke()
        refused = [0]
        gate = asyncio.Event()

        async def refuse_all_at_once(request: Request) -> None:
            if not tokens.accepts(request):
                refused[0] += 1
                if refused[0] == REVOKED_CALLERS:
                    gate.set()
                await held(gate, reply(answer(401, REFUSAL)))(request)
            else:
                await ok()(request)

        backend.script = refuse_all_at_once
        answers = await all_answers(mimic.port, REVOKED_CALLERS, chat())
        assert {(got.status, got.body) for got in answers} == {(200, COMPLETION)}
    assert (tokens.calls, refused[0]) == (2, REVOKED_CALLERS)


@pytest.mark.parametrize(
    ("first", "body", "second", "expected"),
    [
        (reply(answer(401, REFUSAL)), CHAT_BODY, ok(), COMPLETION),
        (reply(answer(401, REFUSAL)), STREAM_BODY, stream(STORY), STORY),
        (stream(event({"error": {"message": "expired", "code": 401}})), STREAM_BODY, stream(STORY), STORY),
    ],
    ids=["401", "401 of a stream", "401 as the first event"],
)
async def test_a_refused_token_is_replaced_and_the_same_bytes_are_sent_again(  # type: ignore[no-untyped-def]
    backend: Backend, tokens: TokenService, start: Start, first, body: bytes, second, expected: bytes
) -> None:
    backend.script = in_turn(first, second)
    async with start(**FORCED_SOON) as mimic:
        got = await ask(mimic.port, chat(body))
    assert (got.status, got.body, got.complete) == (200, expected, True)
    before, after = backend.requests
    assert (before.body, before.target) == (after.body, after.target) == (body, b"/chat-base/chat/completions")
    assert after.value(b"authorization") == f"Bearer {tokens.issued[1]}".encode()
    assert tokens.calls == 2


async def test_a_refusal_while_the_token_service_is_down_is_never_a_401(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    backend.script = tokens.guard(ok())
    async with start(**FORCED_SOON) as mimic:
        assert (await ask(mimic.port, chat())).status == 200
        tokens.revoke()
        tokens.script = reply(answer(503, b"down"))
        for _ in range(3):
            got = await ask(mimic.port, chat())
            assert (got.status, got.error()["code"]) in ((503, "token_unavailable"), (502, "upstream_auth_failed"))
        tokens.script = tokens.issue
        await mimic.until(lambda: _serves(mimic), 15)
        assert await mimic.is_ready()


async def test_a_backend_that_refuses_every_token_is_told_as_such_and_does_not_cost_a_call_each(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    backend.script = reply(answer(401, REFUSAL))
    async with start() as mimic:
        for _ in range(10):
            got = await ask(mimic.port, chat())
            assert (got.status, got.error()["code"]) == (502, "upstream_auth_failed")
            assert got.value(b"x-should-retry") == b"false"
            assert got.value(b"www-authenticate") is None
    assert tokens.calls <= 3


@pytest.mark.parametrize("grant", [{"GRANT": "static", "ACCESS_TOKEN": "fixed-token-77aa"}, {"GRANT": "none"}])
async def test_where_nothing_can_be_refreshed_a_refusal_is_immediate(
    backend: Backend, tokens: TokenService, start: Start, grant: dict[str, str]
) -> None:
    backend.script = reply(answer(401, REFUSAL))
    async with start(**grant) as mimic:
        got = await ask(mimic.port, chat(fields=[(b"authorization", b"Bearer of-the-caller")]))
        assert (got.status, got.error()["code"]) == (502, "upstream_auth_failed")
        assert got.value(b"x-should-retry") == b"false"
        assert "fixed-token-77aa" not in mimic.log
    carried = b"Bearer fixed-token-77aa" if grant["GRANT"] == "static" else None
    assert [seen.value(b"authorization") for seen in backend.requests] == [carried]
    assert tokens.calls == 0


async def test_a_refused_upload_asks_for_a_retry_which_then_succeeds(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    backend.script = tokens.guard(reply(answer(200, b"{}")))
    upload = request(b"POST", b"/v1/files", b"x" * 1000, [(b"content-type", b"multipart/form-data; boundary=x")])
    async with start(**FORCED_SOON) as mimic:
        assert (await ask(mimic.port, upload)).status == 200
        tokens.revoke()
        got = await ask(mimic.port, upload)
        assert (got.status, got.error()["code"]) == (503, "token_unavailable")
        assert got.value(b"x-should-retry") == b"true"
        assert (await ask(mimic.port, upload)).status == 200
    assert tokens.calls == 2


async def test_the_token_header_and_its_format_are_settings(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    backend.script = ok()
    async with start(TOKEN_HEADER="X-Access", TOKEN_FORMAT="{token}") as mimic:
        assert (await ask(mimic.port, chat(fields=[(b"x-access", b"of-the-caller")]))).status == 200
    seen = backend.requests[0]
    assert (seen.value(b"x-access"), seen.value(b"authorization")) == (tokens.issued[0].encode(), None)


@pytest.mark.timeout(40)
async def test_an_outage_is_bridged_until_the_token_expires_and_heals_by_itself(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    tokens.lifetime = 3
    backend.script = tokens.guard(ok())
    async with start() as mimic:
        tokens.script = reply(answer(500, b"down"))
        await tokens.server.until(lambda: tokens.calls >= 2)
        assert (await ask(mimic.port, chat())).status == 200, "the old token serves while the service is down"
        assert await mimic.is_ready()
        await mimic.until(lambda: _unavailable(mimic))
        got = await ask(mimic.port, chat())
        assert (got.status, got.error()["code"], got.error()["type"]) == (503, "token_unavailable", "token_error")
        assert 1 <= int(got.value(b"retry-after") or b"0") <= 60
        assert not await mimic.is_ready()
        assert len(tokens.issued) == 1
        assert {seen.value(b"authorization") for seen in backend.requests} == {f"Bearer {tokens.issued[0]}".encode()}
        calls = tokens.calls
        assert all([(await ask(mimic.port, chat())).status == 503 for _ in range(20)])
        assert tokens.calls <= calls + 1
        tokens.script = tokens.issue
        tokens.lifetime = 3600
        await mimic.until(lambda: _serves(mimic), 15)
        assert await mimic.is_ready()


async def _unavailable(mimic: Mimic) -> bool:
    return (await ask(mimic.port, chat())).status == 503


async def _serves(mimic: Mimic) -> bool:
    return (await ask(mimic.port, chat())).status == 200


async def test_tokens_are_refreshed_before_they_expire(backend: Backend, tokens: TokenService, start: Start) -> None:
    tokens.lifetime = 2
    backend.script = tokens.guard(ok())
    async with start() as mimic:
        await tokens.server.until(lambda: tokens.calls >= 3, 8)
        assert (await ask(mimic.port, chat())).status == 200
        assert await mimic.is_ready()


async def test_a_changed_auth_code_file_is_used_without_a_restart(
    backend: Backend, tokens: TokenService, start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "code"
    file.write_text(tokens.auth_code + "\n")
    backend.script = tokens.guard(ok())
    async with start(AUTH_CODE="", AUTH_CODE_FILE=str(file)) as mimic:
        assert (await ask(mimic.port, chat())).status == 200
        tokens.auth_code = "the-next-code-31f"
        staged = tmp_path / "staged"
        staged.write_text(tokens.auth_code)
        staged.rename(file)
        await tokens.server.until(lambda: len(tokens.issued) == 2, 15)
        await wait_for_a_later_token(mimic, backend, tokens)
        assert "the-next-code-31f" not in mimic.log
    assert json.loads(tokens.server.requests[-1].body) == {"code": "the-next-code-31f"}


async def test_a_missing_auth_code_file_is_told_and_heals_when_it_appears(
    backend: Backend, tokens: TokenService, start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "not-yet"
    backend.script = tokens.guard(ok())
    async with start(ready=False, AUTH_CODE="", AUTH_CODE_FILE=str(file)) as mimic:
        assert not await mimic.is_ready()
        got = await ask(mimic.port, chat())
        assert (got.status, got.error()["code"]) == (503, "token_unavailable")
        assert "AUTH_CODE_FILE" in got.error()["message"]
        file.write_text(tokens.auth_code)
        await mimic.until(mimic.is_ready, 15)
        assert (await ask(mimic.port, chat())).status == 200


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_refused_secret_is_told_as_such_and_not_hammered(
    backend: Backend, tokens: TokenService, start: Start, status: int
) -> None:
    tokens.script = reply(
        answer(status, b'{"error":"invalid_grant","error_description":"echo of fake-auth-code-5d1f0a"}')
    )
    async with start(ready=False) as mimic:
        await tokens.server.request()
        await mimic.until(lambda: _rejected(mimic))
        for _ in range(10):
            got = await ask(mimic.port, chat())
            assert (got.status, got.error()["code"]) == (502, "token_rejected")
            assert got.value(b"x-should-retry") == b"false"
            assert tokens.auth_code not in got.body.decode()
        assert not await mimic.is_ready()
    assert tokens.calls <= 2


async def _rejected(mimic: Mimic) -> bool:
    return (await ask(mimic.port, chat())).status == 502


NO_TOKENS = {
    "redirect": answer(302, b"", [(b"location", b"/elsewhere")]),
    "html": answer(200, b"<html>sign in</html>", [(b"content-type", b"text/html")]),
    "no token in it": answer(200, b'{"data":{}}'),
    "a token that is no string": answer(200, b'{"access_token":{"a":1}}'),
    "a token that would end its field": answer(200, b'{"access_token":"abc\\r\\nx-injected: 1"}'),
    "a token with a control character": answer(200, b'{"access_token":"a\\u0000b"}'),
    "an empty token": answer(200, b'{"access_token":""}'),
    "server error": answer(500, b"oops", [(b"retry-after", b"30")]),
}


@pytest.mark.parametrize("data", NO_TOKENS.values(), ids=NO_TOKENS)
async def test_an_answer_without_a_usable_token_is_no_token(
    backend: Backend, tokens: TokenService, start: Start, data: bytes
) -> None:
    tokens.script = reply(data)
    async with start(ready=False) as mimic:
        await tokens.server.request()
        got = await ask(mimic.port, chat())
        assert (got.status, got.error()["code"]) == (503, "token_unavailable")
        assert 1 <= int(got.value(b"retry-after") or b"0") <= 60
        assert not await mimic.is_ready()
    assert backend.requests == []
    assert {seen.target for seen in tokens.server.requests} == {b"/token"}


async def test_a_token_service_that_hangs_costs_its_timeout(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    tokens.script = hang()
    async with start(ready=False, TOKEN_TIMEOUT="0.5") as mimic:
        got = await ask(mimic.port, chat())
        assert (got.status, got.error()["code"]) == (503, "token_unavailable")


async def test_a_waiter_that_leaves_does_not_end_the_flight(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    gate = asyncio.Event()
    tokens.script = held(gate, tokens.issue)
    backend.script = tokens.guard(ok())
    async with start(ready=False) as mimic:
        async with await Caller.connect(mimic.port) as leaving:
            await leaving.send(chat())
            await tokens.server.request()
        gate.set()
        assert (await ask(mimic.port, chat())).status == 200
    assert tokens.calls == 1


async def test_a_refresh_after_the_first_byte_is_never_tried(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    story = STORY.removesuffix(DONE) + event({"error": {"message": "expired", "code": 401}})
    backend.script = stream(story)
    async with start() as mimic:
        got = await ask(mimic.port, chat(STREAM_BODY))
    assert (got.status, got.body) == (200, story)
    assert (tokens.calls, len(backend.requests)) == (1, 1)
