"""Which proxy an origin is reached through, by tables."""

import pytest

from mimic_proxy.http.target import parse_base
from mimic_proxy.relay.dial import ForwardProxy, bypasses, forward_proxy

HTTP, HTTPS = "http://plain.proxy:3128", "http://user:p%40ss@secure.proxy"


def proxy_for(url: str, *no_proxy: str, http: str | None = HTTP, https: str | None = HTTPS) -> ForwardProxy | None:
    return forward_proxy(parse_base(url), http_proxy=http, https_proxy=https, no_proxy=no_proxy)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://models.example", ForwardProxy("plain.proxy", 3128)),
        ("https://models.example", ForwardProxy("secure.proxy", 80, "user:p@ss")),
        ("http://localhost:9000", None),
        ("https://127.0.0.1", None),
        ("http://127.8.8.8", None),
        ("http://[::1]:9000", None),
    ],
)
def test_the_scheme_chooses_the_proxy_and_loopback_needs_none(url: str, expected: ForwardProxy | None) -> None:
    assert proxy_for(url) == expected


@pytest.mark.parametrize(
    ("url", "http", "https"), [("http://models.example", None, HTTPS), ("https://models.example", HTTP, None)]
)
def test_no_proxy_for_the_scheme_is_a_direct_way(url: str, http: str | None, https: str | None) -> None:
    assert proxy_for(url, http=http, https=https) is None


@pytest.mark.parametrize("url", ["plain.proxy:3128", "http://plain.proxy:3128/"])
def test_a_proxy_may_be_written_short(url: str) -> None:
    assert proxy_for("http://models.example", http=url) == ForwardProxy("plain.proxy", 3128)


@pytest.mark.parametrize(
    ("value", "credentials"),
    [
        ("http://user@p:1", "user:"),
        ("http://user:@p:1", "user:"),
        ("http://p:1", None),
        ("http://a%3Ab:c@p:1", "a:b:c"),
    ],
)
def test_credentials_are_decoded(value: str, credentials: str | None) -> None:
    assert proxy_for("http://models.example", http=value) == ForwardProxy("p", 1, credentials)


def test_credentials_are_not_shown() -> None:
    assert "p@ss" not in repr(proxy_for("https://models.example"))


@pytest.mark.parametrize(
    ("host", "port", "entry", "expected"),
    [
        ("models.example", 443, "models.example", True),
        ("models.example", 443, "MODELS.example", True),
        ("models.example", 443, ".example", True),
        ("models.example", 443, "*.example", True),
        ("models.example", 443, "example", True),
        ("models.example", 443, " example ", True),
        ("models.example", 443, "ample", False),
        ("models.example", 443, "other.example", False),
        ("models.example", 443, "*", True),
        ("models.example", 443, "", False),
        ("models.example", 443, "models.example:443", True),
        ("models.example", 443, "models.example:80", False),
        ("10.1.2.3", 80, "10.1.2.3", True),
        ("10.1.2.3", 80, "10.1.2.3:80", True),
        ("10.1.2.3", 80, "10.1.2.3:81", False),
        ("10.1.2.3", 80, "10.0.0.0/8", True),
        ("10.1.2.3", 80, "10.1.2.3/24", True),
        ("11.1.2.3", 80, "10.0.0.0/8", False),
        ("10.1.2.3", 80, "1.2.3", False),
        ("10.1.2.3", 80, "nonsense/8", False),
        ("models.example", 80, "10.0.0.0/8", False),
        ("2001:db8::1", 80, "2001:db8::1", True),
        ("2001:db8::1", 80, "[2001:db8::1]", True),
        ("2001:db8::1", 80, "[2001:db8:0::1]:80", True),
        ("2001:db8::1", 80, "[2001:db8::1]:81", False),
        ("2001:db8::1", 80, "2001:db8::/32", True),
        ("2001:db9::1", 80, "2001:db8::/32", False),
    ],
)
def test_no_proxy_is_read_as_curl_and_python_read_it(host: str, port: int, entry: str, expected: bool) -> None:
    assert bypasses(host, port, ["unrelated.example", entry]) is expected
    assert proxy_for(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", entry) == (
        None if expected else ForwardProxy("plain.proxy", 3128)
    )
