"""Requests made from declared recipes."""

import base64
import json
from urllib.parse import parse_qsl

import pytest

from mimic_proxy.tokens.recipe import Recipe, SecretPlace

URL = "https://user:word@tokens.corp.example:8443/oauth/token?tenant=7"
CODE = SecretPlace("body", "code")
SECRET = 'p&w="\u20ac:%20'


def test_the_secret_stands_in_a_json_body() -> None:
    request = Recipe(url=URL, places=(CODE,), fields=(("kind", "api"),)).request(SECRET)
    assert (request.url, request.method) == (URL, "POST")
    assert json.loads(request.body) == {"kind": "api", "code": SECRET}
    assert dict(request.headers)["content-type"] == "application/json"


def test_the_secret_stands_in_a_form() -> None:
    fields = (("grant_type", "client_credentials"), ("client_id", "me"))
    request = Recipe(url=URL, encoding="form", fields=fields, places=(SecretPlace("body", "client_secret"),)).request(
        SECRET
    )
    assert parse_qsl(request.body.decode("ascii")) == [*fields, ("client_secret", SECRET)]
    assert dict(request.headers)["content-type"] == "application/x-www-form-urlencoded"


def test_the_secret_is_the_password_of_basic_authentication() -> None:
    request = Recipe(url=URL, encoding="form", fields=(("a", "b"),), places=(SecretPlace("basic", "m:e"),)).request(
        "s p:"
    )
    scheme, _, pair = dict(request.headers)["authorization"].partition(" ")
    assert (scheme, base64.b64decode(pair)) == ("Basic", b"m%3Ae:s+p%3A")
    assert request.body == b"a=b"


def test_the_secret_is_a_header_field_and_no_fields_are_no_body() -> None:
    request = Recipe(url=URL, method="GET", places=(SecretPlace("header", "X-Key"),)).request("abc")
    assert (request.method, request.body) == ("GET", b"")
    assert dict(request.headers)["x-key"] == "abc"
    assert "content-type" not in dict(request.headers)


@pytest.mark.parametrize("secret", ["a\r\nx: 1", "a\x00", "\u20ac"])
def test_a_secret_that_no_header_field_can_carry_is_refused_without_being_quoted(secret: str) -> None:
    with pytest.raises(ValueError, match="header field") as refused:
        Recipe(url=URL, places=(SecretPlace("header", "x-key"),)).request(secret)
    assert secret not in str(refused.value)


@pytest.mark.parametrize("secret_in", ["body", "basic", "header"])
def test_a_request_shows_itself_without_the_secret(secret_in: str) -> None:
    request = Recipe(url=URL, places=(SecretPlace(secret_in, "code"),)).request("hidden")  # type: ignore[arg-type]
    assert "hidden" not in repr(request)
    assert base64.b64encode(b"code:hidden").decode() not in repr(request)


def test_a_surrogate_from_the_environment_is_sent_rather_than_raised() -> None:
    assert Recipe(url=URL, places=(CODE,)).request("a\udcff").body == b'{"code":"a\\udcff"}'


def test_messages_name_scheme_host_and_port_only() -> None:
    assert Recipe(url=URL, places=(CODE,)).origin == "https://tokens.corp.example:8443"


FIELDS = (("grant_type", "x"), ("number", 7), ("flag", True))


def test_fields_keep_their_kinds_in_json_and_become_text_elsewhere() -> None:
    request = Recipe(url=URL, fields=FIELDS, places=(CODE,)).request("s")
    assert json.loads(request.body) == {"grant_type": "x", "number": 7, "flag": True, "code": "s"}
    request = Recipe(url=URL, encoding="form", fields=FIELDS, places=(CODE,)).request("s")
    assert request.body == b"grant_type=x&number=7&flag=true&code=s"


def test_a_name_that_is_a_pointer_stands_inside_a_json_body() -> None:
    places = (SecretPlace("body", "/auth/code"),)
    request = Recipe(url=URL, fields=(("/auth/kind", "api"), ("top", {"a": 1})), places=places).request("s")
    assert json.loads(request.body) == {"auth": {"kind": "api", "code": "s"}, "top": {"a": 1}}


def test_a_query_carries_fields_and_secret_and_no_body() -> None:
    request = Recipe(url=URL, method="GET", encoding="query", fields=(("a", "b c"),), places=(CODE,)).request("s&t")
    assert (request.url, request.body) == (f"{URL}&a=b+c&code=s%26t", b"")
    assert "s%26t" not in repr(request)
    assert Recipe(url="https://t.example", method="GET", encoding="query", places=(CODE,)).request("s").url == (
        "https://t.example?code=s"
    )


def test_a_secret_is_written_as_its_template_says() -> None:
    place = SecretPlace("header", "X-Auth", "Api-Key {secret}")
    assert dict(Recipe(url=URL, places=(place,)).request("abc").headers)["x-auth"] == "Api-Key abc"


def test_header_fields_of_the_settings_replace_the_usual_ones() -> None:
    headers = (("Accept", "application/vnd.example+json"), ("X-Tenant", "7"))
    found = dict(Recipe(url=URL, headers=headers, places=(CODE,)).request("s").headers)
    assert (found["accept"], found["x-tenant"]) == ("application/vnd.example+json", "7")


def test_two_secrets_stand_in_two_places() -> None:
    places = (SecretPlace("body", "subject_token"), SecretPlace("basic", "me"))
    request = Recipe(url=URL, encoding="form", places=places).request("subject", "word")
    assert request.body == b"subject_token=subject"
    assert base64.b64decode(dict(request.headers)["authorization"][6:]) == b"me:word"


def test_what_is_shown_of_a_request_holds_no_secret() -> None:
    places = (CODE, SecretPlace("basic", "me"), SecretPlace("header", "X-Key"))
    fields = (("grant_type", "x"), ("password", "hidden"))
    shown = Recipe(url=URL, fields=fields, headers=(("X-App", "hidden"),), places=places).shown()
    assert shown == (
        "POST https://***@tokens.corp.example:8443/oauth/token?tenant=***; "
        "json with grant_type=x, password=***, code=***; basic authentication of me; header fields x-key, x-app"
    )
