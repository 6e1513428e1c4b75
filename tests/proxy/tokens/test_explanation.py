"""What is shown of a call to the token service: enough to mend it, and no secret."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_proxy.tokens.explanation import Explanation, advice, explain
from mimic_proxy.tokens.recipe import Recipe, ResponsePointers, SecretPlace
from mimic_proxy.tokens.response import Failure, TokenResponse, read_response

FORM = Recipe(url="https://t.example", encoding="form", places=(SecretPlace("basic", "me"),))
JSON = Recipe(url="https://t.example/t?key=hidden", places=(SecretPlace("body", "code"),))


def explained(document: object, status: int = 200, recipe: Recipe = JSON) -> Explanation:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    answer = TokenResponse(status, body, content_type="application/json")
    outcome = read_response(answer, ResponsePointers(), wall=1.7e9, default_lifetime=300)
    return explain(recipe, answer, outcome if isinstance(outcome, Failure) else None)


def test_keys_are_shown_at_every_level_with_their_kinds_and_no_value() -> None:
    found = explained({"result": {"jwt": "hidden" * 5, "ttl": 5, "list": [{"a": None}], "ok": True}})
    assert found.keys == (
        "result (object)",
        "result.jwt (text)",
        "result.ttl (number)",
        "result.list (list)",
        "result.list.0 (object)",
        "result.list.0.a (null)",
        "result.ok (true or false)",
    )
    assert "hidden" not in str(found)
    assert found.sent == "POST https://t.example/t?key=***; json with code=***"
    assert found.came.startswith("200, application/json, ")


def test_a_place_that_may_hold_the_token_is_proposed() -> None:
    document = {"tokens": {"id.token": "x" * 40, "refresh_token": "y" * 40, "token_type": "bearer-and-more-words"}}
    proposed = [line for line in explained(document).tries if line.startswith("TOKEN_POINTER")]
    assert proposed == ["TOKEN_POINTER=/tokens/id.token holds a text that may be the token."]


@pytest.mark.parametrize(
    ("status", "document", "recipe", "tries"),
    [
        (400, {}, JSON, {"TOKEN_ENCODING=form"}),
        (415, {}, FORM, {"TOKEN_ENCODING=json"}),
        (401, {}, FORM, {"TOKEN_ENCODING=json", "TOKEN_SECRET_IN=body"}),
        (401, {"error": "invalid_client"}, FORM, {"TOKEN_SECRET_IN=body"}),
        (400, {"error": "invalid_grant"}, FORM, set()),
        (405, {}, JSON, {"TOKEN_METHOD"}),
        (503, {}, JSON, set()),
    ],
)
def test_changes_of_the_recipe_are_proposed(status: int, document: object, recipe: Recipe, tries: set[str]) -> None:
    assert {line.partition(":")[0] for line in explained(document, status, recipe).tries} == tries


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("invalid_client", "check CLIENT_ID"),
        ("unauthorized_client", "does not allow it GRANT=token_exchange"),
        ("unsupported_grant_type", "does not offer GRANT=token_exchange"),
        ("invalid_scope", "Check SCOPE"),
        ("invalid_target", "AUDIENCE"),
        ("invalid_grant", "SUBJECT_TOKEN_FILE is wrong or has expired"),
        ("hidden words", "SUBJECT_TOKEN_FILE is wrong or has expired"),
    ],
)
def test_each_error_code_of_oauth_has_its_advice(error: str, said: str) -> None:
    answer = TokenResponse(400, json.dumps({"error": error}).encode())
    failure = read_response(answer, ResponsePointers(), wall=1.7e9, default_lifetime=300)
    assert isinstance(failure, Failure)
    assert said in advice(failure, grant="token_exchange", secret="SUBJECT_TOKEN_FILE")
    assert "hidden" not in failure.detail
    assert failure.rejected


def test_an_error_that_heals_is_no_refusal() -> None:
    answer = TokenResponse(400, b'{"error":"temporarily_unavailable"}')
    failure = read_response(answer, ResponsePointers(), wall=1.7e9, default_lifetime=300)
    assert isinstance(failure, Failure)
    assert (failure.result, failure.rejected) == ("http_error", False)


JSON_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON_DOCUMENTS, st.sampled_from([200, 400, 401, 302, 500]))
def test_whatever_comes_is_explained_on_one_line_each(document: object, status: int) -> None:
    found = explained(document, status)
    assert len(found.keys) <= 30
    assert all(line.isprintable() for line in (found.sent, found.came, *found.keys, *found.tries))


@given(st.text(min_size=6, alphabet="qxzQXZ"), st.sampled_from([200, 400, 401, 500]))
def test_no_value_of_an_answer_is_shown(value: str, status: int) -> None:
    document = {"error": value, "data": [value, {"access_token": {"inner": value}}]}
    found = explained(document, status)
    assert value not in f"{found}"


def test_the_services_own_description_is_told_without_what_was_sent() -> None:
    answer = TokenResponse(
        400,
        json.dumps(
            {
                "error": "invalid_grant",
                "error_description": "Code sesame-1 is spent;\nsee eyJhbGciOiJSUzI1NiIsInR5cCIgOiAiSldUIi",
            }
        ).encode(),
    )
    outcome = Failure("rejected", "refused the secret", 400, rejected=True)
    told = explain(JSON, answer, outcome, secrets=["sesame-1"])
    assert told.said == "Code *** is spent; see ***"
    assert explain(JSON, answer, None, secrets=["sesame-1"]).said is None
