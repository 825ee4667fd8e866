"""The clock of ages: what is set ahead is not believed at once."""

from __future__ import annotations

from duoview.pipelines.retention.steady_clock import SteadyClock

HOUR, DAY = 3600.0, 86400.0


class Clocks:
    """A wall clock and a monotonic one that tests move."""

    def __init__(self) -> None:
        self.wall, self.monotonic = 1_700_000_000.0, 5.0
        self.steady = SteadyClock(lambda: self.wall, lambda: self.monotonic)

    def wait(self, seconds: float) -> float:
        """Let time go by; what the steady clock tells then, in seconds since the beginning."""
        self.wall, self.monotonic = self.wall + seconds, self.monotonic + seconds
        return self.steady() / 1e6 - 1_700_000_000


def test_time_goes_on_as_the_system_tells_it() -> None:
    clocks = Clocks()
    assert [clocks.wait(10), clocks.wait(HOUR)] == [10, HOUR + 10] and clocks.steady.ahead == 0


def test_a_clock_that_is_set_ahead_makes_nothing_older_at_once() -> None:
    clocks = Clocks()
    clocks.wait(10)
    clocks.wall += 30 * DAY
    assert clocks.wait(10) == 20 and clocks.steady.ahead == 30 * DAY
    assert clocks.wait(HOUR) == HOUR + 20


def test_a_clock_that_stays_ahead_for_a_day_is_believed() -> None:
    clocks = Clocks()
    clocks.wall += 30 * DAY
    assert clocks.wait(HOUR) == HOUR
    assert clocks.wait(DAY) == 31 * DAY + HOUR and clocks.steady.ahead == 0


def test_a_clock_that_comes_back_is_believed_at_once() -> None:
    clocks = Clocks()
    clocks.wall += DAY
    clocks.wait(10)
    clocks.wall -= DAY
    assert clocks.wait(10) == 20 and clocks.steady.ahead == 0


def test_a_clock_that_is_set_back_is_believed() -> None:
    clocks = Clocks()
    clocks.wall -= HOUR
    assert clocks.wait(10) == 10 - HOUR


def test_small_corrections_are_believed() -> None:
    clocks = Clocks()
    clocks.wall += 59
    assert clocks.wait(1) == 60
