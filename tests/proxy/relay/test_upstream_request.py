"""A request's body within its own limit and the budget of all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_proxy.errors import MimicError
from mimic_proxy.http.framing import Framing
from mimic_proxy.relay.admission import Budget
from mimic_proxy.relay.upstream_request import RequestBody


def body(
    *, declared: int | None = None, streamed: bool = False, limit: int = 100, budget: Budget | None = None
) -> RequestBody:
    return RequestBody(
        streamed=streamed, declared=declared, chunked=declared is None, limit=limit, budget=budget or Budget(0)
    )


def code(error: MimicError | None) -> str | None:
    return None if error is None else error.code


@pytest.mark.parametrize(
    ("declared", "limit", "refusal"),
    [
        (100, 100, None),
        (101, 100, "request_too_large"),
        (101, 0, None),
        (0, 100, None),
        (None, 100, None),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_the_declared_length_is_judged_first(
    declared: int | None, limit: int, refusal: str | None, streamed: bool
) -> None:
    assert code(body(declared=declared, limit=limit, streamed=streamed).announce()) == refusal


def test_the_limit_names_its_setting() -> None:
    error = body(declared=101).announce()
    assert error is not None
    assert "100 bytes" in error.message
    assert "MAX_BODY_BYTES" in error.message
    error = body(declared=101, streamed=True).announce()
    assert error is not None
    assert "MAX_UPLOAD_BYTES" in error.message


@pytest.mark.parametrize("streamed", [True, False])
def test_what_comes_is_counted(streamed: bool) -> None:
    made = body(streamed=streamed)
    assert [code(made.count(size)) for size in (60, 40, 1)] == [None, None, "request_too_large"]
    assert made.received == 101


def test_a_kept_body_takes_its_share_as_it_comes() -> None:
    budget = Budget(150)
    made = body(declared=100, budget=budget)
    assert (made.announce(), budget.held) == (None, 0)
    for number in range(10):
        assert made.count(10) is None
        assert budget.held == 10 * (number + 1)
    made.forget()
    made.forget()
    assert budget.held == 0


def test_a_body_beyond_the_budget_is_refused() -> None:
    budget = Budget(50)
    assert code(body(declared=51, budget=budget).announce()) == "overloaded"
    made = body(budget=budget)
    assert [code(made.count(size)) for size in (50, 1)] == [None, "overloaded"]
    assert budget.held == 50
    made.forget()
    assert budget.held == 0


def test_a_streamed_body_takes_no_share() -> None:
    budget = Budget(10)
    made = body(declared=100, streamed=True, budget=budget)
    assert (made.announce(), made.count(100), budget.held) == (None, None, 0)


def test_the_pieces_are_one_body_for_every_replay() -> None:
    made = body()
    assert made.take() == b""
    for piece in (b"a", b"b", b"c"):
        made.keep(piece)
    assert (made.take(), made.take()) == (b"abc", b"abc")
    made.replace(b"translated")
    assert made.take() == b"translated"
    made.forget()
    assert made.take() == b""


@pytest.mark.parametrize(("declared", "framing"), [(5, Framing.LENGTH), (None, Framing.CHUNKED)])
def test_an_upload_is_framed_as_it_came(declared: int | None, framing: Framing) -> None:
    assert body(declared=declared, streamed=True).framing is framing


@given(st.lists(st.integers(0, 40), max_size=10), st.booleans(), st.integers(0, 200))
def test_everything_is_given_back_however_it_ends(sizes: list[int], announced: bool, limit: int) -> None:
    budget = Budget(limit)
    made = body(declared=sum(sizes) if announced else None, limit=0, budget=budget)
    if made.announce() is None:
        for size in sizes:
            if made.count(size) is not None:
                break
    made.forget()
    assert budget.held == 0
