"""The gateway itself: what it refuses, so that its yes means something."""

from collections.abc import Callable
from pathlib import Path

import jwt
import openai
import pytest

from identity.company import Company, application, whoami
from identity.realm import DAEMON, EXCHANGE, JOB, PASSWORD, SERVICE


def granted(company: Company) -> str:
    token: str = company.provider.token(SERVICE, grant_type="client_credentials")["access_token"]
    return token


def forged(company: Company) -> str:
    """All claims and the key id of a good token, but another's signature."""
    good = granted(company)
    claims = jwt.decode(good, options={"verify_signature": False})
    head = {"kid": jwt.get_unverified_header(good)["kid"]}
    return jwt.encode(claims, company.keys.rsa, algorithm="RS256", headers=head)


def withdrawn(company: Company) -> str:
    token = granted(company)
    company.provider.revoke(SERVICE, token)
    return token


def for_somebody_else(company: Company) -> str:
    token: str = company.provider.token(
        EXCHANGE,
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token=company.provider.log_in(JOB, "ada", PASSWORD)["access_token"],
        subject_token_type="urn:ietf:params:oauth:token-type:access_token",
        audience="archive",
    )["access_token"]
    return token


def refresh_token(company: Company) -> str:
    token: str = company.provider.log_in(DAEMON, "ada", PASSWORD)["refresh_token"]
    return token


async def test_a_token_of_keycloak_is_let_in(company: Company, tmp_path: Path) -> None:
    token = granted(company)
    environ = {"GRANT": "static", "ACCESS_TOKEN": token}
    async with company.mimic(tmp_path, [token], **environ) as mimic, application(mimic) as sdk:
        assert (await whoami(sdk))["azp"] == "service"


@pytest.mark.parametrize("wrong", [forged, withdrawn, for_somebody_else, refresh_token])
async def test_any_other_token_is_refused(company: Company, tmp_path: Path, wrong: Callable[[Company], str]) -> None:
    token = wrong(company)
    environ = {"GRANT": "static", "ACCESS_TOKEN": token}
    async with company.mimic(tmp_path, [token], **environ) as mimic, application(mimic) as sdk:
        with pytest.raises(openai.InternalServerError) as caught:
            await whoami(sdk)
        assert caught.value.code == "upstream_auth_failed"
