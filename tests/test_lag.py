"""Whether we are behind, or the peer is late."""

from __future__ import annotations

import pytest

from duoview.pipelines.lag import Lag


def test_reads_that_wait_mean_up_to_date_however_late_the_peer_is() -> None:
    lag = Lag()
    assert [lag.note(n * 1.0, n * 0.04, waited=0.5) for n in range(10)] == [0.0] * 10


def test_decoding_slower_than_the_video_falls_behind_by_the_difference() -> None:
    lag = Lag()
    behind = [lag.note(n * 0.06, n * 0.04, waited=0.0) for n in range(11)]
    assert behind[10] == pytest.approx(0.2)
    assert behind == sorted(behind)


def test_a_burst_is_no_lag_and_no_credit() -> None:
    lag = Lag()
    for n in range(50):
        assert lag.note(0.0, n * 0.04, waited=0.0) == 0
    assert lag.note(1.0, 50 * 0.04, waited=0.0) == pytest.approx(0.96)


def test_catching_up_brings_the_lag_down() -> None:
    lag = Lag()
    lag.note(0.0, 0.0, waited=0.1)
    assert lag.note(2.0, 0.5, waited=0.0) == pytest.approx(1.5)
    assert lag.note(2.1, 1.9, waited=0.0) == pytest.approx(0.2)


def test_a_reset_forgets() -> None:
    lag = Lag()
    lag.note(0.0, 0.0, waited=0.0)
    lag.note(5.0, 0.0, waited=0.0)
    lag.reset()
    assert lag.seconds == 0
    assert lag.note(9.0, 0.0, waited=0.0) == 0
