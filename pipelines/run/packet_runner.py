"""A thread that takes the packets of one source and hands them to recordings."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from duoview.pipelines.errors import SourceLostError
from duoview.pipelines.live_packet import LivePacket
from duoview.pipelines.live_source import LiveSource

_WAIT = 0.25  # seconds in which the thread sees that it is to stop


class PacketSink(Protocol):
    """What takes packets."""

    def write(self, packet: LivePacket) -> None:
        """Take a packet."""

    def close(self) -> None:
        """Finish what is written."""


class PacketRunner:
    """Runs between `start` and `join`; a failure that a sink does not see to itself is in `error`."""

    def __init__(
        self, name: str, source: LiveSource, sinks: Sequence[PacketSink], *, duration: float | None = None
    ) -> None:
        """`duration`: seconds of the source's time after which it ends; packets that are decoded later are left out."""
        self._source, self._sinks, self._duration = source, tuple(sinks), duration
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"packets {name}", daemon=True)
        self.error: BaseException | None = None
        self.finished = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more packets, and finish."""
        self._stop.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end; whether it came. One that was never started has ended."""
        if self._thread.ident is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

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
                continue
            if self._duration is not None and packet.seconds >= self._duration:
                return
            for sink in self._sinks:
                sink.write(packet)
