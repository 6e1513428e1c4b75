"""The admin port: probes, metrics, the redacted configuration, the stop, and who may ask for them."""

import gzip
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from fakes.readings import made
from mimic_proxy.settings.fields import Settings, load, redacted
from mimic_proxy.web.admin import AdminState, create_admin

SECRET = "s3cr3t"
ENVIRON = {
    "CHAT_API_URL": "https://models.example.com/v1",
    "EMBEDDING_API_URL": "https://models.example.com/v1",
    "TOKEN_URL": "https://auth.example.com",
    "AUTH_CODE": SECRET,
}
POD = "10.1.2.3"
PROBES = ["/livez", "/readyz", "/metrics"]
LOCAL = ["/", "/status", "/config"]


@dataclass
class Process:
    """Stands for the running Mimic."""

    conditions: list[tuple[str, bool, str]] = field(default_factory=lambda: [("config", True, ""), ("token", True, "")])
    secrets: list[dict[str, str | None]] = field(default_factory=list)
    stops: int = 0
    refreshes: int = 0
    settled: int = 0

    def status(self) -> bytes:
        return b'{"settled":%d}' % self.settled

    def settle(self) -> None:
        self.settled += 1

    def request_stop(self) -> None:
        self.stops += 1

    def refresh(self) -> None:
        self.refreshes += 1

    def admin(self, settings: Settings) -> Any:
        state = AdminState(
            lambda: self.conditions,
            self.request_stop,
            made().registry,
            self.status,
            config=lambda: redacted(settings),
            secrets=lambda: self.secrets,
            refresh=self.refresh,
            settle=self.settle,
        )
        return create_admin(state, settings)

    async def ask(
        self,
        path: str,
        method: str = "GET",
        *,
        peer: str = "127.0.0.1",
        at: str = "127.0.0.1",
        more: Any = (),
        **head: str,
    ) -> httpx2.Response:
        """One request from the address `peer` to the address `at`; `more` are settings, `head` header fields."""
        transport = httpx2.ASGITransport(self.admin(load({**ENVIRON, **dict(more)})), client=(peer, 50000))
        place = f"[{at}]" if ":" in at else at
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{place}:8001") as client:
            return await client.request(method, path, headers=head)


@pytest.fixture
def process() -> Process:
    return Process()


async def test_alive_is_who_answers(process: Process):
    process.conditions = [("token", False, "the token service is down")]
    assert (await process.ask("/livez")).status_code == 200


async def test_ready_when_all_conditions_hold(process: Process):
    got = await process.ask("/readyz")
    assert got.status_code == 200
    assert got.json() == {
        "ready": True,
        "conditions": [
            {"name": "config", "ok": True, "reason": None},
            {"name": "token", "ok": True, "reason": None},
        ],
        "secrets": [],
    }


async def test_ready_names_the_secret_that_is_missing(process: Process):
    """The operator, which reads no Secret, has it from here: also of a secret whose last value is still in use."""
    process.secrets = [{"name": "AUTH_CODE", "file": "/run/code", "problem": "missing"}]
    got = await process.ask("/readyz")
    assert (got.status_code, got.json()["secrets"]) == (200, process.secrets)


async def test_not_ready_says_why(process: Process):
    process.conditions[1] = ("token", False, "AUTH_CODE_FILE: /run/code does not exist.")
    got = await process.ask("/readyz")
    assert got.status_code == 503
    assert got.json()["ready"] is False
    assert got.json()["conditions"][1] == {
        "name": "token",
        "ok": False,
        "reason": "AUTH_CODE_FILE: /run/code does not exist.",
    }


@pytest.mark.parametrize("path", PROBES)
async def test_probes_take_head_requests(process: Process, path: str):
    got = await process.ask(path, "HEAD")
    assert got.status_code == 200


async def test_metrics_are_plain_text_unless_openmetrics_is_asked_for(process: Process):
    got = await process.ask("/metrics")
    assert got.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "mimic_build_info" in got.text
    got = await process.ask("/metrics", accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert got.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert "mimic_requests" in {family.name for family in parse_openmetrics(got.text)}


async def test_metrics_are_compressed_for_who_takes_it(process: Process):
    transport = httpx2.ASGITransport(process.admin(load(ENVIRON)), client=("127.0.0.1", 1))
    async with (
        httpx2.AsyncClient(transport=transport, base_url="http://localhost:8001") as client,
        client.stream("GET", "/metrics", headers={"accept-encoding": "deflate, gzip;q=0.8"}) as got,
    ):
        raw = b"".join([chunk async for chunk in got.aiter_raw()])
    assert got.headers["content-encoding"] == "gzip"
    assert b"mimic_build_info" in gzip.decompress(raw)
    assert "content-encoding" not in (await process.ask("/metrics", **{"accept-encoding": "identity"})).headers


async def test_the_configuration_is_shown_without_secrets(process: Process):
    got = await process.ask("/config", more={"HTTP_PROXY": f"http://u:{SECRET}@proxy:3128"})
    assert got.status_code == 200
    shown = got.json()
    assert (shown["CHAT_API_URL"], shown["AUTH_CODE"], shown["PORT"]) == (ENVIRON["CHAT_API_URL"], "(set)", 8000)
    assert SECRET not in got.text


async def test_the_status_page_is_one_document_with_a_strict_policy(process: Process):
    got = await process.ask("/")
    assert (got.status_code, got.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert got.text.startswith("<!doctype html>")
    assert "default-src 'none'" in got.headers["content-security-policy"]
    assert "unsafe" not in got.headers["content-security-policy"]
    assert got.headers["cross-origin-resource-policy"] == "same-origin"
    assert got.headers["cache-control"] == "no-store"


async def test_the_status_counts_what_is_not_counted_yet(process: Process):
    got = await process.ask("/status")
    assert (got.status_code, got.headers["content-type"], got.json()) == (200, "application/json", {"settled": 1})
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["cache-control"] == "no-store"


async def test_quit_begins_the_stop_and_says_how_long_it_may_take(process: Process):
    got = await process.ask("/quit", "POST", more={"DRAIN_DELAY": "2", "DRAIN_TIMEOUT": "10"})
    assert (got.status_code, process.stops) == (202, 1)
    assert got.json() == {"stopping": True, "within_seconds": 17}


async def test_refresh_requests_another_token(process: Process):
    got = await process.ask("/refresh", "POST")
    assert (got.status_code, got.json(), process.refreshes) == (202, {"refreshing": True}, 1)


async def test_quit_without_a_drain_limit_promises_no_time(process: Process):
    assert (await process.ask("/quit", "POST", more={"DRAIN_TIMEOUT": "0"})).json()["within_seconds"] is None


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
async def test_this_machine_may_see_the_configuration_and_stop(process: Process, peer: str):
    for path in LOCAL:
        assert (await process.ask(path, peer=peer)).status_code == 200
    assert (await process.ask("/quit", "POST", peer=peer)).status_code == 202


@pytest.mark.parametrize("peer", ["10.9.9.9", "fd00::9", "::ffff:10.9.9.9", "unix"])
async def test_others_may_not(process: Process, peer: str):
    for method, path in (*(("GET", path) for path in LOCAL), ("POST", "/quit"), ("POST", "/refresh")):
        got = await process.ask(path, method, peer=peer, at=POD)
        assert (got.status_code, got.json()["error"]["code"]) == (403, "loopback_only")
    assert (process.stops, process.refreshes) == (0, 0)


@pytest.mark.parametrize("path", PROBES)
@pytest.mark.parametrize("at", [POD, "fd00::3"])
async def test_a_probe_reaches_the_pods_own_address(process: Process, path: str, at: str):
    assert (await process.ask(path, peer="10.9.9.9", at=at)).status_code == 200


@pytest.mark.parametrize("host", ["evil.example.com", "10.6.6.6:8001", "localhost.evil.example.com"])
async def test_a_foreign_host_is_refused(process: Process, host: str):
    for method, path in (*(("GET", path) for path in (*PROBES, *LOCAL)), ("POST", "/quit"), ("POST", "/refresh")):
        got = await process.ask(path, method, host=host)
        assert (got.status_code, got.json()["error"]["code"]) == (403, "forbidden_host")
    assert (process.stops, process.refreshes) == (0, 0)


@pytest.mark.parametrize("at", [POD, "fd00::3", "::ffff:10.1.2.3"])
async def test_probes_and_metrics_of_a_pod_may_be_asked_for_by_any_name_and_nothing_else_may(process: Process, at: str):
    for path in PROBES:
        assert (await process.ask(path, peer="10.9.9.9", at=at, host="10.250.0.1:6443")).status_code == 200
        got = await process.ask(path, peer="10.9.9.9", at=at, host="a.example.com", origin="http://a.example.com")
        assert (got.status_code, got.json()["error"]["code"]) == (403, "forbidden_origin")
    for path in LOCAL:
        got = await process.ask(path, at=at, host="evil.example.com")
        assert (got.status_code, got.json()["error"]["code"]) == (403, "forbidden_host")


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", "http://localhost:8001"])
async def test_a_web_page_is_refused(process: Process, origin: str):
    got = await process.ask("/quit", "POST", origin=origin)
    assert (got.status_code, got.json()["error"]["code"]) == (403, "forbidden_origin")
    assert (process.stops, process.refreshes) == (0, 0)


async def test_allowed_hosts_and_origins_hold_on_the_admin_port_too(process: Process):
    allowed = {"ALLOWED_HOSTS": "mimic.team.svc", "ALLOWED_ORIGINS": "https://ops.example.com"}
    got = await process.ask("/readyz", more=allowed, host="mimic.team.svc:8001", origin="https://ops.example.com")
    assert got.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/", 405, "method_not_allowed"),
        ("GET", "/index.html", 404, "unknown_route"),
        ("GET", "/docs", 404, "unknown_route"),
        ("GET", "/openapi.json", 404, "unknown_route"),
        ("POST", "/v1/chat/completions", 404, "unknown_route"),
        ("GET", "/quit", 405, "method_not_allowed"),
        ("POST", "/config", 405, "method_not_allowed"),
    ],
)
async def test_other_paths_and_methods_get_errors_in_the_one_shape(
    process: Process, method: str, path: str, status: int, code: str
):
    got = await process.ask(path, method)
    assert got.status_code == status
    assert set(got.json()["error"]) == {"message", "type", "param", "code"}
    assert got.json()["error"]["code"] == code
    assert ("allow" in got.headers) is (status == 405)


@pytest.mark.parametrize("path", LOCAL)
@pytest.mark.parametrize(
    ("networks", "peer", "status"),
    [
        ("", "172.17.0.1", 403),
        ("172.17.0.1", "172.17.0.1", 200),
        ("172.16.0.0/12, fd00::/8", "172.17.0.1", 200),
        ("172.16.0.0/12, fd00::/8", "fd00::1", 200),
        ("172.16.0.0/12", "::ffff:172.17.0.1", 200),
        ("172.16.0.0/12", "10.0.0.1", 403),
        ("10.0.0.1", "not-an-address", 403),
    ],
)
async def test_networks_may_be_let_in_to_look(process: Process, path: str, networks: str, peer: str, status: int):
    """Through the published port of a container a browser on the same machine comes from another address."""
    got = await process.ask(path, peer=peer, at="172.17.0.2", more={"STATUS_NETWORKS": networks}, host="localhost:8001")
    assert got.status_code == status
    if status == 403:
        assert got.json()["error"]["code"] == "loopback_only"
        assert f"STATUS_NETWORKS={peer}" in got.json()["error"]["message"]


async def test_who_may_look_may_not_stop(process: Process):
    got = await process.ask(
        "/quit", "POST", peer="172.17.0.1", at="172.17.0.2", more={"STATUS_NETWORKS": "172.17.0.1"}, host="localhost"
    )
    assert (got.status_code, process.stops) == (403, 0)
