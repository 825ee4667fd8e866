"""The duoview stream of a container, as seen by a reader and as asked for by a writer."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from duoview.sequence import SequenceHeader


@dataclasses.dataclass(frozen=True, slots=True)
class InputStream:
    """The duoview stream of an input.

    `time_base` is the unit of pts, dts, duration and start_time. `average_rate` is the sequence header's, else the
    container's, else None. `start_time` is the pts of the first unit, or of the first that is shown where an edit list
    hides what is before it. `duration` is the container's word, None where it has none. `sequence` is the first
    sequence header, None where the input starts between key frames. `index` is the stream's number in the container.
    """

    time_base: Fraction
    average_rate: Fraction | None
    start_time: int | None
    duration: int | None
    sequence: SequenceHeader | None
    index: int

    @property
    def width(self) -> int | None:
        """Width in pixels, None before the first sequence header."""
        return self.sequence.width if self.sequence else None

    @property
    def height(self) -> int | None:
        """Height in pixels, None before the first sequence header."""
        return self.sequence.height if self.sequence else None


@dataclasses.dataclass(frozen=True, slots=True)
class OutputStream:
    """The duoview stream of an output; packets are written in `time_base` exactly."""

    rate: Fraction
    width: int
    height: int
    time_base: Fraction

    @property
    def frame_duration(self) -> int:
        """The nominal duration of a frame in ticks, at least 1."""
        return max(1, round(1 / self.rate / self.time_base))
