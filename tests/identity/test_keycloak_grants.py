"""Each grant against Keycloak: the gateway verifies the signature of every token, and asks whether it still counts."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from fakes.mimic import SERVICE as PACKAGE
from identity.company import Company, application, whoami
from identity.realm import (
    CERTIFICATE,
    DAEMON,
    EC_ID,
    EXCHANGE,
    JOB,
    KEYS,
    LAPTOP,
    PASSWORD,
    RSA_ID,
    SERVICE,
    SHORT_LIVED,
    pem,
)


@dataclass(frozen=True, slots=True)
class Way:
    """environ: the settings beside the URLs, and the secrets among them. user: for whom the tokens are."""

    environ: dict[str, str]
    client: str
    user: str | None = None


def credentials(client: dict[str, str]) -> dict[str, str]:
    """CLIENT_ID and, of a confidential client, CLIENT_SECRET."""
    return {name.upper(): value for name, value in client.items()}


def kept(folder: Path, name: str, content: bytes | str) -> str:
    """The path of a new file."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def basic(company: Company, folder: Path) -> Way:
    return Way({"GRANT": "client_credentials", **credentials(SERVICE)}, "service")


def post(company: Company, folder: Path) -> Way:
    return Way({"GRANT": "client_credentials", "TOKEN_SECRET_IN": "body", **credentials(SERVICE)}, "service")


def rs256(company: Company, folder: Path) -> Way:
    key = {"PRIVATE_KEY_FILE": kept(folder, "key.pem", pem(company.keys.rsa)), "PRIVATE_KEY_ID": RSA_ID}
    return Way({"GRANT": "private_key_jwt", "CLIENT_ID": KEYS, **key}, KEYS)


def es256(company: Company, folder: Path) -> Way:
    key = {"PRIVATE_KEY_FILE": kept(folder, "key.pem", pem(company.keys.ec)), "PRIVATE_KEY_ID": EC_ID}
    return Way({"GRANT": "private_key_jwt", "CLIENT_ID": KEYS, **key}, KEYS)


def certificate(company: Company, folder: Path) -> Way:
    key = {"PRIVATE_KEY_FILE": kept(folder, "key.pem", pem(company.keys.certified))}
    return Way({"GRANT": "private_key_jwt", "CLIENT_ID": CERTIFICATE, **key}, CERTIFICATE)


def public_refresh(company: Company, folder: Path) -> Way:
    first = company.provider.log_in(LAPTOP, "ada", PASSWORD)["refresh_token"]
    own = {"REFRESH_TOKEN": first, "TOKEN_STORE": str(folder / "store"), **credentials(LAPTOP)}
    return Way({"GRANT": "refresh_token", **own}, "laptop", "ada")


def confidential_refresh(company: Company, folder: Path) -> Way:
    first = company.provider.log_in(DAEMON, "ada", PASSWORD)["refresh_token"]
    own = {"REFRESH_TOKEN": first, "TOKEN_STORE": str(folder / "store"), **credentials(DAEMON)}
    return Way({"GRANT": "refresh_token", **own}, "daemon", "ada")


def exchange(company: Company, folder: Path) -> Way:
    subject = company.provider.log_in(JOB, "ada", PASSWORD)["access_token"]
    own = {
        "SUBJECT_TOKEN_FILE": kept(folder, "subject", subject),
        "SUBJECT_TOKEN_TYPE": "access_token",
        "AUDIENCE": "model-gateway",
        **credentials(EXCHANGE),
    }
    return Way({"GRANT": "token_exchange", **own}, "exchange", "ada")


def by_preset(way: Callable[[Company, Path], Way], *left_out: str) -> Callable[[Company, Path], Way]:
    """The same by PRESET=keycloak, which sets TOKEN_URL and `left_out`."""

    def preset_and(company: Company, folder: Path) -> Way:
        plain = way(company, folder)
        rest = {name: value for name, value in plain.environ.items() if name not in left_out}
        preset = {"PRESET": "keycloak", "ISSUER": company.provider.issuer}
        return Way({**rest, **preset}, plain.client, plain.user)

    preset_and.__name__ = f"preset_{way.__name__}"
    return preset_and


WAYS: list[Callable[[Company, Path], Way]] = [
    basic,
    post,
    by_preset(basic, "GRANT"),
    rs256,
    es256,
    certificate,
    public_refresh,
    confidential_refresh,
    exchange,
    by_preset(rs256),
    by_preset(confidential_refresh),
    by_preset(exchange, "SUBJECT_TOKEN_TYPE"),
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_the_gateway_knows_its_caller_and_one_token_serves_several_calls(
    company: Company, tmp_path: Path, way: Callable[[Company, Path], Way]
) -> None:
    chosen = way(company, tmp_path)
    secrets = [value for name, value in chosen.environ.items() if name in ("CLIENT_SECRET", "REFRESH_TOKEN")]
    async with company.mimic(tmp_path, secrets, **chosen.environ) as mimic, application(mimic) as sdk:
        first, second = await whoami(sdk), await whoami(sdk)
    assert first["azp"] == chosen.client
    assert chosen.user in (None, first["preferred_username"])
    assert first["jti"] == second["jti"]


async def test_short_lived_tokens_are_replaced_before_their_end_and_no_call_is_refused(
    company: Company, tmp_path: Path
) -> None:
    tokens: list[str] = []
    calls = 0
    refused = sum(company.seen().values()) - company.seen().get("let in", 0)
    environ = {"GRANT": "client_credentials", **credentials(SHORT_LIVED)}
    async with company.mimic(tmp_path, [SHORT_LIVED["client_secret"]], **environ) as mimic, application(mimic) as sdk:
        while len(tokens) < 3:
            claims = await whoami(sdk)
            calls += 1
            if claims["jti"] not in tokens:
                tokens.append(claims["jti"])
    seen = company.seen()
    assert sum(seen.values()) - seen["let in"] == refused
    company.tell(f"tokens of {claims['exp'] - claims['iat']} s: {calls} calls on {len(tokens)} tokens, none refused")


async def test_a_wrong_secret_is_token_rejected_and_not_a_matter_of_the_callers_key(
    company: Company, tmp_path: Path
) -> None:
    environ = {"GRANT": "client_credentials", "CLIENT_ID": SERVICE["client_id"], "CLIENT_SECRET": "a-wrong-secret"}
    async with company.mimic(tmp_path, ["a-wrong-secret"], ready=False, **environ) as mimic, application(mimic) as sdk:
        with pytest.raises(openai.InternalServerError) as caught:
            await whoami(sdk)
    assert (caught.value.status_code, caught.value.code) == (502, "token_rejected")


CHECKED = {
    "right": (SERVICE["client_secret"], 0, ["Access token: fetched, it lives 300 s"]),
    "wrong": ("a-mistyped-secret", 1, ["401", "unauthorized_client", "check CLIENT_ID and the secret"]),
}


@pytest.mark.parametrize(("secret", "exit_code", "words"), CHECKED.values(), ids=CHECKED)
def test_check_says_what_keycloak_answers_and_shows_no_secret(
    company: Company, tmp_path: Path, secret: str, exit_code: int, words: list[str]
) -> None:
    environ = {"GRANT": "client_credentials", "CLIENT_ID": SERVICE["client_id"], "CLIENT_SECRET": secret}
    check = subprocess.run(
        [sys.executable, "-m", "mimic_proxy", "check"],
        env={"PYTHONPATH": str(PACKAGE), **company.settings(**environ)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert check.returncode == exit_code, check.stdout
    assert [word for word in words if word not in check.stdout] == [], check.stdout
    assert secret not in check.stdout
