"""Refresh tokens that may be used once, over refreshes and restarts."""

import stat
from pathlib import Path

import httpx2
import pytest

from identity.company import Company, application, whoami
from identity.realm import LAPTOP, PASSWORD

REFRESHES = 5


async def test_each_refresh_token_is_used_once_and_the_newest_survives_a_restart(
    company: Company, tmp_path: Path
) -> None:
    first = company.provider.log_in(LAPTOP, "katherine", PASSWORD)["refresh_token"]
    store = tmp_path / "store"
    environ = {"GRANT": "refresh_token", "CLIENT_ID": LAPTOP["client_id"], "REFRESH_TOKEN": first}
    # Each of them is withdrawn as soon as it is there.
    environ |= {"TOKEN_STORE": str(store), "TOKEN_MIN_REFRESH_INTERVAL": "0"}
    tokens: list[str] = []
    for _ in range(2):
        async with company.mimic(tmp_path, [first], **environ) as mimic, application(mimic) as sdk:
            for _ in range(REFRESHES):
                claims = await whoami(sdk)
                assert claims["preferred_username"] == "katherine"
                tokens.append(claims["jti"])
                company.provider.revoke(LAPTOP, company.access_token())
            assert stat.S_IMODE(store.stat().st_mode) == 0o600
            assert first not in store.read_text()
    assert len(set(tokens)) == 2 * REFRESHES
    # The last: Keycloak ends the session of whoever sends a used refresh token again.
    with pytest.raises(httpx2.HTTPStatusError, match="400"):
        company.provider.token(LAPTOP, grant_type="refresh_token", refresh_token=first)
    company.tell(f"refresh tokens with rotation: {len(tokens)} access tokens over one restart from one log-in")
