"""Containers run under a number that no file gives a name to, and kopf would look for one; the e2e runs real ones."""

import kopf
import pytest

from mimic_operator.reconcile import handlers as reconcile
from mimic_operator.webhook import handlers as admission


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What kopf is started with."""
    found: dict[str, object] = {}

    async def operator(**options: object) -> None:
        found.update(options)

    monkeypatch.setattr(kopf, "operator", operator)
    return found


async def test_the_webhook_asks_nobody_for_the_users_name(told: dict[str, object]) -> None:
    await admission.answering(kopf.OperatorRegistry(), ())
    assert told["identity"]


async def test_the_reconciler_asks_nobody_for_the_users_name(told: dict[str, object]) -> None:
    await reconcile._operator(kopf.OperatorRegistry(), (), lambda stop: None)
    assert told["identity"]
