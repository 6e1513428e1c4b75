import re

import pytest

from mimic_proxy.http.target import Base, operation_target, parse_base, read_extra_route


@pytest.mark.parametrize(
    ("url", "base", "host_field"),
    [
        ("https://api.example.com/v1", Base("https", "api.example.com", 443, b"/v1"), b"api.example.com"),
        ("https://api.example.com", Base("https", "api.example.com", 443), b"api.example.com"),
        ("http://backend:8080/", Base("http", "backend", 8080), b"backend:8080"),
        ("http://backend:80/v1//", Base("http", "backend", 80, b"/v1"), b"backend"),
        ("HTTPS://API.Example.com:8443/V1", Base("https", "api.example.com", 8443, b"/V1"), b"api.example.com:8443"),
        ("http://model_server.team.svc.", Base("http", "model_server.team.svc.", 80), b"model_server.team.svc."),
        ("http://127.0.0.1:18080/v1", Base("http", "127.0.0.1", 18080, b"/v1"), b"127.0.0.1:18080"),
        ("https://[2001:DB8::1]/v1", Base("https", "2001:db8::1", 443, b"/v1"), b"[2001:db8::1]"),
        ("http://[::1]:9000", Base("http", "::1", 9000), b"[::1]:9000"),
        (
            "https://x.example.com/a%2Fb?api-version=2024-10-21&k=v",
            Base("https", "x.example.com", 443, b"/a%2Fb", b"api-version=2024-10-21&k=v"),
            b"x.example.com",
        ),
    ],
)
def test_splits_a_base_url(url: str, base: Base, host_field: bytes) -> None:
    parsed = parse_base(url)

    assert parsed == base
    assert parsed.query == base.query
    assert parsed.host_field == host_field
    assert parsed.origin == (base.scheme, base.host, base.port)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "is empty"),
        ("api.example.com/v1", "http:// or https://"),
        ("localhost:8000", "http:// or https://"),
        ("ftp://example.com", "http:// or https://"),
        ("https://", "names no host"),
        ("https:///v1", "names no host"),
        ("https://:443/v1", "names no host"),
        ("https://user:hunter2@example.com/v1", "user name or password"),
        ("https://hunter2@example.com/v1", "user name or password"),
        ("https://example.com/v1#hunter2", "fragment"),
        ("https://example.com/hunter2 v1", "control character at position 28"),
        (" https://example.com/hunter2", "control character at position 1"),
        ("https://example.com/hunter2\r\nx: y", "control character"),
        ("https://example.com/hunter2\x7f", "control character"),
        ("https://example.com/{hunter2}", "percent-encode"),
        ("https://example.com/hünter2", "percent-encode"),
        ("https://exa%6Dple.com/hunter2", "neither a DNS name nor an address"),
        ("https://-example.com/hunter2", "neither a DNS name nor an address"),
        ("https://example..com/hunter2", "neither a DNS name nor an address"),
        (f"https://{'a.' * 127}com/hunter2", "neither a DNS name nor an address"),
        ("https://[::1%25eth0]/hunter2", "IPv6"),
        ("https://[::zz]/hunter2", "IPv6"),
        ("https://[::1/hunter2", "IPv6"),
        ("https://[::1]junk/hunter2", "IPv6"),
        ("https://example.com:0/hunter2", "port"),
        ("https://example.com:65536/hunter2", "port"),
        ("https://example.com:-1/hunter2", "port"),
        ("https://example.com:+1/hunter2", "port"),
        ("https://example.com:hunter2", "port"),
        (f"https://example.com:{'9' * 5000}/hunter2", "port"),
    ],
)
def test_refuses_a_url_that_is_no_base_and_does_not_show_it(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refusal:
        parse_base(url)

    assert "hunter2" not in str(refusal.value)


def test_keeps_the_query_of_a_base_out_of_its_repr() -> None:
    assert "hunter2" not in repr(parse_base("https://example.com/v1?key=hunter2"))


@pytest.mark.parametrize(
    ("url", "suffix", "query", "target"),
    [
        ("http://b/v1", b"/chat/completions", b"", b"/v1/chat/completions"),
        ("http://b", b"/chat/completions", b"", b"/chat/completions"),
        ("http://b/v1/chat/completions", b"/chat/completions", b"", b"/v1/chat/completions"),
        ("http://b/v1/chat/completions/", b"/chat/completions", b"", b"/v1/chat/completions"),
        ("http://b/v1/chat/completions", b"/models", b"", b"/v1/models"),
        ("http://b/v1/chat/completions", b"/models/org%2Fname", b"", b"/v1/models/org%2Fname"),
        ("http://b/v1/chat/completions", b"/responses", b"", b"/v1/responses"),
        ("http://b/v1/chat/completions", b"/chat/completions/id/messages", b"", b"/v1/chat/completions/id/messages"),
        ("http://b/v1/embeddings", b"/embeddings", b"", b"/v1/embeddings"),
        ("http://b/v1", b"/models", b"limit=2&after=a%20b", b"/v1/models?limit=2&after=a%20b"),
        ("http://b/v1?api-version=1", b"/embeddings", b"", b"/v1/embeddings?api-version=1"),
        ("http://b/v1?api-version=1", b"/embeddings", b"api-version=2", b"/v1/embeddings?api-version=1&api-version=2"),
    ],
)
def test_puts_an_operation_below_its_base(url: str, suffix: bytes, query: bytes, target: bytes) -> None:
    assert operation_target(parse_base(url), suffix, query) == target


def test_does_not_take_chat_completions_for_the_older_completions() -> None:
    base = parse_base("http://b/v1/chat/completions")

    assert operation_target(base, b"/completions", b"") == b"/v1/completions"


def test_a_base_that_happens_to_end_like_a_passed_through_path_is_still_a_base() -> None:
    assert operation_target(parse_base("http://b/files"), b"/files", b"") == b"/files/files"


def test_forwards_the_bytes_of_path_and_query_as_they_came() -> None:
    target = operation_target(parse_base("http://b/v1"), b"/files/a%2fB%C3%A9;v=1", b"x=%2F&&y=+&z=\xc3\xa9")

    assert target == b"/v1/files/a%2fB%C3%A9;v=1?x=%2F&&y=+&z=\xc3\xa9"


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ("POST /v1/rerank", ("POST", "/v1/rerank", False)),
        ("GET /v1/reports/*", ("GET", "/v1/reports", True)),
        ("PATCH /v1/a.b/c-d_e~f", ("PATCH", "/v1/a.b/c-d_e~f", False)),
    ],
)
def test_reads_an_extra_route(entry: str, read: tuple[str, str, bool]) -> None:
    assert read_extra_route(entry) == read


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "/v1/rerank",
        "POST rerank",
        "POST /rerank",
        "POST /v1",
        "POST /v1/*",
        "post /v1/rerank",
        "HEAD /v1/rerank",
        "POST /v1/../admin",
        "POST /v1/./x",
        "POST /v1//x",
        "POST /v1/x/",
        "POST /v1/%2e",
        "POST /v1/a*",
        "POST  /v1/a",
    ],
)
def test_refuses_what_is_no_extra_route(entry: str) -> None:
    with pytest.raises(ValueError, match="must be routes separated by commas"):
        read_extra_route(entry)
