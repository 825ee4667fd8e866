"""A thread that hands packets on: what waits at a stop is written, within a bounded time."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from duoview.pipelines.run import packet_runner
from duoview.pipelines.run.packet_runner import PacketRunner


class Source:
    """Has packets waiting, and more to come once those are read."""

    def __init__(self, waiting: int) -> None:
        self.packets = deque(range(waiting))
        self.reads = 0
        self.packets_ended = False

    def waiting(self) -> tuple[int, int]:
        """Frames and packets."""
        return 0, len(self.packets)

    def read_packet(self, timeout: float | None = None) -> Any:
        """The next; there is always one more."""
        self.reads += 1
        self.packets.append(-1)
        return self.packets.popleft()


class Sink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.packets: list[Any] = []
        self.closed = False

    def write(self, packet: Any) -> None:
        """Take a packet."""
        self.packets.append(packet)

    def close(self) -> None:
        """Finish."""
        self.closed = True


def stopped(source: Any, sink: Sink) -> PacketRunner:
    runner = PacketRunner("a", source, [sink])
    runner.stop()
    runner.start()
    assert runner.join(10) and runner.error is None
    return runner


def test_what_waits_at_a_stop_is_written_and_nothing_that_comes_later() -> None:
    sink = Sink()
    stopped(Source(5), sink)
    assert sink.packets == [0, 1, 2, 3, 4] and sink.closed


def test_a_stop_waits_for_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet_runner, "FINISH", 0.0)
    sink = Sink()
    stopped(Source(5), sink)
    assert sink.packets == [] and sink.closed
