"""Client keys over real sockets: who is let in, what the backend sees, and a list that changes under load."""

from pathlib import Path

from fakes.backend import Backend
from fakes.caller import Caller, ask, chat, request
from fakes.mimic import Start, eventually
from fakes.replies import ok
from fakes.scrape import Scrape, key

BEARER = (b"authorization", b"Bearer mk-crm-1")
ACCEPTED = "client keys: 1 of 1 callers are accepted"


async def test_only_callers_with_a_listed_key_are_let_in(start: Start, backend: Backend, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("crm: mk-crm-1\n")
    backend.script = ok()
    async with start(CLIENT_KEYS_FILE=str(file)) as mimic:
        for fields in ((), ((b"authorization", b"Bearer mk-crm-2"),), ((b"x-api-key", b"nothing"),)):
            got = await ask(mimic.port, chat(fields=fields))
            assert (got.status, got.error()["code"]) == (401, "invalid_api_key")
            assert got.value(b"www-authenticate") == b"Bearer"
        assert backend.requests == []
        models = await ask(mimic.port, request(b"GET", b"/v1/models"), b"GET")
        assert models.status == 401
        for fields in ((BEARER,), ((b"api-key", b"mk-crm-1"),), ((b"x-api-key", b"mk-crm-1"),)):
            assert (await ask(mimic.port, chat(fields=fields))).status == 200
            assert b"mk-crm-1" not in b"".join(value for _, value in backend.requests[-1].headers)
        counts = (await Scrape.of(mimic)).counts
        assert counts[key("mimic_caller_requests_total", {"key": "crm"})] == 3


async def test_a_changed_list_holds_for_connections_that_are_open(
    start: Start, backend: Backend, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text("crm: mk-crm-1\n")
    backend.script = ok()
    async with start(CLIENT_KEYS_FILE=str(file)) as mimic, await Caller.connect(mimic.port) as caller:
        for _ in range(2):
            await caller.send(chat(fields=(BEARER,)))
            assert (await caller.response()).status == 200
        file.write_text("crm: mk-crm-replaced\n")
        await eventually(lambda: mimic.log.count(ACCEPTED) == 2)
        await caller.send(chat(fields=(BEARER,)))
        assert (await caller.response()).status == 401
        late = chat(fields=((b"authorization", b"Bearer mk-crm-replaced"),))
        assert (await ask(mimic.port, late)).status == 200


async def test_a_list_that_is_not_there_yet_lets_nobody_in_and_says_so(
    start: Start, backend: Backend, tmp_path: Path
) -> None:
    file = tmp_path / "later"
    backend.script = ok()
    async with start(CLIENT_KEYS_FILE=str(file)) as mimic:
        got = await ask(mimic.port, chat(fields=(BEARER,)))
        assert (got.status, got.error()["code"]) == (503, "client_keys_missing")
        file.write_text("mk-crm-1\n")
        await eventually(lambda: ACCEPTED in mimic.log)
        assert (await ask(mimic.port, chat(fields=(BEARER,)))).status == 200
