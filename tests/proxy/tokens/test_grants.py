"""Which grant the settings choose."""

import base64
import dataclasses
import json
import time
from urllib.parse import parse_qsl

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mimic_proxy.settings.fields import SecretRef, Settings, load
from mimic_proxy.tokens.grants import choose
from mimic_proxy.tokens.recipe import Grant

URLS = {
    "CHAT_API_URL": "https://b.example",
    "EMBEDDING_API_URL": "https://b.example",
    "TOKEN_URL": "https://t.example/x",
}
BASE = Settings(chat_api_url="https://b.example", embedding_api_url="https://b.example")


def test_an_auth_code_is_posted_as_json() -> None:
    code = SecretRef("AUTH_CODE", "the-code")
    grant = choose(dataclasses.replace(BASE, token_url="https://t.example/token", auth_code=code))
    assert (grant.name, grant.secrets, grant.single_use) == ("auth_code", (code,), False)
    assert grant.recipe is not None
    request = grant.recipe.request("the-code")
    assert (request.method, request.url, json.loads(request.body)) == (
        "POST",
        "https://t.example/token",
        {"code": "the-code"},
    )


def test_a_code_can_be_declared_to_work_once() -> None:
    assert choose(dataclasses.replace(BASE, token_url="https://t.example", auth_code_single_use=True)).single_use


def test_an_auth_code_without_a_token_url_is_a_mistake_of_the_composition() -> None:
    with pytest.raises(ValueError, match="TOKEN_URL"):
        choose(BASE)


def test_a_static_token_is_its_own_secret() -> None:
    token = SecretRef("ACCESS_TOKEN", "fixed")
    grant = choose(dataclasses.replace(BASE, grant="static", access_token=token))
    assert (grant.name, grant.recipe, grant.secrets) == ("static", None, (token,))


def test_no_grant_needs_nothing() -> None:
    grant = choose(dataclasses.replace(BASE, grant="none"))
    assert (grant.name, grant.recipe, grant.secrets) == ("none", None, ())


def asked(**environ: str) -> tuple[Grant, dict[str, str], dict[str, str]]:
    """The grant, and the fields and header fields of a request with the secrets s0, s1, ..."""
    grant = choose(load({**URLS, **environ}))
    assert grant.recipe is not None
    request = grant.recipe.request(*(f"s{number}" for number in range(len(grant.secrets))))
    kind = dict(request.headers)["content-type"]
    fields = json.loads(request.body) if kind == "application/json" else dict(parse_qsl(request.body.decode()))
    return grant, fields, dict(request.headers)


def basic(headers: dict[str, str]) -> str:
    return base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode()


CLIENT = {"CLIENT_ID": "me", "CLIENT_SECRET": "word"}


def test_client_credentials_authenticate_by_basic() -> None:
    grant, fields, headers = asked(GRANT="client_credentials", **CLIENT, SCOPE="a b", AUDIENCE="api", RESOURCE="urn:x")
    assert fields == {"grant_type": "client_credentials", "scope": "a b", "audience": "api", "resource": "urn:x"}
    assert basic(headers) == "me:s0"
    assert [secret.name for secret in grant.secrets] == ["CLIENT_SECRET"]


def test_client_credentials_authenticate_in_the_body_or_a_header_where_that_is_asked() -> None:
    _, fields, headers = asked(GRANT="client_credentials", **CLIENT, TOKEN_SECRET_IN="body")
    assert fields == {"grant_type": "client_credentials", "client_id": "me", "client_secret": "s0"}
    assert "authorization" not in headers
    header = {"TOKEN_SECRET_IN": "header", "TOKEN_SECRET_AS": "Authorization", "TOKEN_SECRET_FORMAT": "Key {secret}"}
    _, fields, headers = asked(GRANT="client_credentials", **CLIENT, **header, TOKEN_ENCODING="json")
    assert fields == {"grant_type": "client_credentials", "client_id": "me"}
    assert headers["authorization"] == "Key s0"


def test_fields_and_header_fields_are_added_replaced_and_taken_away() -> None:
    changes = {"TOKEN_FIELDS": '{"grant_type": "password", "scope": null}', "TOKEN_REQUEST_HEADERS": "X-Tenant=7"}
    _, fields, headers = asked(GRANT="client_credentials", **CLIENT, SCOPE="a", **changes)
    assert fields == {"grant_type": "password"}
    assert headers["x-tenant"] == "7"


def test_an_assertion_is_signed_with_the_key_for_the_token_service() -> None:
    grant, fields, _ = asked(GRANT="private_key_jwt", CLIENT_ID="me", PRIVATE_KEY="k", PRIVATE_KEY_ID="k-1")
    assert fields == {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_id": "me",
        "client_assertion": "s0",
    }
    key = ec.generate_private_key(ec.SECP256R1())
    assert grant.prepare is not None
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    token = grant.prepare(text, time.time())
    assert jwt.get_unverified_header(token)["kid"] == "k-1"
    claims = jwt.decode(token, key.public_key(), algorithms=["ES256"], audience="https://t.example/x")
    assert (claims["iss"], claims["sub"], claims["exp"] - claims["iat"]) == ("me", "me", 60)


def test_an_assertion_may_be_the_grant_itself() -> None:
    grant, fields, _ = asked(GRANT="private_key_jwt", PRIVATE_KEY_FILE="key.json", ASSERTION_AS="grant", SCOPE="a")
    bearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert fields == {"grant_type": bearer, "scope": "a", "assertion": "s0"}
    assert [secret.name for secret in grant.secrets] == ["PRIVATE_KEY"]


def test_a_subject_token_is_exchanged_with_and_without_a_secret() -> None:
    grant, fields, headers = asked(GRANT="token_exchange", SUBJECT_TOKEN_FILE="/run/token", AUDIENCE="api")
    assert fields == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "audience": "api",
        "subject_token": "s0",
    }
    assert "authorization" not in headers
    types = {"SUBJECT_TOKEN_TYPE": "access_token", "REQUESTED_TOKEN_TYPE": "urn:example:type"}
    grant, fields, headers = asked(GRANT="token_exchange", SUBJECT_TOKEN="t", **types, **CLIENT)
    assert fields["subject_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    assert fields["requested_token_type"] == "urn:example:type"
    assert basic(headers) == "me:s1"
    assert [secret.name for secret in grant.secrets] == ["SUBJECT_TOKEN", "CLIENT_SECRET"]


def test_a_refresh_token_is_turned_in_as_a_form() -> None:
    grant, fields, _ = asked(GRANT="refresh_token", REFRESH_TOKEN="r", CLIENT_ID="me", TOKEN_STORE="/var/store")
    assert fields == {"grant_type": "refresh_token", "client_id": "me", "refresh_token": "s0"}
    assert grant.refresh is grant.recipe
    assert str(grant.store) == "/var/store"
    _, fields, _ = asked(
        GRANT="refresh_token",
        REFRESH_TOKEN="r",
        TOKEN_ENCODING="json",
        TOKEN_REFRESH_AS="refreshToken",
        TOKEN_FIELDS='{"grant_type": null}',
    )
    assert fields == {"refreshToken": "s0"}


def test_an_auth_code_may_be_that_of_rfc_6749() -> None:
    code = {"AUTH_CODE": "c", "TOKEN_ENCODING": "form", **CLIENT}
    more = "grant_type=authorization_code,redirect_uri=https://app.example/back"
    grant, fields, _ = asked(**code, TOKEN_FIELDS=more)
    assert fields == {
        "grant_type": "authorization_code",
        "redirect_uri": "https://app.example/back",
        "client_id": "me",
        "client_secret": "s1",
        "code": "s0",
    }
    assert grant.refresh is not None
    refresh = dict(parse_qsl(grant.refresh.request("r", "s1").body.decode()))
    assert (refresh["grant_type"], refresh["refresh_token"], refresh["client_secret"]) == ("refresh_token", "r", "s1")
    assert "code" not in refresh


def test_a_code_goes_wherever_the_settings_say() -> None:
    environ = {"AUTH_CODE": "c", "TOKEN_METHOD": "GET", "TOKEN_SECRET_AS": "key"}
    recipe = choose(load({**URLS, **environ})).recipe
    assert recipe is not None
    assert recipe.request("s0").url == "https://t.example/x?key=s0"
    _, _, headers = asked(AUTH_CODE="c", TOKEN_SECRET_IN="header", TOKEN_SECRET_AS="X-Key", TOKEN_METHOD="PUT")
    assert headers["x-key"] == "s0"
    _, _, headers = asked(AUTH_CODE="c", TOKEN_SECRET_IN="basic", TOKEN_SECRET_AS="app")
    assert basic(headers) == "app:s0"


def test_pointers_say_where_the_answer_holds_what() -> None:
    pointers = {"TOKEN_POINTER": "/a~1b/token,c.0", "TOKEN_ERROR_POINTER": "meta.code", "TOKEN_EXPIRY_POINTER": "c.end"}
    grant, _, _ = asked(AUTH_CODE="c", **pointers)
    assert grant.recipe is not None
    answers = grant.recipe.pointers
    assert (answers.token, answers.error, answers.expiry) == (
        (("a/b", "token"), ("c", "0")),
        (("meta", "code"),),
        (("c", "end"),),
    )
