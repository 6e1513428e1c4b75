from mimic_proxy.relay.admission import Breaker


def opened(failures: int = 2, cooldown: float = 30.0, at: float = 100.0) -> Breaker:
    breaker = Breaker(failures, cooldown)
    for _ in range(failures):
        breaker.failed(at)
    return breaker


def test_opens_after_the_set_number_of_failures() -> None:
    breaker = Breaker(failures=2, cooldown=30.0)

    breaker.failed(100.0)
    assert (breaker.allow(100.0), breaker.state) == (None, "closed")
    breaker.failed(101.0)

    assert (breaker.allow(101.0), breaker.state) == (30.0, "open")
    assert breaker.allow(121.0) == 10.0


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(failures=2, cooldown=30.0)

    for now in range(10):
        breaker.failed(float(now))
        breaker.succeeded()

    assert breaker.allow(10.0) is None


def test_lets_one_probe_through_after_the_cooldown() -> None:
    breaker = opened(at=100.0)

    assert breaker.allow(130.0) is None
    assert breaker.state == "half_open"
    assert [breaker.allow(130.0), breaker.allow(159.5)] == [1.0, 0.5]


def test_a_probe_that_lasts_keeps_no_others_out_for_longer_than_the_cooldown() -> None:
    breaker = opened(at=100.0)
    assert breaker.allow(130.0) is None, "a long unstreamed call"
    assert breaker.allow(160.0) is None, "the next probe"
    breaker.responded()
    assert (breaker.allow(160.5), breaker.state) == (None, "closed")


def test_the_head_of_a_response_ends_the_probing_and_takes_no_failure_back() -> None:
    breaker = opened(failures=2)
    breaker.allow(130.0)
    breaker.responded()
    assert breaker.state == "closed"
    for now in (140.0, 150.0):
        breaker.responded()
        breaker.failed(now)
    assert breaker.state == "open", "a backend that hangs within its streams begins each of them well"


def test_a_probe_that_succeeds_closes_it_with_a_fresh_count() -> None:
    breaker = opened(failures=2)
    breaker.allow(130.0)

    breaker.succeeded()
    breaker.failed(131.0)

    assert (breaker.allow(131.0), breaker.state) == (None, "closed")


def test_a_probe_that_fails_opens_it_for_another_cooldown() -> None:
    breaker = opened(failures=2)
    breaker.allow(130.0)

    breaker.failed(140.0)

    assert (breaker.allow(141.0), breaker.state) == (29.0, "open")


def test_an_abandoned_probe_is_given_to_the_next() -> None:
    breaker = opened()
    breaker.allow(130.0)

    breaker.abandoned()

    assert breaker.allow(130.0) is None
    assert breaker.allow(130.0) == 1.0


def test_late_news_changes_nothing_while_it_is_open() -> None:
    breaker = opened(at=100.0)

    breaker.failed(120.0)
    breaker.succeeded()
    breaker.abandoned()

    assert (breaker.allow(120.0), breaker.state) == (10.0, "open")


def test_abandoned_exchanges_do_not_count_while_it_is_closed() -> None:
    breaker = Breaker(failures=1, cooldown=30.0)

    breaker.abandoned()

    assert (breaker.allow(0.0), breaker.state) == (None, "closed")


def test_a_short_cooldown_is_the_longest_hint() -> None:
    breaker = opened(cooldown=0.25)
    breaker.allow(200.0)

    assert breaker.allow(200.0) == 0.25


def test_no_failures_configured_never_opens() -> None:
    breaker = Breaker(failures=0, cooldown=30.0)

    for now in range(1000):
        breaker.failed(float(now))

    assert (breaker.allow(1000.0), breaker.state) == (None, "closed")


def test_a_breaker_that_is_switched_off_closes() -> None:
    states: list[str] = []
    breaker = Breaker(1, 30.0, states.append)
    breaker.failed(1.0)
    breaker.configure(0, 30.0)
    assert breaker.allow(1.0) is None
    assert states == ["open", "closed"]
