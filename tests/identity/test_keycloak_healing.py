"""What an administrator does to Mimic's credential at Keycloak, and how the application comes through it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from identity.company import Company, application, whoami
from identity.realm import DAEMON, EXCHANGE, JOB, KEYS, PASSWORD, ROTATED, RSA_ID, SERVICE, Keys, pem

CALLERS = 50
HEALED_WITHIN_SECONDS = 5.0
"""Files are looked at every second (docs/tokens.md, Secrets from files); the rest is for a busy machine."""


async def seconds_until_answered(call: Callable[[], Awaitable[Any]]) -> float:
    """How long calls are refused from now on for want of a token. Raises their error if that does not end."""
    began = time.monotonic()
    while True:
        try:
            await call()
        except openai.InternalServerError as error:
            if error.code not in ("token_rejected", "token_unavailable"):
                raise
            if time.monotonic() - began > HEALED_WITHIN_SECONDS:
                raise
        else:
            return time.monotonic() - began


async def rejected(call: Callable[[], Awaitable[Any]]) -> openai.APIStatusError:
    """The error of a call for which Mimic has a token no more and gets none."""
    with pytest.raises(openai.InternalServerError) as caught:
        await call()
    assert caught.value.code == "token_rejected", caught.value
    assert caught.value.status_code == 502
    return caught.value


async def test_a_withdrawn_token_costs_one_refused_call_and_no_caller_sees_it(company: Company, tmp_path: Path) -> None:
    secret = SERVICE["client_secret"]
    environ = {"GRANT": "client_credentials", "CLIENT_ID": SERVICE["client_id"], "CLIENT_SECRET": secret}
    async with company.mimic(tmp_path, [secret], **environ) as mimic, application(mimic) as sdk:
        before = await whoami(sdk)
        company.provider.revoke(SERVICE, company.access_token())
        refused = company.seen().get("the provider has withdrawn it", 0)
        began = time.monotonic()
        after = await whoami(sdk)
        took = time.monotonic() - began
        assert after["jti"] != before["jti"]
        assert company.seen()["the provider has withdrawn it"] == refused + 1
    company.tell(f"token withdrawn: the next call was answered, after {took * 1000:.0f} ms")


async def test_many_callers_of_a_withdrawn_token_share_the_next_one(company: Company, tmp_path: Path) -> None:
    secret = SERVICE["client_secret"]
    environ = {"GRANT": "client_credentials", "CLIENT_ID": SERVICE["client_id"], "CLIENT_SECRET": secret}
    async with company.mimic(tmp_path, [secret], **environ) as mimic, application(mimic) as sdk:
        before = await whoami(sdk)
        company.provider.revoke(SERVICE, company.access_token())
        after = await asyncio.gather(*(whoami(sdk) for _ in range(CALLERS)))
    tokens = {claims["jti"] for claims in after}
    assert before["jti"] not in tokens
    assert len(tokens) == 1


async def test_a_rotated_secret_heals_by_its_file_and_spares_the_token_that_is_held(
    company: Company, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(company.provider.rotate_secret(ROTATED["client_id"]))
    environ = {"GRANT": "client_credentials", "CLIENT_ID": ROTATED["client_id"], "CLIENT_SECRET_FILE": str(file)}
    async with company.mimic(tmp_path, [file.read_text()], **environ) as mimic, application(mimic) as sdk:
        held = await whoami(sdk)
        secret = company.provider.rotate_secret(ROTATED["client_id"])
        assert (await whoami(sdk))["jti"] == held["jti"]
        company.provider.revoke({**ROTATED, "client_secret": secret}, company.access_token())
        await rejected(lambda: whoami(sdk))
        file.write_text(secret)
        took = await seconds_until_answered(lambda: whoami(sdk))
        assert secret not in mimic.log
    company.tell(
        f"client secret rotated and token withdrawn: answered {took:.2f} s after the new secret was in its file"
    )


async def test_a_key_that_keycloak_does_not_know_heals_by_its_file(company: Company, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(pem(Keys.made().rsa))
    environ = {"GRANT": "private_key_jwt", "CLIENT_ID": KEYS, "PRIVATE_KEY_FILE": str(file), "PRIVATE_KEY_ID": RSA_ID}
    async with company.mimic(tmp_path, [], ready=False, **environ) as mimic, application(mimic) as sdk:
        await rejected(lambda: whoami(sdk))
        file.write_bytes(pem(company.keys.rsa))
        took = await seconds_until_answered(lambda: whoami(sdk))
    company.tell(f"unknown key (private_key_jwt): answered {took:.2f} s after the right one was in its file")


async def test_the_end_of_a_session_is_token_rejected_until_there_is_a_new_refresh_token(
    company: Company, tmp_path: Path
) -> None:
    file = tmp_path / "refresh-token"
    first = company.provider.log_in(DAEMON, "grace", PASSWORD)["refresh_token"]
    file.write_text(first)
    environ = {
        "GRANT": "refresh_token",
        "CLIENT_ID": DAEMON["client_id"],
        "CLIENT_SECRET": DAEMON["client_secret"],
        "REFRESH_TOKEN_FILE": str(file),
        "TOKEN_STORE": str(tmp_path / "store"),
    }
    async with company.mimic(tmp_path, [first, DAEMON["client_secret"]], **environ) as mimic, application(mimic) as sdk:
        await whoami(sdk)
        company.provider.end_sessions("grace")
        await rejected(lambda: whoami(sdk))
        second = company.provider.log_in(DAEMON, "grace", PASSWORD)["refresh_token"]
        file.write_text(second)
        took = await seconds_until_answered(lambda: whoami(sdk))
        assert second not in mimic.log
    company.tell(f"session ended (refresh_token): answered {took:.2f} s after a new refresh token was in its file")


async def test_the_end_of_the_subjects_session_is_token_rejected_until_there_is_a_new_subject_token(
    company: Company, tmp_path: Path
) -> None:
    file = tmp_path / "subject-token"
    file.write_text(company.provider.log_in(JOB, "joan", PASSWORD)["access_token"])
    environ = {
        "GRANT": "token_exchange",
        "CLIENT_ID": EXCHANGE["client_id"],
        "CLIENT_SECRET": EXCHANGE["client_secret"],
        "AUDIENCE": "model-gateway",
        "SUBJECT_TOKEN_FILE": str(file),
        "SUBJECT_TOKEN_TYPE": "access_token",
    }
    secrets = [file.read_text(), EXCHANGE["client_secret"]]
    async with company.mimic(tmp_path, secrets, **environ) as mimic, application(mimic) as sdk:
        assert (await whoami(sdk))["preferred_username"] == "joan"
        company.provider.end_sessions("joan")
        await rejected(lambda: whoami(sdk))
        file.write_text(company.provider.log_in(JOB, "joan", PASSWORD)["access_token"])
        took = await seconds_until_answered(lambda: whoami(sdk))
    company.tell(f"session ended (token_exchange): answered {took:.2f} s after a new subject token was in its file")
