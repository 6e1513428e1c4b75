"""What the webhook knows, and what it asks for."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fakes.manifests import DEFAULTS, Manifest, backend, container, pod, shared
from mimic_operator.reconcile.manifests import controller_revision
from mimic_operator.resource.backend import parse
from mimic_operator.resource.kinds import BACKEND
from mimic_operator.resource.revision import revision_of
from mimic_operator.resource.selection import candidate
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.informer import Change
from mimic_operator.runtime.kinds import CONTROLLER_REVISION, Key
from mimic_operator.webhook import lookup
from mimic_operator.webhook.lookup import Index, Lookup, keep_revision
from mimic_operator.webhook.outcomes import Verdict
from mimic_operator.webhook.review import BUDGET_SECONDS, Reviewer, operations, warnings_of

REVISION = revision_of(parse(backend()), DEFAULTS)
CURRENT = {"currentRevision": REVISION.name}


def stored(manifest: Manifest) -> Manifest:
    found = parse(manifest)
    return controller_revision(found, revision_of(found, DEFAULTS))


class Server:
    """An API server that holds these objects, or that fails."""

    def __init__(self, *objects: Manifest, fault: BaseException | None = None) -> None:
        self.objects = {
            (each["kind"], each["metadata"]["namespace"], each["metadata"]["name"]): each for each in objects
        }
        self.fault = fault
        self.asked: list[tuple[str, ...]] = []
        self.labels: dict[str, str] = {}

    async def _get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        self.asked.append((kind, namespace, name))
        if self.fault is not None:
            raise self.fault
        return self.objects.get((kind, namespace, name))

    async def backend(self, name: Key) -> Mapping[str, Any] | None:
        return await self._get("MimicBackend", *name)

    async def revision(self, name: Key) -> Mapping[str, Any] | None:
        return await self._get("ControllerRevision", *name)

    async def backends(self, namespace: str) -> list[Mapping[str, Any]]:
        await self._get("MimicBackend", namespace, "")
        return [each for (kind, where, _), each in self.objects.items() if (kind, where) == ("MimicBackend", namespace)]

    async def cluster_backends(self) -> list[Mapping[str, Any]]:
        return [each for (kind, _, _), each in self.objects.items() if kind == "ClusterMimicBackend"]

    async def namespace(self, name: str) -> Mapping[str, Any] | None:
        await self._get("Namespace", "", name)
        return {"metadata": {"labels": self.labels}}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A webhook whose watches have shown `seen`."""

    def __init__(self, server: Server, *seen: Manifest) -> None:
        self.clock, self.server, self.missed = Clock(), server, []
        self.index = Index()
        for each in seen:
            where = each["metadata"]["namespace"], each["metadata"]["name"]
            if each["kind"] == "MimicBackend":
                self.index.backend_changed(Change(*where, candidate(each), None))
            else:
                self.index.revision_changed(Change(*where, keep_revision(each), None))
        found = Lookup(self.index, server, self.clock, lambda: 1e9, self.missed.append)
        self.reviewer = Reviewer(found, (1, 35), budget_seconds=0.2)

    async def reason(self, given: Manifest | None = None, trigger: Any = "label") -> str:
        return (await self.reviewer.pod(given or pod(), "shop", trigger, dry_run=False)).reason


async def test_what_the_watches_have_shown_is_not_asked_for():
    server = Server()
    world = World(server, backend(status=CURRENT), stored(backend()))
    assert await world.reason() == "Injected"
    assert [kind for kind, *_ in server.asked] == ["Namespace"]
    assert world.missed == []


async def test_a_namespace_is_remembered_for_a_while():
    server = Server()
    world = World(server, backend(status=CURRENT), stored(backend()))
    for _ in range(3):
        await world.reason()
    assert len(server.asked) == 1
    world.clock.now += 11
    await world.reason()
    assert len(server.asked) == 2


@pytest.mark.parametrize("named", [{}, {"mimic.dev/backend": "corp"}])
async def test_what_the_watches_have_not_shown_yet_is_asked_for(named: dict[str, str]):
    world = World(Server(backend(status=CURRENT), stored(backend())))
    assert await world.reason(pod(annotations=named)) == "Injected"
    assert sorted(world.missed) == ["ControllerRevision", "MimicBackend"]
    assert await world.reason(pod(annotations=named)) == "Injected"
    assert len(world.missed) == 4, "only the watch fills the index: it alone hears of a deletion"


async def test_a_status_that_the_watch_has_not_shown_yet_is_asked_for():
    world = World(Server(backend(status=CURRENT)), backend(status={}), stored(backend()))
    assert await world.reason() == "Injected"


async def test_a_backend_of_another_namespace_is_asked_for_by_name():
    world = World(Server(shared(status={"currentRevision": ""})), backend(status=CURRENT))
    assert await world.reason(pod(annotations={"mimic.dev/backend": "platform/central"})) == "NotReconciled"


@pytest.mark.parametrize("name", ["../../other/controllerrevisions/x", "x?watch=1", "a/b", "x" * 300, "%2e%2e"])
async def test_nothing_of_a_pod_that_is_no_name_gets_into_a_request(name: str):
    world = World(Server(), backend(status=CURRENT))
    assert await world.reason(pod(annotations={"mimic.dev/revision": name})) == "BadAnnotation"
    assert await world.reason(pod(annotations={"mimic.dev/backend": f"{name}//"})) == "BadAnnotation"
    assert {kind for kind, *_ in world.server.asked} == {"Namespace"}


async def test_what_is_not_there_is_not_there():
    assert await World(Server()).reason() == "NoBackend"
    assert await World(Server(), backend(status=CURRENT)).reason() == "NotReconciled"


FAULTS = [Fault("throttled", "get: 429"), Fault("unreachable", "get: ConnectError"), TimeoutError()]


@pytest.mark.parametrize("fault", FAULTS, ids=["429", "away", "slow"])
async def test_an_api_server_that_does_not_answer_denies_those_that_asked_and_nobody_else(fault: BaseException):
    world = World(Server(fault=fault), backend(status=CURRENT))
    asked = await world.reviewer.pod(pod(), "shop", "label", dry_run=False)
    assert (asked.reason, asked.verdict) == ("Undecided", Verdict.DENIED)
    volunteered = await world.reviewer.pod(pod(labels={}), "shop", "namespace", dry_run=False)
    assert (volunteered.reason, volunteered.verdict) == ("Undecided", Verdict.WARNED)


async def test_the_budget_ends_a_review_that_waits():
    class Slow(Server):
        async def namespace(self, name: str) -> Mapping[str, Any] | None:
            await asyncio.Event().wait()
            return None

    found = await World(Slow(), backend(status=CURRENT)).reviewer.pod(pod(), "shop", "label", dry_run=False)
    assert found.reason == "Undecided"
    assert "within 0.2 s" in found.sentence


def test_the_budget_ends_before_the_api_server_gives_up_whatever_the_chart_is_told():
    schema = json.loads((Path(__file__).parents[3] / "helm" / "mimic" / "values.schema.json").read_text("utf-8"))
    shortest = schema["properties"]["webhook"]["properties"]["timeoutSeconds"]["minimum"]
    assert shortest > BUDGET_SECONDS


async def test_what_is_no_pod_is_named_and_nothing_of_it_is_logged(caplog: pytest.LogCaptureFixture):
    world = World(Server(), backend(status=CURRENT), stored(backend()))
    for wrong in ({}, {"spec": 5}, pod(volumes="planted"), pod(container(env={"A": {"planted": 1}}))):
        denied = await world.reviewer.pod(wrong, "shop", "label", dry_run=False)
        assert (denied.reason, denied.verdict) == ("Malformed", Verdict.DENIED)
        volunteered = await world.reviewer.pod(wrong, "shop", "namespace", dry_run=False)
        assert volunteered.verdict is Verdict.WARNED
        assert "planted" not in denied.sentence
    assert caplog.text == ""


async def test_a_defect_is_logged_and_its_text_goes_to_nobody(caplog: pytest.LogCaptureFixture):
    world = World(Server(fault=RuntimeError("secret")), backend(status=CURRENT))
    found = await world.reviewer.pod(pod(), "shop", "namespace", dry_run=False)
    assert (found.reason, found.verdict) == ("Failed", Verdict.WARNED)
    assert "secret" not in found.sentence
    assert "A review failed" in caplog.text


async def test_a_denied_pod_gets_no_patch_and_a_dry_run_hears_everything():
    world = World(Server(), backend(status=CURRENT), stored(backend()))
    denied = await world.reviewer.pod(pod(annotations={"mimic.dev/backend": "x"}), "shop", "label", dry_run=False)
    assert operations(pod(), denied) == []
    fine = await world.reviewer.pod(pod(), "shop", "label", dry_run=True)
    assert warnings_of(fine, dry_run=False) == []
    assert [text.split(":")[0] for text in warnings_of(fine, dry_run=True)] == [
        "Mimic, Injected",
        "Mimic, GeneratedName",
        "Mimic, DryRun",
    ]


def test_the_index_holds_what_the_informers_report():
    world = World(Server(), backend(), stored(backend()))
    assert (world.index.count(BACKEND), world.index.count(CONTROLLER_REVISION)) == (1, 1)
    world.index.backend_changed(Change("shop", "corp", None, None))
    world.index.revision_changed(Change("shop", REVISION.name, None, None))
    assert (world.index.count(BACKEND), world.index.count(CONTROLLER_REVISION)) == (0, 0)
    assert world.index.backends("shop") == []


def test_a_revision_of_a_newer_operator_is_passed_over_with_a_warning(caplog: pytest.LogCaptureFixture):
    assert keep_revision(stored(backend()) | {"data": {"format": 9}}) is None
    assert "a newer version of Mimic wrote it" in caplog.text


async def test_a_field_of_a_newer_version_is_passed_over():
    """After a rollback of the operator its pods must not be denied."""
    newer = stored(backend(status=CURRENT))
    newer["data"]["injection"]["colour"] = "blue"
    newer["data"]["later"] = 1
    assert await World(Server(), backend(status=CURRENT), newer).reason() == "Injected"


def test_fault_07_a_revision_of_a_stateful_set_with_our_label_is_not_ours():
    """A StatefulSet copies the labels of its pod template to its ControllerRevisions."""
    other = stored(backend())
    other["metadata"]["ownerReferences"] = [{"kind": "StatefulSet", "name": "db", "uid": "u", "controller": True}]
    assert keep_revision(other) is None


class Late(Server):
    """The reconciler and kubectl are not done: after a few reads there is more."""

    def __init__(self, *objects: Manifest, reads: int, young: bool = True) -> None:
        super().__init__(*objects)
        self._later, self.objects, self._reads, self._young = self.objects, {}, reads, young

    async def _get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        self._reads -= kind == "MimicBackend"
        if self._reads < 0:
            self.objects = self._later
        return await super()._get(kind, namespace, name)

    async def namespace(self, name: str) -> Mapping[str, Any] | None:
        created = "2001-09-09T01:46:00Z" if self._young else "2001-01-01T00:00:00Z"
        return {"metadata": {"creationTimestamp": created}}


@pytest.mark.parametrize("trigger", ["label", "namespace"])
async def test_a_namespace_a_backend_and_a_workload_may_come_in_one_apply(
    trigger: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lookup, "RETRY_SECONDS", 0.001)
    labels = {"mimic.dev/inject": "true"} if trigger == "label" else {}
    whole = backend(status=CURRENT), stored(backend())
    assert await World(Late(*whole, reads=3)).reason(pod(labels=labels), trigger) == "Injected"
    unreconciled = World(Late(*whole, reads=3, young=False), backend(status={}))
    assert await unreconciled.reason(pod(labels=labels), trigger) == "Injected"


async def test_a_namespace_without_a_backend_is_waited_for_only_while_it_is_young():
    server = Late(reads=1, young=False)
    assert await World(server).reason() == "NoBackend"
    assert len([kind for kind, *_ in server.asked if kind == "MimicBackend"]) == 1


async def test_many_pods_of_a_backend_without_a_revision_do_not_all_wait(monkeypatch: pytest.MonkeyPatch):
    """The server holds 64 reviews at once: those of other backends need some of that room."""
    assert lookup.MOST_WAITING == 32
    monkeypatch.setattr(lookup, "MOST_WAITING", 2)
    sleeping = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await sleeping.wait()

    monkeypatch.setattr(lookup.asyncio, "sleep", sleep)
    world = World(Server(backend(status={})), backend(status={}))
    world.reviewer.budget_seconds = 30.0
    reviews = [asyncio.create_task(world.reason()) for _ in range(4)]
    done, waiting = await asyncio.wait(reviews, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 2:
        more, waiting = await asyncio.wait(waiting, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    assert {each.result() for each in done} == {"NotReconciled"}
    assert len(waiting) == 2
    world.clock.now += 30
    sleeping.set()
    assert {await each for each in waiting} == {"NotReconciled"}
