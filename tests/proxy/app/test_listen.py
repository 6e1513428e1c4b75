"""The sockets that Mimic listens on: both families, one port, and words for what is in the way."""

import errno
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from mimic_proxy.app import running as listen
from mimic_proxy.app.running import CannotListen, bind

Bind = Callable[..., list[socket.socket]]


@pytest.fixture
def bound() -> Iterator[Bind]:
    """`bind`, with everything closed in the end."""
    made: list[socket.socket] = []

    def run(*hosts: str, port: int = 0) -> list[socket.socket]:
        sockets = bind(hosts, port, "PORT")
        made.extend(sockets)
        return sockets

    yield run
    for one in made:
        one.close()


def has_ipv6() -> bool:
    try:
        with closing(socket.socket(socket.AF_INET6)) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


class Failing:
    """Stands for `_bind_one`: fails for the hosts it is told, binds the others."""

    def __init__(self, **errors: OSError) -> None:
        self.errors = errors
        self.made: list[socket.socket] = []
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> list[socket.socket]:
        self.asked.append((host, port))
        if host in self.errors:
            raise self.errors[host]
        made = socket.socket()
        made.bind(("127.0.0.1", port))
        self.made.append(made)
        return [made]


def port_of(one: socket.socket) -> int:
    number: int = one.getsockname()[1]
    return number


def test_a_free_port_is_taken_and_told(bound: Bind) -> None:
    (one,) = bound("127.0.0.1")
    assert port_of(one) > 0
    assert one.gettimeout() == 0.0, "the event loop wants it non-blocking"
    one.listen()
    with closing(socket.create_connection(one.getsockname())):
        pass


def test_the_port_that_was_asked_for(bound: Bind) -> None:
    (probe,) = bound("127.0.0.1")
    port = port_of(probe)
    probe.close()
    assert port_of(bound("127.0.0.1", port=port)[0]) == port


@needs_ipv6
def test_a_free_port_is_the_same_for_all_addresses(bound: Bind) -> None:
    four, six = bound("127.0.0.1", "::1")
    assert (four.family, six.family) == (socket.AF_INET, socket.AF_INET6)
    assert port_of(four) == port_of(six)
    assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_a_port_that_is_taken_says_so_and_names_the_setting(bound: Bind) -> None:
    (taken,) = bound("127.0.0.1")
    taken.listen()
    with pytest.raises(CannotListen, match=rf"127\.0\.0\.1 port {port_of(taken)}.*another Mimic.*PORT sets"):
        bound("127.0.0.1", port=port_of(taken))


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
def test_a_family_that_the_machine_lacks_is_passed_over_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int, bound: Bind
) -> None:
    failing = Failing(**{"::1": OSError(number, "not here")})
    monkeypatch.setattr(listen, "_bind_one", failing)
    with caplog.at_level(logging.WARNING, "mimic"):
        assert bound("127.0.0.1", "::1") == failing.made
    assert [record.getMessage() for record in caplog.records] == ["Not listening on ::1 (not here)"]


def test_a_name_that_does_not_resolve_is_passed_over_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, bound: Bind
) -> None:
    def getaddrinfo(host: str, *given: Any, **how: Any) -> Any:
        if host == "nowhere.test":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with caplog.at_level(logging.WARNING, "mimic"):
        assert len(bound("nowhere.test", "127.0.0.1")) == 1
    assert "nowhere.test" in caplog.text


def test_no_address_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch, bound: Bind) -> None:
    missing = OSError(errno.EADDRNOTAVAIL, "not here")
    monkeypatch.setattr(listen, "_bind_one", Failing(**{"::1": missing, "::2": missing}))
    with pytest.raises(CannotListen, match=r"::1 \(not here\), ::2 \(not here\)"):
        bound("::1", "::2")


def test_what_was_bound_before_a_failure_is_closed(monkeypatch: pytest.MonkeyPatch, bound: Bind) -> None:
    failing = Failing(**{"10.0.0.1": OSError(errno.EACCES, "Permission denied")})
    monkeypatch.setattr(listen, "_bind_one", failing)
    with pytest.raises(CannotListen, match="Permission denied") as raised:
        bound("127.0.0.1", "10.0.0.1")
    assert "another Mimic" not in str(raised.value)
    assert [one.fileno() for one in failing.made] == [-1]


def test_a_free_port_that_the_second_address_has_taken_is_told_with_its_number(
    monkeypatch: pytest.MonkeyPatch, bound: Bind
) -> None:
    failing = Failing(**{"::1": OSError(errno.EADDRINUSE, "Address already in use")})
    monkeypatch.setattr(listen, "_bind_one", failing)
    with pytest.raises(CannotListen) as raised:
        bound("127.0.0.1", "::1")
    assert failing.asked[1][1] != 0
    assert f"port {failing.asked[1][1]}" in str(raised.value)
