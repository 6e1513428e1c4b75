"""Which grant the settings choose."""

import dataclasses
import json

import pytest

from mimic_proxy.settings import SecretRef, Settings
from mimic_proxy.tokens.grants import choose

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
