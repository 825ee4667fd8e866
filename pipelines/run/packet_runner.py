"""A thread that takes the packets of one source and hands them to recordings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from duoview.pipelines.errors import SourceLostError
from duoview.pipelines.live_packet import LivePacket
from duoview.pipelines.live_source import LiveSource

from .runner import Runner

FINISH = 5.0  # seconds in which what waits at a stop is written
_WAIT = 0.25  # seconds in which the thread sees that it is to stop


class PacketSink(Protocol):
    """What takes packets."""

    def write(self, packet: LivePacket) -> None:
        """Take a packet."""

    def close(self) -> None:
        """Finish what is written."""


class PacketRunner(Runner):
    """Runs between `start` and `join`; a failure that a sink does not see to itself is in `error`.

    At a stop, packets that wait are still written, as many as `FINISH` seconds are enough for.
    """

    def __init__(
        self, name: str, source: LiveSource, sinks: Sequence[PacketSink], *, duration: float | None = None
    ) -> None:
        """`duration`: seconds of the source's time after which it ends; packets that are decoded later are left out."""
        super().__init__(f"packets {name}")
        self._source, self._sinks, self._duration = source, tuple(sinks), duration

    def _run(self) -> None:
        try:
            self._take()
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to: its owner looks at `error`
            self.error = error
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:  # noqa: BLE001 - the others are finished all the same
                self.error = self.error or error
        self.finished.set()
        self._discard()

    def _discard(self) -> None:
        """Take what comes all the same: of a file, frames wait behind packets that nobody takes."""
        while not self._stop.is_set() and self.error is None and not self._source.packets_ended:
            try:
                self._source.read_packet(_WAIT)
            except SourceLostError:
                return  # whoever still reads the source is told

    def _take(self) -> None:
        while not self._stop.is_set():
            packet = self._source.read_packet(_WAIT)
            if packet is None:
                if self._source.packets_ended:
                    return
            elif not self._write(packet):
                return
        end = time.monotonic() + FINISH
        for _ in range(self._source.waiting()[1]):
            packet = self._source.read_packet(0.0) if time.monotonic() < end else None
            if packet is None or not self._write(packet):
                return

    def _write(self, packet: LivePacket) -> bool:
        """Hand a packet to all sinks; False for one behind the end."""
        if self._duration is not None and packet.seconds >= self._duration:
            return False
        for sink in self._sinks:
            sink.write(packet)
        return True
