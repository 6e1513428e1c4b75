"""A refresh is a span of its own that points at the exchanges which wait for it."""

from typing import Any

from mimic_proxy.telemetry.observation import MOST_LINKS, SpanLink, Trace
from mimic_proxy.tokens.token import AccessToken


def trace(number: int, *, sampled: bool = True) -> Trace:
    return Trace(f"{number:032x}", f"{number:016x}", "c" * 16, None, sampled)


class Spans:
    """Hands out spans and keeps what started them."""

    def __init__(self) -> None:
        self.triggers: list[SpanLink | None] = []

    def begin(self, trigger: SpanLink | None) -> SpanLink:
        self.triggers.append(trigger)
        return SpanLink("f" * 32, f"{len(self.triggers):016x}", trigger is not None)


def started(scene: Any) -> tuple[Any, Spans]:
    spans = Spans()
    source = scene.source(begin_span=spans.begin)
    return source, spans


async def test_a_refresh_points_at_who_started_it_and_who_joined(scene: Any) -> None:
    source, spans = started(scene)
    callers = [scene.caller() for _ in range(3)]
    for number, caller in enumerate(callers, 1):
        assert source.obtain(caller, trace(number, sampled=number != 2)) is None
    await scene.turn()
    (seen,) = scene.observations
    assert [link.span_id for link in seen.links] == [f"{number:016x}" for number in (1, 3)]
    assert spans.triggers == [seen.links[0]]
    assert seen.span == SpanLink("f" * 32, f"{1:016x}", True)
    for caller in callers:
        (token,) = caller.told
        assert isinstance(token, AccessToken)
        assert token.refresh == seen.span


async def test_it_points_at_a_few_of_many(scene: Any) -> None:
    source, _ = started(scene)
    for number in range(100):
        source.obtain(scene.caller(), trace(number + 1))
    await scene.turn()
    assert len(scene.observations[0].links) == MOST_LINKS


async def test_a_refresh_by_itself_has_no_trigger_and_the_next_one_no_links_of_the_last(scene: Any) -> None:
    source, spans = started(scene)
    source.obtain(scene.caller(), trace(1))
    await scene.turn()
    await scene.clock.advance(800)
    assert [(seen.trigger, len(seen.links)) for seen in scene.observations] == [("startup", 1), ("proactive", 0)]
    assert spans.triggers[1] is None


async def test_a_refused_token_s_exchange_is_the_trigger(scene: Any) -> None:
    source, spans = started(scene)
    source.start()
    await scene.turn()
    token = source.obtain(scene.caller())
    assert source.replace(token, scene.clock.monotonic, scene.caller(), trace(7)) is None
    await scene.turn()
    assert [link and link.span_id for link in spans.triggers] == [None, f"{7:016x}"]


async def test_a_failed_refresh_points_at_them_as_well(scene: Any) -> None:
    source, _ = started(scene)
    scene.service.answer(500)
    source.obtain(scene.caller(), trace(1))
    await scene.turn()
    (seen,) = scene.observations
    assert (seen.result, len(seen.links)) == ("http_error", 1)


async def test_where_nothing_is_traced_a_token_names_no_refresh(scene: Any) -> None:
    source = await scene.started()
    token = source.obtain(scene.caller(), trace(1, sampled=False))
    assert isinstance(token, AccessToken)
    assert token.refresh is None
    assert (scene.observations[0].span, scene.observations[0].links) == (None, ())
