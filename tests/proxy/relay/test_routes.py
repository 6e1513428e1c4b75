import re
from pathlib import Path

import openai
import pytest

from mimic_proxy.errors import MethodNotAllowed, UnknownRoute
from mimic_proxy.relay.routes import Route, Routes

match = Routes().match


@pytest.mark.parametrize(("path", "operation"), [("/chat/completions", "chat"), ("/embeddings", "embeddings")])
def test_knows_the_first_class_operations(path: str, operation: str) -> None:
    route = match(b"POST", b"/v1" + path.encode())

    assert isinstance(route, Route)
    assert (route.operation, route.base, route.suffix) == (operation, operation, path.encode())
    assert (route.body, route.first_class, route.template, route.stream_end) == ("json", True, f"/v1{path}", "done")


@pytest.mark.parametrize(
    ("method", "path", "template", "body", "stream_end"),
    [
        ("GET", "/chat/completions", "/chat/completions", "none", "done"),
        ("GET", "/chat/completions/c-1", "/chat/completions/{id}", "none", "done"),
        ("POST", "/chat/completions/c-1", "/chat/completions/{id}", "json", "done"),
        ("DELETE", "/chat/completions/c-1", "/chat/completions/{id}", "none", "done"),
        ("GET", "/chat/completions/c-1/messages", "/chat/completions/{id}/messages", "none", "done"),
        ("POST", "/completions", "/completions", "json", "done"),
        ("POST", "/responses", "/responses", "json", "responses"),
        ("GET", "/responses/r-1", "/responses/{rest}", "none", "responses"),
        ("POST", "/responses/r-1/cancel", "/responses/{rest}", "json", "responses"),
        ("DELETE", "/responses/r-1", "/responses/{rest}", "none", "responses"),
        ("POST", "/moderations", "/moderations", "json", "responses"),
        ("POST", "/images/generations", "/images/{rest}", "json", "responses"),
        ("POST", "/images/edits", "/images/edits", "stream", "responses"),
        ("POST", "/images/variations", "/images/variations", "stream", "responses"),
        ("POST", "/audio/speech", "/audio/{rest}", "json", "responses"),
        ("POST", "/audio/transcriptions", "/audio/transcriptions", "stream", "responses"),
        ("POST", "/audio/translations", "/audio/translations", "stream", "responses"),
        ("GET", "/files", "/files", "none", "responses"),
        ("POST", "/files", "/files", "stream", "responses"),
        ("GET", "/files/f-1/content", "/files/{rest}", "none", "responses"),
        ("DELETE", "/files/f-1", "/files/{rest}", "none", "responses"),
        ("POST", "/batches", "/batches", "json", "responses"),
        ("POST", "/vector_stores", "/vector_stores", "json", "responses"),
        ("POST", "/uploads/u-1/parts", "/uploads/{rest}", "json", "responses"),
        ("DELETE", "/models/ft:m:org", "/models/{rest}", "none", "responses"),
        ("POST", "/realtime/client_secrets", "/realtime/{rest}", "json", "responses"),
        ("POST", "/threads/t-1/runs", "/threads/{rest}", "json", "responses"),
        ("POST", "/batches/b-1/cancel", "/batches/{rest}", "json", "responses"),
    ],
)
def test_passes_the_allow_list_through_to_the_chat_base(
    method: str, path: str, template: str, body: str, stream_end: str
) -> None:
    route = match(method.encode(), b"/v1" + path.encode())

    assert route == Route("passthrough", "chat", path.encode(), body, f"/v1{template}", False, stream_end)  # type: ignore[arg-type]


_SDK = Path(openai.__file__).parent / "resources"
_CALL = re.compile(r'self\._(get|post|put|patch|delete|get_api_list)\(\s*(?:path_template\()?\s*"(/[^"?]+)')


def sdk_calls() -> set[tuple[bytes, bytes]]:
    """Every method and path of the official SDK, as its source has them, administration aside."""
    calls = set()
    for file in _SDK.rglob("*.py"):
        for verb, path in _CALL.findall(file.read_text("utf-8")):
            method = "GET" if verb.startswith("get") else verb.upper()
            if not path.startswith(("/organization", "/projects")):
                calls.add((method.encode(), b"/v1" + re.sub(r"\{\w+\}", "id-%2F1", path).encode()))
    return calls


def test_relays_every_path_that_the_official_sdk_has() -> None:
    calls = sdk_calls()

    assert len(calls) > 180
    served_here = {(b"GET", b"/v1/models"), (b"GET", b"/v1/models/id-%2F1")}
    assert {call for call in calls if not isinstance(match(*call), Route)} == served_here


def test_a_translating_dialect_passes_nothing_through() -> None:
    routes = Routes(translated=True, extra=("POST /v1/rerank",))
    for call in sdk_calls() | {(b"POST", b"/v1/rerank")}:
        found = routes.match(*call)
        first_class = call[1] in (b"/v1/chat/completions", b"/v1/embeddings", b"/v1/models", b"/v1/models/id-%2F1")
        if not first_class:
            assert isinstance(found, UnknownRoute), call
            assert "DIALECT=envelope" in found.message


def test_extra_routes_pass_with_their_methods() -> None:
    routes = Routes(extra=("POST /v1/rerank", "GET /v1/reports/*", "PUT /v1/files/*"))
    passing = [
        (b"POST", b"/v1/rerank", "json"),
        (b"GET", b"/v1/reports/a/b", "none"),
        (b"PUT", b"/v1/files/f-1", "json"),
        (b"GET", b"/v1/files/f-1", "none"),
    ]
    for method, path, body in passing:
        route = routes.match(method, path)
        assert isinstance(route, Route)
        assert (route.body, route.operation, route.suffix) == (body, "passthrough", path[3:])
    for method, path in ((b"POST", b"/v1/rerank/x"), (b"GET", b"/v1/reports"), (b"GET", b"/v1/reports/%2e%2e/x")):
        assert isinstance(routes.match(method, path), UnknownRoute)
    refusal = routes.match(b"PATCH", b"/v1/files/f-1")
    assert isinstance(refusal, MethodNotAllowed)
    assert refusal.allowed == "DELETE, GET, POST, PUT"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-4o", "/v1/models/org%2Fname", "/v1/models/org/name"])
def test_leaves_the_models_to_the_web_application(path: str) -> None:
    assert match(b"GET", path.encode()) is None


@pytest.mark.parametrize("path", ["/docs", "/docs/oauth2-redirect", "/openapi.json"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_leaves_its_own_documentation_to_the_web_application(method: str, path: str) -> None:
    assert match(method.encode(), path.encode()) is None


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/embeddings", "POST"),
        ("PUT", "/v1/chat/completions", "GET, POST"),
        ("HEAD", "/v1/chat/completions", "GET, POST"),
        ("HEAD", "/v1/files/f-1/content", "DELETE, GET, POST"),
        ("OPTIONS", "/v1/embeddings", "POST"),
        ("post", "/v1/embeddings", "POST"),
        ("PUT", "/v1/models/gpt-4o", "DELETE, GET, HEAD"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("GET", "/v1/realtime/sessions", "POST"),
        ("PATCH", "/v1/chat/completions/c-1", "DELETE, GET, POST"),
        ("GET", "/v1/completions", "POST"),
    ],
)
def test_names_the_methods_that_a_path_takes(method: str, path: str, allowed: str) -> None:
    refusal = match(method.encode(), path.encode())

    assert isinstance(refusal, MethodNotAllowed)
    assert refusal.allowed == allowed


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "*",
        "/v1",
        "/v1/",
        "/v2/chat/completions",
        "/v1/chat/completions/",
        "/v1/chat/completions/c-1/other",
        "/v1/Chat/completions",
        "/v1/chat%2Fcompletions",
        "/v1/embeddings/x",
        "/v1/moderations/x",
        "/v1/images",
        "/v1/audio",
        "/v1/realtime",
        "/v1/organization/users",
        "/v1/projects",
        "/v1/uploadsx",
        "/v1/files/",
        "/v1//files",
        "//v1/files",
        "/v1/files//content",
        "/v1/files/f-1/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_knows_nothing_beside_the_allow_list(method: str, path: str) -> None:
    assert isinstance(match(method.encode(), path.encode()), UnknownRoute)


@pytest.mark.parametrize(
    "below",
    [
        "..",
        ".",
        "../organization/users",
        "f-1/../../organization",
        "f-1/..",
        "%2e%2e/organization",
        "%2E%2e/organization",
        ".%2e/organization",
        "..%2forganization",
        "..%2Forganization",
        "x%2f..%2f..%2forganization",
        "..\\organization",
        "x\\..\\..\\organization",
        "..%5Corganization",
        "..;/organization",
        "..;a=b/organization",
        "%2e%2e;a/organization",
        "..%20/organization",
        "..%20",
        "..%00/organization",
        "..%09/x",
        ".%20.%2f..",
        "%252e%252e/organization",
        "%25252e%25252e/x",
        "%2525252525252e/x",
        "a%2f%2fb",
        "a%2F/b",
        "a/%2Fb",
        "a%252f%252fb",
        "a%2f",
        "a\\b",
        "a%5cb",
        "a%255Cb",
        "a%0d%0ab",
        "a%7fb",
        "%c0%ae%c0%ae/organization",
        "a%00b",
        "a#b",
        "a?b",
        "a b",
        "a\tb",
        "a\r\nb",
        "a\x00b",
        "a\x7fb",
    ],
)
@pytest.mark.parametrize("root", ["/v1/files/", "/v1/responses/", "/v1/models/"])
def test_refuses_a_path_that_a_server_may_read_as_another(root: str, below: str) -> None:
    assert isinstance(match(b"GET", (root + below).encode()), UnknownRoute)


@pytest.mark.parametrize(
    "name", ["a..b", "...", "..a", "a%2Eb", "a%252Fb", "100%25", "my%20model", ".%20.", "é".encode(), "a;b", "a%2Fb"]
)
def test_forwards_unusual_names_as_the_bytes_they_are(name: str | bytes) -> None:
    raw = name if isinstance(name, bytes) else name.encode()
    route = match(b"GET", b"/v1/files/" + raw + b"/content")

    assert isinstance(route, Route)
    assert route.suffix == b"/files/" + raw + b"/content"


@pytest.mark.parametrize(
    ("path", "meant", "hints"),
    [
        ("/chat/completions", "/v1/chat/completions", ["has to end in /v1"]),
        ("/embeddings", "/v1/embeddings", ["has to end in /v1"]),
        ("/models", "/v1/models", ["has to end in /v1"]),
        ("/files/f-1/content", "/v1/files/f-1/content", ["has to end in /v1"]),
        ("/v1/v1/chat/completions", "/v1/chat/completions", ["/v1 twice"]),
        ("/v1/v1/v1/responses", "/v1/responses", ["/v1 twice"]),
        ("/v1/chat/completions/", "/v1/chat/completions", ["off the end of the path"]),
        ("/v1/models/", "/v1/models", ["off the end of the path"]),
        ("/v1//chat/completions", "/v1/chat/completions", ["off the end of the SDK's base URL"]),
        ("//v1/files", "/v1/files", ["off the end of the SDK's base URL"]),
        ("//chat/completions/", "/v1/chat/completions", ["base URL", "end of the path", "has to end in /v1"]),
    ],
)
def test_says_what_to_change_in_a_path_that_is_nearly_right(path: str, meant: str, hints: list[str]) -> None:
    refusal = match(b"POST", path.encode())

    assert isinstance(refusal, UnknownRoute)
    assert f"Did you mean {meant}? " in refusal.message
    for hint in hints:
        assert hint in refusal.message


@pytest.mark.parametrize("path", ["/v1/v1/messages", "/messages", "/v1/nonsense/", "/v1/files/%2e%2e/", "/", "/v1/"])
def test_sends_nobody_to_another_path_that_is_not_served(path: str) -> None:
    refusal = match(b"POST", path.encode())

    assert isinstance(refusal, UnknownRoute)
    assert "Did you mean" not in refusal.message


def test_tells_the_client_for_azure_which_one_to_use() -> None:
    refusal = match(b"POST", b"/openai/deployments/gpt-4o/chat/completions")

    assert isinstance(refusal, UnknownRoute)
    assert "plain OpenAI client" in refusal.message


def test_shows_an_unknown_path_only_in_part_and_printable() -> None:
    refusal = match(b"GET", b"/v1/x\x1b[31m\xff\n" + b"y" * 5000)

    assert isinstance(refusal, UnknownRoute)
    assert refusal.message.isprintable()
    assert len(refusal.message) < 300
