"""Spans of reviews and of calls to the API server, as an exporter in memory gets them."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode, get_current_span

from mimic_operator.reconcile.metrics import ReconcileSpans
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import Key
from mimic_operator.runtime.logs import record_json
from mimic_operator.runtime.queue import Outcome
from mimic_operator.runtime.spans import OFF, Spans
from mimic_operator.webhook.decide import Decision, softened
from mimic_operator.webhook.outcomes import OUTCOMES
from mimic_operator.webhook.review import Reply, Reviewed

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KEY = Key("shop", "corp")


class Kept:
    """Spans that stay here."""

    def __init__(self, provider: TracerProvider) -> None:
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.spans = Spans(provider.get_tracer("test"))

    @property
    def ended(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def by_name(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.ended}


@pytest.fixture
def kept() -> Iterator[Kept]:
    provider = TracerProvider(shutdown_on_exit=False)
    yield Kept(provider)
    provider.shutdown()


def reply(word: str, trigger: str = "label") -> Reply:
    outcome = OUTCOMES[word]
    decision = softened(
        Decision(outcome=outcome, verdict=outcome.verdict, sentence="", backend="shop/corp"),
        "label" if trigger == "label" else "namespace",
    )
    owner = {"kind": "ReplicaSet", "name": "web-1", "controller": True}
    return Reply(decision=decision, pod={"metadata": {"ownerReferences": [owner]}}, namespace="shop")


@pytest.mark.parametrize("word", OUTCOMES)
def test_only_the_operators_own_trouble_makes_a_review_an_error(word: str, kept: Kept):
    with Reviewed(kept.spans).review("pods", {}, reply(word)):
        pass
    (span,) = kept.ended
    assert span.attributes is not None
    assert span.attributes["mimic.admission.reason"] == word
    assert span.attributes["mimic.workload"] == "ReplicaSet/web-1"
    assert (span.attributes["mimic.backend.namespace"], span.attributes["mimic.backend.name"]) == KEY
    failed = word in ("Undecided", "Failed")
    assert (span.status.status_code is StatusCode.ERROR) is failed
    assert span.attributes.get("error.type") == (word if failed else None)


def test_a_review_that_breaks_is_an_error_without_its_message(kept: Kept):
    with suppress(ValueError), Reviewed(kept.spans).review("pods", {}, Reply()):
        raise ValueError("a value that nobody is to see")
    (span,) = kept.ended
    assert (span.attributes or {})["error.type"] == "internal"
    assert (span.status.status_code, span.status.description, list(span.events)) == (StatusCode.ERROR, None, [])


@pytest.mark.parametrize("name", ["traceparent", "Traceparent"])
def test_the_api_servers_span_is_the_parent_of_a_review(name: str, kept: Kept):
    with Reviewed(kept.spans).review("pods", {name: f"00-{TRACE}-{PARENT}-01"}, reply("Injected")):
        pass
    (span,) = kept.ended
    assert span.context is not None
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)


def test_what_the_api_server_does_not_sample_is_not_told(kept: Kept):
    with Reviewed(kept.spans).review("pods", {"traceparent": f"00-{TRACE}-{PARENT}-00"}, reply("Injected")):
        pass
    assert kept.ended == []


def test_calls_stand_below_what_they_are_made_for(kept: Kept):
    turns = ReconcileSpans(kept.spans)
    turns.begin(KEY)
    with kept.spans.call("get", "Deployment", "shop", "web"):
        pass
    turns.end(Outcome(KEY, 0.1), None, {"updateRevision": "mimic-corp-1", "rollout": {"phase": "Idle"}})
    call, turn = kept.by_name()["get Deployment"], kept.by_name()["reconcile"]
    assert call.parent is not None
    assert turn.context is not None
    assert call.parent.span_id == turn.context.span_id
    assert turn.parent is None
    assert (turn.attributes or {})["mimic.revision"] == "mimic-corp-1"
    assert (turn.attributes or {})["mimic.rollout.phase"] == "Idle"
    assert not get_current_span().get_span_context().is_valid


def test_calls_of_nobodys_make_no_span(kept: Kept):
    with kept.spans.call("get", "Lease", "mimic", "lease"):
        pass
    assert kept.ended == []


@pytest.mark.parametrize(
    ("error", "word", "failed"),
    [
        (Fault("conflict", "somebody else"), "conflict", True),
        (Fault("absent", "nothing there"), "absent", False),
        (asyncio.CancelledError(), "cancelled", True),
        (KeyError("a value"), "internal", True),
    ],
)
def test_a_call_that_fails_says_why_in_one_word(error: BaseException, word: str, failed: bool, kept: Kept):
    begun = kept.spans.root("reconcile", {})
    with suppress(type(error)), kept.spans.call("apply", "ConfigMap", "shop", "corp"):
        raise error
    begun.end()
    call = kept.by_name()["apply ConfigMap"]
    assert (call.attributes or {})["error.type"] == word
    assert (call.status.status_code is StatusCode.ERROR) is failed
    assert list(call.events) == []


async def test_turns_at_the_same_time_keep_their_calls_apart(kept: Kept):
    turns = ReconcileSpans(kept.spans)

    async def turn(name: str) -> None:
        key = Key("shop", name)
        turns.begin(key)
        await asyncio.sleep(0)
        with kept.spans.call("get", name, "shop", name):
            await asyncio.sleep(0)
        turns.end(Outcome(key, 0.1, "timeout" if name == "b" else ""), None, {})

    await asyncio.gather(*(turn(name) for name in "abc"))
    roots = {span.context.span_id: span for span in kept.ended if span.context and span.name == "reconcile"}
    calls = [span for span in kept.ended if span.name != "reconcile"]
    for call in calls:
        assert call.parent is not None
        assert (roots[call.parent.span_id].attributes or {})["mimic.backend.name"] == call.name.removeprefix("get ")
    failed = [span for span in roots.values() if span.status.status_code is StatusCode.ERROR]
    assert [(span.attributes or {})["error.type"] for span in failed] == ["timeout"]


def test_unsampled_turns_make_no_spans_of_calls():
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    kept = Kept(provider)
    begun = kept.spans.root("reconcile", {})
    with kept.spans.call("get", "Deployment", "shop", "web"):
        pass
    begun.end()
    provider.shutdown()
    assert kept.ended == []


def line() -> dict[str, object]:
    record = logging.LogRecord("mimic.queue", logging.WARNING, __file__, 1, "said", (), None)
    found: dict[str, object] = msgspec.json.decode(record_json(record))
    return found


def test_lines_within_a_span_name_it(kept: Kept):
    begun = kept.spans.root("reconcile", {})
    within = line()
    begun.end()
    (span,) = kept.ended
    assert span.context is not None
    assert (within["trace_id"], within["span_id"]) == (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
    assert not {"trace_id", "span_id"} & set(line())


def test_without_a_collector_lines_of_a_review_name_the_api_servers_trace():
    with Reviewed(OFF).review("pods", {"traceparent": f"00-{TRACE}-{PARENT}-01"}, reply("Injected")):
        assert line()["trace_id"] == TRACE
    assert "trace_id" not in line()
