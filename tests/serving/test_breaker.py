"""The circuit breaker under a clock that the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.serving.breaker import Breaker


class Hand:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def hand() -> Hand:
    return Hand()


def state(breaker: Breaker) -> str:
    return breaker.state.name


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.record(breaker.admit(), ok=False)


def test_it_opens_when_half_of_enough_attempts_failed(hand: Hand) -> None:
    breaker = Breaker(volume=10, share=0.5, now=hand)
    for _ in range(5):
        breaker.record(breaker.admit(), ok=True)
    fail(breaker, 4)
    assert state(breaker) == "CLOSED"
    fail(breaker, 1)
    assert state(breaker) == "OPEN"
    assert breaker.admit() is None
    assert breaker.retry_after_s() == pytest.approx(2.0)


def test_failures_that_have_left_the_window_count_no_more(hand: Hand) -> None:
    breaker = Breaker(volume=4, window_s=10.0, now=hand)
    fail(breaker, 3)
    hand.at += 11.0
    fail(breaker, 3)
    assert state(breaker) == "CLOSED"
    fail(breaker, 1)
    assert state(breaker) == "OPEN"


def test_one_probe_decides(hand: Hand) -> None:
    breaker = Breaker(volume=1, cool_down_s=2.0, longest_s=7.0, now=hand)
    fail(breaker, 1)
    waits = []
    for _ in range(3):
        waits.append(breaker.retry_after_s())
        hand.at += waits[-1]
        assert state(breaker) == "HALF_OPEN"
        probe = breaker.admit()
        assert probe is not None
        assert breaker.admit() is None, "one probe at a time"
        breaker.record(probe, ok=False)
    assert waits == pytest.approx([2.0, 4.0, 7.0])
    hand.at += 7.0
    breaker.record(breaker.admit(), ok=True)
    assert state(breaker) == "CLOSED"
    fail(breaker, 1)
    assert breaker.retry_after_s() == pytest.approx(2.0), "the wait starts small again"


def test_attempts_of_an_earlier_state_decide_nothing(hand: Hand) -> None:
    breaker = Breaker(volume=2, cool_down_s=2.0, now=hand)
    slow = breaker.admit()
    fail(breaker, 2)
    hand.at += 2.0
    probe = breaker.admit()
    breaker.record(slow, ok=True)
    assert state(breaker) == "HALF_OPEN"
    breaker.record(probe, ok=True)
    assert state(breaker) == "CLOSED"


def test_a_probe_that_never_reports_is_replaced_and_one_handed_back_is_free(hand: Hand) -> None:
    breaker = Breaker(volume=1, cool_down_s=2.0, now=hand)
    fail(breaker, 1)
    hand.at += 2.0
    breaker.release(breaker.admit())
    assert breaker.admit() is not None
    assert breaker.admit() is None
    hand.at += 2.0
    assert breaker.admit() is not None


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="share"):
        Breaker(share=0.0)


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "lost", "wait"]), st.floats(0.0, 3.0)), max_size=80))
def test_it_never_stays_shut_out(events: list[tuple[str, float]]) -> None:
    """Whatever happened, once the longest wait has passed an attempt is let through, and its success closes the breaker."""
    hand = Hand()
    breaker = Breaker(volume=3, cool_down_s=1.0, longest_s=4.0, now=hand)
    for what, wait in events:
        if what == "wait":
            hand.at += wait
            continue
        ticket = breaker.admit()
        if what != "lost":
            breaker.record(ticket, ok=what == "ok")
    hand.at += 4.0
    ticket = breaker.admit()
    assert ticket is not None
    breaker.record(ticket, ok=True)
    assert state(breaker) == "CLOSED" or sum(what == "fail" for what, _ in events) >= 3
