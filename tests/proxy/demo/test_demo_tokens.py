"""The demo's token service, and the backend's check of each call."""

from collections.abc import Callable
from dataclasses import dataclass

import httpx2
import pytest

from mimic_proxy.demo.options import DemoOptions, lifetime
from mimic_proxy.demo.refusals import Refusal
from mimic_proxy.demo.token_service import TokenService

Start = Callable[[DemoOptions], str]


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def service(clock: Clock, **options: object) -> TokenService:
    return TokenService(DemoOptions(**{"code": "right", "lifetime": 60.0} | options), clock)  # type: ignore[arg-type]


def refused(tokens: TokenService, authorization: str | None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        tokens.check(authorization)
    return caught.value


def test_a_token_passes_until_it_expires() -> None:
    clock = Clock()
    tokens = service(clock)
    token = tokens.issue("right")
    assert tokens.check(f"Bearer {token}") == token
    clock.now += 59.9
    assert tokens.check(f"bearer  {token}") == token
    clock.now += 0.1
    assert "expired" in refused(tokens, f"Bearer {token}").message


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer  ", "Basic abc", "Bearer unknown", "unknown"])
def test_what_is_no_issued_token_is_refused_as_openai_does(authorization: str | None) -> None:
    refusal = refused(service(Clock()), authorization)
    assert refusal.status == 401
    error = refusal.document()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert "unknown" not in str(error["message"]).replace("unknown or was revoked", "")


def test_revoked_tokens_are_refused_and_new_ones_pass() -> None:
    tokens = service(Clock())
    first, second = tokens.issue("right"), tokens.issue("right")
    assert first != second
    assert tokens.revoke_all() == 2
    assert refused(tokens, f"Bearer {first}").code == "invalid_api_key"
    assert tokens.check(f"Bearer {tokens.issue('right')}")


def test_neither_code_nor_token_shows_in_a_repr() -> None:
    tokens = service(Clock())
    token = tokens.issue("right")
    assert token is not None
    assert token not in repr(tokens)
    assert "right" not in repr(tokens)


def test_any_token_passes_where_that_is_asked_but_not_none_at_all() -> None:
    tokens = service(Clock(), any_token=True)
    assert tokens.check("Bearer whatever") == "whatever"
    assert refused(tokens, None).status == 401


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_a_lifetime_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"positive|could not convert"):
        lifetime(text)


def test_options_come_from_the_environment() -> None:
    environ = {
        "DEMO_CODE": "c",
        "DEMO_TOKEN_LIFETIME": "2.5",
        "DEMO_ANY_TOKEN": "1",
        "DEMO_ALWAYS_FLOAT_EMBEDDINGS": "true",
    }
    assert DemoOptions.from_environ(environ) == DemoOptions("c", 2.5, any_token=True, always_float=True)
    assert DemoOptions.from_environ({}) == DemoOptions()


def test_a_code_is_exchanged_for_a_token_that_opens_the_api(start: Start) -> None:
    with httpx2.Client(base_url=start(DemoOptions(code="right")), trust_env=False) as client:
        answer = client.post("/token", json={"code": "right"})
        data = answer.json()["data"]
        assert data["expires_in"] == 60
        assert answer.headers["cache-control"] == "no-store"
        authorized = {"authorization": f"Bearer {data['access_token']}"}
        assert client.get("/v1/models", headers=authorized).status_code == 200
        assert client.post("/demo/revoke").json() == {"revoked": 1}
        refused = client.get("/v1/models", headers=authorized)
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_api_key"
        stats = client.get("/demo/stats").json()
    assert {
        name: stats[name] for name in ("token_calls", "token_refusals", "requests", "unauthorized", "completed")
    } == {
        "token_calls": 1,
        "token_refusals": 0,
        "requests": 2,
        "unauthorized": 1,
        "completed": 1,
    }


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b'{"code":"wrong"}', 401, "invalid_grant"),
        (b'{"code":1}', 400, "invalid_request"),
        (b"{}", 400, "invalid_request"),
        (b"code=right", 400, "invalid_request"),
        (b"\xff", 400, "invalid_request"),
    ],
)
def test_a_wrong_token_request_is_refused_in_json(http: httpx2.Client, body: bytes, status: int, error: str) -> None:
    answer = http.post("/token", content=body)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert "wrong" not in answer.text
