"""Whether the CustomResourceDefinition can be relied on: what is absent, terminating, older or new releases nothing."""

import copy
from typing import Any

import pytest

from mimic_operator.reconcile.definition import Definition
from mimic_operator.resource.crd import definition
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import Kind
from mimic_operator.runtime.queue import Backoff

CREATED, EARLIER, LATER = "2026-01-01T12:00:00Z", "2026-01-01T11:59:59Z", "2026-01-01T12:00:01Z"


class Server:
    """Holds the definition, or fails."""

    def __init__(self, manifest: dict[str, Any] | None, fault: Fault | None = None) -> None:
        self.manifest, self.fault = manifest, fault

    async def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        if self.fault is not None:
            raise self.fault
        return self.manifest


def shown(**metadata: str) -> dict[str, Any]:
    manifest = copy.deepcopy(definition())
    manifest["metadata"] |= {"creationTimestamp": CREATED, **metadata}
    return manifest


def guard(server: Any, age: float) -> Definition:
    return Definition(server, 10.0, Backoff(lambda: 0.0), lambda since: age)


def older() -> dict[str, Any]:
    manifest = shown()
    del manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["suspend"]
    return manifest


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (None, "There is no CustomResourceDefinition"),
        (shown(deletionTimestamp=LATER), "is being deleted"),
        (older(), "lacks spec.suspend"),
    ],
    ids=["absent", "terminating", "older"],
)
async def test_fault_03_a_definition_that_cannot_be_relied_on_releases_nothing(
    manifest: dict[str, Any] | None, says: str, caplog: pytest.LogCaptureFixture
):
    found = guard(Server(manifest), age=1e6)
    assert not await found.may_release([EARLIER])
    assert not await found.may_release([EARLIER])
    assert caplog.text.count(says) == 1


@pytest.mark.parametrize(
    ("age", "applied", "released"),
    [
        (599.0, [EARLIER], False),
        (599.0, [EARLIER, LATER], False),
        (601.0, [EARLIER], True),
        (1.0, [LATER], True),
        (1.0, [], True),
    ],
)
async def test_workloads_from_before_a_new_definition_wait_ten_minutes(age: float, applied: list[str], released: bool):
    assert await guard(Server(shown()), age).may_release(applied) is released


async def test_a_definition_that_may_not_be_read_is_taken_as_good():
    found = guard(Server(None, Fault("forbidden", "get: 403")), age=1.0)
    assert await found.may_release([EARLIER])


async def test_an_api_server_that_does_not_answer_decides_nothing():
    with pytest.raises(Fault):
        await guard(Server(None, Fault("timeout", "get: no response in time")), age=1.0).may_release([EARLIER])
