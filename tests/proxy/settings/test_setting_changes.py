"""What a change of the settings means: every setting has its place, and what cannot hold now is told."""

from dataclasses import fields

import pytest

from mimic_proxy.settings.changes import compare
from mimic_proxy.settings.fields import APPLIES, Applies, Settings

NAMES = {entry.name.upper() for entry in fields(Settings)} - {"WARNINGS"}
FOUND_BY_REQUESTS = {
    *("AUTH_CODE_FILE", "CHAT_API_URL", "EMBEDDING_API_URL", "DIALECT", "MODELS", "MODELS_CACHE_SECONDS", "LOG_LEVEL"),
    *("BREAKER_COOLDOWN", "BREAKER_FAILURES", "CLIENT_KEYS", "DRAIN_DELAY", "DRAIN_TIMEOUT", "FIRST_BYTE_TIMEOUT"),
    *("HEARTBEAT_AFTER", "IDLE_TIMEOUT", "INCLUDE_USAGE", "MAX_BODY_BYTES", "MAX_BUFFERED_BYTES", "MAX_CONCURRENCY"),
    *(
        "EXTRA_ROUTES",
        "MAX_UPLOAD_BYTES",
        "MAX_QUEUE",
        "MIMIC_TRACE_UPSTREAM",
        "QUEUE_TIMEOUT",
        "RETRY_DEAD_CONNECTION",
        "SEND_TIMEOUT",
        "TOTAL_TIMEOUT",
    ),
}


def test_every_setting_has_its_place() -> None:
    """A new setting has to be thought of: what becomes of it while a Mimic runs?"""
    assert set(APPLIES) - {"WARNINGS"} == NAMES
    rest = {name for name in NAMES if APPLIES[name] is Applies.REQUESTS and not name.startswith("ENVELOPE_")}
    assert rest <= FOUND_BY_REQUESTS
    assert {name for name in NAMES if name.startswith("TOKEN_") and APPLIES[name] is not Applies.TOKENS} == set()


def test_nothing_has_changed() -> None:
    change = compare({"MODELS": ("a",)}, {"MODELS": ("a",)})
    assert (change.names, change.now, change.tokens, change.connections) == (frozenset(), frozenset(), False, False)


@pytest.mark.parametrize(
    ("name", "late", "tokens", "connections"),
    [
        ("MODELS", False, False, False),
        ("PORT", True, False, False),
        ("SCOPE", False, True, False),
        ("VERIFY_SSL", False, False, True),
    ],
)
def test_a_change_is_told_by_what_it_touches(name: str, late: bool, tokens: bool, connections: bool) -> None:
    change = compare({name: 1, "GRANT": "auth_code"}, {name: 2, "GRANT": "auth_code"})
    assert change.names == {name}
    assert (name in change.late, change.tokens, change.connections) == (late, tokens, connections)


@pytest.mark.parametrize("kept", [{"GRANT": "refresh_token"}, {"GRANT": "auth_code", "TOKEN_STORE": "/store"}])
def test_the_way_to_tokens_changes_at_once_whatever_the_grant(kept: dict[str, object]) -> None:
    change = compare({**kept, "SCOPE": "a"}, {**kept, "SCOPE": "b"})
    assert (change.now, change.late) == ({"SCOPE"}, frozenset())
