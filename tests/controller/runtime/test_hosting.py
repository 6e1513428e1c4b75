"""What kopf makes of startup, work beside it, and the end."""

import asyncio

import pytest

from fakes.api_server import serving, status
from mimic_operator.errors import OperatorError
from mimic_operator.runtime import hosting
from mimic_operator.runtime.hosting import Host

pytestmark = pytest.mark.timeout(60)


class Parts:
    """Records what is called, in order."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.called: list[str] = []
        self.fault = fault

    async def startup(self) -> None:
        self.called.append("startup")
        if self.fault is not None:
            raise self.fault

    async def cleanup(self) -> None:
        self.called.append("cleanup")

    async def forever(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.called.append("cancelled")


async def test_work_that_fails_ends_the_process_with_its_reason_after_the_cleanup():
    parts = Parts()
    async with serving() as server:
        host = Host(server.config(), "mimic.dev", parts.startup, parts.cleanup)
        running = asyncio.create_task(host.run())
        while "startup" not in parts.called:
            await asyncio.sleep(0.01)

        async def lose() -> None:
            await asyncio.sleep(0.05)
            raise OperatorError("the Lease is lost")

        host.beside(parts.forever())
        host.beside(lose())
        with pytest.raises(OperatorError, match="the Lease is lost"):
            await running
    assert parts.called == ["startup", "cancelled", "cleanup"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # kopf leaves a coroutine behind
async def test_a_startup_that_fails_is_cleaned_up_and_its_error_is_not_wrapped():
    parts = Parts(OperatorError("no such thing"))
    async with serving() as server:
        host = Host(server.config(), "mimic.dev", parts.startup, parts.cleanup)
        with pytest.raises(OperatorError, match="no such thing"):
            await host.run()
    assert parts.called == ["startup", "cleanup"]


async def test_work_may_begin_in_the_startup_and_one_that_ends_ends_the_process():
    parts = Parts()

    async def startup() -> None:
        host.beside(parts.forever())
        host.beside(asyncio.sleep(0.05))
        await parts.startup()

    async with serving() as server:
        host = Host(server.config(), "mimic.dev", startup, parts.cleanup)
        await host.run()
        assert not [path for path in server.asked if "watch" in path or path.endswith("/mimicbackends")]
    assert parts.called == ["startup", "cancelled", "cleanup"]


async def test_kopfs_discovery_is_repeated_while_the_api_server_refuses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hosting._Forever, "__iter__", lambda self: iter([0.01] * 100))
    refusals = [503, 429, 403, 500]
    parts = Parts()
    async with serving() as server:
        server.before = lambda request: status(refusals.pop()) if refusals else None
        host = Host(server.config(), "mimic.dev", parts.startup, parts.cleanup)
        running = asyncio.create_task(host.run())
        while "/api/v1" not in server.asked or refusals:
            await asyncio.sleep(0.01)
            assert not running.done()
        host.beside(asyncio.sleep(0))
        await running
    assert parts.called[-1] == "cleanup"
