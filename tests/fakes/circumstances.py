"""What the verdict rests on, with what a test does not name filled in: a quiet, ready proxy."""

import dataclasses
from typing import get_args

import msgspec

from mimic_proxy.telemetry.history import Cause
from mimic_proxy.telemetry.port import TokenState
from mimic_proxy.web.verdict import Circumstances

NOW = 1_000_000.0
HELD = TokenState(
    required=True,
    held=True,
    generation=1,
    issued=NOW - 60,
    expires=NOW + 240,
    lifetime=300.0,
    refresh_margin=60.0,
    last_result="success",
    trouble=None,
    consecutive_failures=0,
    next_refresh=NOW + 180,
    in_flight=False,
    waiters=0,
    coalesced=0,
)
CONDITIONS = (("config", True, ""), ("token", True, ""), ("serving", True, ""))


def token(**shown: object) -> TokenState:
    """A held token but for what is given."""
    return dataclasses.replace(HELD, **shown)  # type: ignore[arg-type]


def causes(**counts: int) -> dict[Cause, int]:
    """How calls ended; none by a cause that is not given."""
    return dict.fromkeys(get_args(Cause), 0) | counts  # type: ignore[return-value]


def circumstances(**seen: object) -> Circumstances:
    """Ready and without a call but for what is given."""
    quiet = Circumstances(now=NOW, conditions=CONDITIONS, token=HELD, causes=causes(), last={}, lately=causes())
    return msgspec.structs.replace(quiet, **seen)
