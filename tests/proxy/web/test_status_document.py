"""What the status page is told: the whole process in one small document without a secret."""

import json
from typing import Any

import pytest

from fakes.circumstances import CONDITIONS, HELD, token
from fakes.observations import exchange, refresh
from fakes.replies import delta
from fakes.world import World
from mimic_proxy.relay.admission import Breaker, Slots
from mimic_proxy.settings.fields import load
from mimic_proxy.telemetry.history import BUCKETS, EXCHANGES_KEPT, LONGEST_TEXT, EndedExchange, History
from mimic_proxy.telemetry.port import TokenState
from mimic_proxy.web.status import OLDEST_SHOWN, Watched, encoded, example_model

SECRET = "s3cr3t"
ENVIRON = {
    "CHAT_API_URL": "https://models.example.com/v1",
    "EMBEDDING_API_URL": "https://models.example.com/v1",
    "TOKEN_URL": "https://auth.example.com",
    "AUTH_CODE": SECRET,
    "MAX_CONCURRENCY": "8",
}
AHEAD = 1_700_000_000.0
"""Of the wall clock before the monotonic one."""


class Process:
    """A proxy whose parts are in the test's hand."""

    def __init__(self, world: World, *, held: TokenState = HELD, **settings: str) -> None:
        self.history = History()
        found = load({**ENVIRON, **settings})
        self.watched = Watched(
            version="1.2.3",
            started=AHEAD,
            settings=lambda: found,
            services=lambda: world.services,
            conditions=lambda: CONDITIONS,
            token=lambda: held,
            history=self.history,
            api_port=8123,
            clock=world.clock,
            wall=lambda: AHEAD + world.clock(),
        )

    def status(self) -> Any:
        return json.loads(encoded(self.watched))


def kept(model: str | None, **seen: object) -> EndedExchange:
    history = History()
    history.exchange(exchange(model=model, **seen))
    return history.exchanges[0]


def test_a_quiet_process():
    status = Process(World()).status()
    assert (status["version"], status["ready"], status["started"]) == ("1.2.3", True, AHEAD)
    assert status["api"] == {"port": 8123, "tls": False, "model": None}
    assert status["findings"][0]["sentence"] == "Ready, and no calls in the last 5 minutes"
    assert status["live"]["exchanges"] == status["lately"]["calls"] == 0
    assert [len(status["plots"][name]) for name in ("calls", "failures", "p50", "p95", "first_p95")] == [BUCKETS] * 5


def test_the_hosts_of_the_services_are_told_and_nothing_else_of_their_urls():
    urls = {
        "CHAT_API_URL": "https://models.example.com/v1?api-key=s3cr3t",
        "EMBEDDING_API_URL": "http://vectors.example.com:8080/v1",
    }
    assert Process(World(), **urls).status()["places"] == {
        "backend": "models.example.com:443 and vectors.example.com:8080",
        "token_service": "auth.example.com:443",
    }
    fixed = Process(World(), GRANT="static", ACCESS_TOKEN="t", TOKEN_URL="").status()["places"]
    assert fixed == {"backend": "models.example.com:443", "token_service": None}


def test_moments_are_told_as_the_wall_clock_shows_them():
    world = World()
    process = Process(world)
    now = world.clock()
    process.history.exchange(exchange(started=now - 3, duration_seconds=1, outcome="timeout", status=504))
    process.history.refresh(refresh(started=now - 9, result="rejected", status=401))
    status = process.status()
    assert status["now"] == AHEAD + now
    assert status["exchanges"][0]["ended"] == status["failures"][0]["ended"] == AHEAD + now - 2
    assert status["token"]["failing_since"] == status["token"]["refreshes"][0]["started"] == AHEAD + now - 9


def test_the_youngest_stand_first():
    process = Process(World())
    for number in range(3):
        process.history.exchange(exchange(request_id=f"req-{number}"))
        process.history.refresh(refresh(duration_seconds=float(number)))
    status = process.status()
    assert [shown["request_id"] for shown in status["exchanges"]] == ["req-2", "req-1", "req-0"]
    assert [shown["duration_seconds"] for shown in status["token"]["refreshes"]] == [2, 1, 0]


def test_the_token_is_told_about_without_its_value():
    told = Process(World(), held=token(waiters=4, trouble="It is late.")).status()["token"]
    assert set(told) == {
        "required",
        "held",
        "generation",
        "issued",
        "expires",
        "lifetime_seconds",
        "next_refresh",
        "in_flight",
        "waiters",
        "coalesced",
        "last_result",
        "consecutive_failures",
        "trouble",
        "failing_since",
        "refreshes",
    }
    assert (told["waiters"], told["trouble"]) == (4, "It is late.")


def test_what_runs_is_counted_and_the_oldest_told():
    world = World(kept=20)
    process = Process(world)
    stream = world.streaming(delta("one"))
    world.clock.now += 2
    waiting = [world.call() for _ in range(OLDEST_SHOWN)]
    embedding = world.call(b'{"model":"e","input":"x"}', b"/v1/embeddings")
    live = process.status()["live"]
    assert (live["exchanges"], live["streams"]) == (12, 1)
    assert live["operations"] == {"chat": 11, "embeddings": 1}
    oldest = live["oldest"]
    assert len(oldest) == OLDEST_SHOWN
    assert oldest[0]["request_id"] == stream.exchange.response.request_id.decode()
    assert (oldest[0]["model"], oldest[0]["stream"], oldest[0]["age_seconds"]) == ("m", True, 2)
    assert (oldest[0]["waits_for"], oldest[1]["waits_for"]) == ("the end of the response", "the backend")
    for call in (stream, *waiting, embedding):
        call.leave()
    assert process.status()["live"]["exchanges"] == 0


def test_slots_queue_and_breaker():
    breaker = Breaker(1, 30.0)
    world = World(kept=9, services={"slots": Slots(8, 4), "breaker": breaker})
    process = Process(world, BREAKER_FAILURES="1", MAX_QUEUE="4")
    calls = [world.call() for _ in range(9)]
    breaker.failed(world.clock())
    status = process.status()
    assert status["live"]["slots"] == {"in_use": 8, "limit": 8}
    assert status["live"]["queue"] == {"waiting": 1, "limit": 4}
    assert status["live"]["breaker"] == "open"
    assert {finding["party"] for finding in status["findings"]} == {"backend", "mimic"}
    assert Process(world).status()["live"]["breaker"] == "off"
    for call in calls:
        call.leave()


def test_no_secret_and_nothing_long_is_told():
    world = World()
    process = Process(world)
    hostile = "<script>alert(1)</script>" + "m" * 100_000
    for _ in range(2 * EXCHANGES_KEPT):
        process.history.exchange(exchange(model=hostile, path=f"/v1/{hostile}", outcome="timeout", status=504))
    call = world.call(json.dumps({"model": hostile, "messages": [{"content": "a prompt"}]}).encode())
    told = encoded(process.watched)
    assert len(told) < 2 * EXCHANGES_KEPT * (2 * LONGEST_TEXT + 600) + 20_000
    for secret in (SECRET, "a prompt", "first-token"):
        assert secret.encode() not in told
    call.leave()


def test_half_a_surrogate_in_a_name_breaks_nothing():
    process = Process(World())
    process.history.exchange(exchange(model="\ud800x", path="/v1/\N{REPLACEMENT CHARACTER}"))
    assert process.status()["exchanges"][0]["model"] == "?x"


@pytest.mark.parametrize(
    ("configured", "recent", "model"),
    [
        ((), [], None),
        (("chat-large", "chat-small"), [kept("other")], "chat-large"),
        ((), [kept("older"), kept("newer")], "newer"),
        ((), [kept("org/model-1.5:free@eu")], "org/model-1.5:free@eu"),
        ((), [kept("good"), kept("wrong", outcome="client_error"), kept("e", operation="embeddings")], "good"),
        ((), [kept(None), kept("")], None),
        ((), [kept('";import os#')], None),
        ((), [kept("$(reboot)"), kept("a'b"), kept("a\nb"), kept("a b"), kept("a\\"), kept("`x`")], None),
        (("my model",), [], None),
    ],
)
def test_examples_name_a_model_that_is_safe_to_paste(configured: Any, recent: Any, model: str | None):
    assert example_model(configured, recent) == model
