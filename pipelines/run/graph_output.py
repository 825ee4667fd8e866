"""Where what comes out of a graph goes: access units and encoded pictures into files, findings into analytics.

An output is written by one thread; its counters may be read by others.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av

from duoview.errors import Error
from duoview.pipelines.console import Console
from duoview.pipelines.credentials import redact_url
from duoview.pipelines.outputs import OutputSettings, VideoOutput
from duoview.pipelines.provenance import ProvenanceLog
from duoview.pipelines.unit_output import AccessUnitOutput
from duoview.plugins.analytics.sinks import open_sink
from duoview.plugins.containers.failure import FAILURES
from duoview.plugins.links import Link, LinkType

RENEW_AFTER = 5.0  # seconds between two attempts to open an output that failed


class GraphOutput(abc.ABC):
    """Takes what one output pad of a graph gives.

    Attributes:
        name: for messages, without credentials.
        items, bytes, time: written so far; `time` is the end of the last item, in seconds.
    """

    takes: LinkType = LinkType.VIDEO

    def __init__(self, name: str) -> None:
        self.name = name
        self.items = self.bytes = 0
        self.time = Fraction(0)

    @abc.abstractmethod
    def write(self, item: Any, link: Link) -> None:
        """Write a frame or an access unit. Raises duoview.Error."""

    @abc.abstractmethod
    def close(self) -> None:
        """Finish what is written. May be called more than once. Raises duoview.Error."""

    def count(self, item: Any, size: int) -> None:
        """Add an item that was written, of so many bytes."""
        self.items += 1
        self.bytes += size
        if item.pts is not None and item.time_base:
            self.time = max(self.time, (item.pts + (item.duration or 0)) * Fraction(item.time_base))


class UnitsFile(GraphOutput):
    """Access units into one file, pipe or stream."""

    takes = LinkType.ACCESS_UNITS

    def __init__(self, url: str, format: str | None = None) -> None:
        super().__init__(redact_url(url))
        self._output = AccessUnitOutput(url, format, ())

    def write(self, item: Any, link: Link) -> None:
        self._output.write(item, link)
        self.count(item, item.size)

    def close(self) -> None:
        self._output.close()


class EncodedFile(GraphOutput):
    """Frames through one of libavcodec's encoders into one file, pipe or stream; opened with the first frame.

    Beside a file with generated pictures, FILE.json says how they were made.
    """

    def __init__(self, settings: OutputSettings, console: Console) -> None:
        super().__init__(redact_url(settings.url))
        self._settings, self._console = settings, console
        self._output: VideoOutput | None = None
        self._provenance = ProvenanceLog()

    def write(self, item: Any, link: Link) -> None:
        if self._output is None:
            self._output = VideoOutput(self._settings, self._console, rate=link.rate)
        origin, before = item.opaque, self._output.written
        self.count(item, self._output.write(item))
        if self._output.written > before:  # frames that do not come after the last one are left out
            self._provenance.note(origin)

    def close(self) -> None:
        output, self._output = self._output, None
        if output is not None:
            self.bytes += output.close()
            if self._provenance.generated and not self._provenance.write(self._settings.url):
                self._console.warning(f"{self.name}: its provenance is not written beside it; it needs a file name")


class AnalyticsOutput(GraphOutput):
    """What was found in frames, as JSON lines, MQTT, ONVIF, WebVTT or timed data; opened with the first frame."""

    def __init__(self, url: str, format: str = "", *, source: str = "") -> None:
        super().__init__(redact_url(url))
        self._open = lambda: open_sink(url, format, source=source)
        self._sink: Any = None

    def write(self, item: Any, link: Link) -> None:
        if self._sink is None:
            self._sink = self._open()
        self._sink.write(item)
        self.count(item, 0)

    def close(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()


class Discarded(GraphOutput):
    """Takes frames or access units and keeps nothing: the graph is run for what its filters do and tell."""

    def __init__(self, name: str, takes: LinkType) -> None:
        super().__init__(name)
        self.takes = takes

    def write(self, item: Any, link: Link) -> None:
        self.count(item, 0)

    def close(self) -> None:
        """Nothing is open."""


class RenewedOutput(GraphOutput):
    """An output that is opened anew some seconds after it failed; what comes in between is left out and counted.

    Attributes:
        lost: items that could not be written.
        failure: the last error's words, empty while it works.
    """

    def __init__(
        self,
        make: Callable[[], GraphOutput],
        *,
        failed: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`make` opens it, `failed` is told of every failure. Raises what the first `make` raises."""
        self._make, self._failed, self._clock = make, failed, clock
        self._output: GraphOutput | None = make()
        super().__init__(self._output.name)
        self.takes = self._output.takes
        self._retry_at = 0.0
        self.lost = 0
        self.failure = ""

    def write(self, item: Any, link: Link) -> None:
        if self._output is None and self._clock() < self._retry_at:
            self.lost += 1
            return
        try:
            if self._output is None:
                self._output = self._make()
            before = self._output.bytes
            self._output.write(item, link)
            self.count(item, self._output.bytes - before)
            self.failure = ""
        except (Error, *FAILURES) as error:
            self.lost += 1
            self._fail(str(error))

    def close(self) -> None:
        output, self._output = self._output, None
        if output is not None:
            output.close()

    def _fail(self, words: str) -> None:
        output, self._output = self._output, None
        self._retry_at = self._clock() + RENEW_AFTER
        self.failure = words
        self._failed(words)
        if output is not None:
            try:
                output.close()
            except (Error, *FAILURES) as error:
                self._failed(f"{self.name}: and could not be finished: {error}")


def seconds_of(item: av.VideoFrame | av.Packet[Any]) -> float | None:
    """The time of an item, None where it has none."""
    return float(item.pts * Fraction(item.time_base)) if item.pts is not None and item.time_base else None
