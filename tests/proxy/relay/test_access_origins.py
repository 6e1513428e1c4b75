import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimic_proxy.relay.access import OriginPolicy, judge

STRICT = OriginPolicy((), ())


def code(host: bytes | None, origin: bytes | None, policy: OriginPolicy = STRICT) -> str | None:
    refusal = judge(host, origin, policy)
    return None if refusal is None else refusal.code


@pytest.mark.parametrize(
    "host",
    [
        None,
        b"localhost",
        b"localhost:8000",
        b"LocalHost:8000",
        b"localhost.:8000",
        b"app.localhost:8000",
        b"127.0.0.1",
        b"127.0.0.1:8000",
        b"127.255.255.254:1",
        b"[::1]",
        b"[::1]:8000",
        b"[0:0:0:0:0:0:0:1]:8000",
        b"[::ffff:127.0.0.1]:8000",
    ],
)
def test_accepts_loopback_names_and_addresses_with_any_port(host: bytes | None) -> None:
    assert code(host, None) is None


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b":8000",
        b"evil.example",
        b"localhost.evil.example:8000",
        b"evillocalhost",
        b"127.0.0.1.evil.example",
        b"127.0.0.1.nip.io:8000",
        b"0.0.0.0:8000",
        b"10.0.0.7:8000",
        b"127.1",
        b"0x7f.0.0.1",
        b"2130706433",
        b"0177.0.0.1",
        b"127.0.0.1:80:90",
        b"localhost:port",
        b"localhost:8000@evil.example",
        b"::1",
        b"[::1",
        b"[::2]:8000",
        b"[fe80::1%25lo]:8000",
        b"[127.0.0.1]:8000",
        b"localhost:\xb2",
        b"\xff\xfe",
        b"x" * 60_000,
    ],
)
def test_refuses_hosts_that_somebodys_dns_may_have_led_here(host: bytes) -> None:
    assert code(host, None) == "forbidden_host"


@pytest.mark.parametrize(
    ("host", "allowed", "expected"),
    [
        (b"mimic.team.svc:8000", ("mimic.team.svc",), None),
        (b"Mimic.Team.SVC", ("mimic.team.svc",), None),
        (b"mimic.team.svc", ("Mimic.Team.svc",), None),
        (b"mimic.team.svc.:8000", ("mimic.team.svc",), None),
        (b"mimic.team.svc:8000", ("mimic.team.svc:8000",), None),
        (b"mimic.team.svc:9000", ("mimic.team.svc:8000",), "forbidden_host"),
        (b"a.mimic.team.svc", ("mimic.team.svc",), "forbidden_host"),
        (b"10.1.2.3:8001", ("10.1.2.3",), None),
        (b"[fd00::7]:8001", ("[fd00::7]",), None),
        (b"[fd00::7]:8001", ("fd00::7",), None),
        (b"anything.example", ("*",), None),
        (b"x" * 60_000, ("*",), "forbidden_host"),
        (b"localhost:8000", ("mimic.team.svc",), None),
    ],
)
def test_accepts_hosts_that_are_allowed_by_name(host: bytes, allowed: tuple[str, ...], expected: str | None) -> None:
    assert code(host, None, OriginPolicy(allowed, ())) == expected


@pytest.mark.parametrize(
    ("origin", "allowed", "expected"),
    [
        (b"https://app.example.com", (), "forbidden_origin"),
        (b"http://localhost:8000", (), "forbidden_origin"),
        (b"null", (), "forbidden_origin"),
        (b"", (), "forbidden_origin"),
        (b"https://app.example.com", ("https://app.example.com",), None),
        (b"HTTPS://App.Example.com", ("https://app.example.com",), None),
        (b"https://app.example.com:444", ("https://app.example.com",), "forbidden_origin"),
        (b"http://app.example.com", ("https://app.example.com",), "forbidden_origin"),
        (b"https://app.example.com.evil", ("https://app.example.com",), "forbidden_origin"),
        (b"null", ("https://app.example.com",), "forbidden_origin"),
        (b"null", ("null",), None),
        (b"null", ("*",), None),
        (b"https://any.example", ("*",), None),
    ],
)
def test_accepts_only_origins_that_are_allowed(origin: bytes, allowed: tuple[str, ...], expected: str | None) -> None:
    assert code(b"localhost:8000", origin, OriginPolicy((), allowed)) == expected


def test_an_allowed_origin_does_not_allow_a_foreign_host() -> None:
    assert code(b"evil.example", b"https://a.example", OriginPolicy((), ("https://a.example",))) == "forbidden_host"


def test_says_which_setting_lets_a_request_in() -> None:
    by_origin = judge(b"localhost", b"https://a.example", STRICT)
    by_host = judge(b"a.example", None, STRICT)

    assert by_origin is not None
    assert "ALLOWED_ORIGINS" in by_origin.message
    assert by_host is not None
    assert "ALLOWED_HOSTS" in by_host.message


@settings(max_examples=200)
@given(st.binary(max_size=30) | st.text("01.:[]%localhst", max_size=20).map(str.encode))
def test_judges_any_bytes_without_an_error(host: bytes) -> None:
    assert code(host, None) in (None, "forbidden_host")
    assert code(host, host) == "forbidden_origin"
