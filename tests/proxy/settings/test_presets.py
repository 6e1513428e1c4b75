"""One word for a whole recipe."""

from typing import Any
from urllib.parse import parse_qsl

import pytest

from mimic_proxy.settings.fields import SettingsError, load
from mimic_proxy.settings.presets import PRESETS
from mimic_proxy.tokens.grants import choose

URLS = {"CHAT_API_URL": "https://models.example/v1", "EMBEDDING_API_URL": "https://models.example/v1"}
ASKED = {
    "TOKEN_URL": "https://t.example/token",
    "AUTH_CODE": "the-code",
    "CLIENT_ID": "me",
    "CLIENT_SECRET": "word",
    "TENANT": "contoso.example",
    "ISSUER": "https://idp.example/realms/r/",
    "SCOPE": "models",
    "AUDIENCE": "https://models.example/",
    "PRIVATE_KEY_FILE": "/run/key.json",
}
TOKEN_URLS = {
    "original": "https://t.example/token",
    "oauth2": "https://t.example/token",
    "entra-id": "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token",
    "entra-workload-identity": "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token",
    "keycloak": "https://idp.example/realms/r/protocol/openid-connect/token",
    "okta": "https://idp.example/realms/r/v1/token",
    "auth0": "https://idp.example/realms/r/oauth/token",
    "aws-cognito": "https://idp.example/realms/r/oauth2/token",
    "databricks": "https://idp.example/realms/r/oidc/v1/token",
    "sap-btp": "https://idp.example/realms/r/oauth/token",
    "ibm-cloud": "https://iam.cloud.ibm.com/identity/token",
    "yandex-cloud": "https://iam.api.cloud.yandex.net/iam/v1/tokens",
    "google-service-account": "https://oauth2.googleapis.com/token",
    "google-id-token": "https://oauth2.googleapis.com/token",
}


def preset(word: str, **more: str) -> Any:
    return load({**URLS, "PRESET": word, **{name: ASKED[name] for name in PRESETS[word].asked}, **more})


@pytest.mark.parametrize("word", PRESETS)
def test_what_it_asks_for_is_enough_and_nothing_is_in_vain(word: str):
    settings = preset(word)
    assert settings.token_url == TOKEN_URLS[word]
    assert settings.warnings == ()
    recipe = choose(settings).recipe
    assert recipe is not None
    assert recipe.url == TOKEN_URLS[word]


@pytest.mark.parametrize("word", PRESETS)
def test_what_is_missing_is_asked_for_by_name(word: str):
    with pytest.raises(SettingsError) as caught:
        load({**URLS, "PRESET": word})
    missing = {problem.name.replace("PRIVATE_KEY", "PRIVATE_KEY_FILE") for problem in caught.value.problems}
    assert missing <= set(PRESETS[word].asked)
    assert missing | {"SCOPE", "AUDIENCE"} >= set(PRESETS[word].asked)
    assert len(caught.value.problems) == len(missing)


@pytest.mark.parametrize("name", ["PRESET", "GRANT"])
def test_a_word_that_nobody_knows_is_the_only_complaint(name: str):
    with pytest.raises(SettingsError) as caught:
        load({**URLS, name: "keyclaok"})
    assert [problem.name for problem in caught.value.problems] == [name]


def test_what_is_set_counts_more():
    settings = preset("entra-id", SCOPE="api://gateway/.default", TOKEN_URL="https://login.example/t")
    assert (settings.scope, settings.token_url) == ("api://gateway/.default", "https://login.example/t")
    settings = preset("keycloak", GRANT="private_key_jwt", PRIVATE_KEY_FILE="/run/key.pem", CLIENT_SECRET="")
    assert (settings.grant, settings.assertion_audience) == ("private_key_jwt", "https://idp.example/realms/r")


def test_an_explicit_token_url_needs_no_issuer():
    environ = {**URLS, "PRESET": "keycloak", "TOKEN_URL": "https://t.example", "CLIENT_ID": "me", "CLIENT_SECRET": "s"}
    assert load(environ).token_url == "https://t.example"


def test_the_original_speaks_envelope_and_sends_the_token_without_a_scheme():
    settings = preset("original")
    assert (settings.dialect, settings.token_format, settings.grant) == ("envelope", "{token}", "auth_code")


@pytest.mark.parametrize(("more", "template"), [({}, "{token}"), ({"TOKEN_FORMAT": "Token {token}"}, "Token {token}")])
def test_the_envelope_dialect_sends_the_token_without_a_scheme_by_itself(more: dict[str, str], template: str):
    environ = {**URLS, "TOKEN_URL": "https://t.example", "AUTH_CODE": "c", "DIALECT": "envelope", **more}
    assert load(environ).token_format == template


def test_a_federated_token_is_the_clients_assertion():
    recipe = choose(preset("entra-workload-identity")).recipe
    assert recipe is not None
    assert dict(parse_qsl(recipe.request("federated").body.decode())) == {
        "grant_type": "client_credentials",
        "client_id": "me",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": "federated",
        "scope": "https://cognitiveservices.azure.com/.default",
    }


def test_google_wants_scope_or_audience_inside_the_assertion_and_nowhere_else():
    settings = preset("google-service-account", SCOPE='odd " scope')
    assert dict(settings.assertion_claims) == {"sub": None, "scope": 'odd " scope'}
    recipe = choose(settings).recipe
    assert recipe is not None
    assert b"scope" not in recipe.request("a").body
    settings = preset("google-id-token")
    assert dict(settings.assertion_claims) == {"sub": None, "target_audience": "https://models.example/"}


@pytest.mark.parametrize("tenant", ["../evil", "a/b", "a?b", "..", "a b"])
def test_a_tenant_cannot_change_the_host_or_path(tenant: str):
    with pytest.raises(SettingsError, match="TENANT"):
        preset("entra-id", TENANT=tenant)
