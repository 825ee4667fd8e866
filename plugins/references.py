"""Second references to frames: the same samples, times, side data and opaque, in a frame of one's own."""

from __future__ import annotations

from fractions import Fraction

import av

from .grammar import FilterText
from .native import NativeFilters


class References:
    """Makes references to frames of one stream, so that a stage changes nothing of a frame that it was handed.

    By libavfilter's ``null``: PyAV has no call for it. Cheap, whatever the size of the frame.
    """

    def __init__(self) -> None:
        self._same = NativeFilters([FilterText("null", None, None, 1)], threads=1)

    def reference(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A new frame over the frame's own samples, which must not be written to. Its picture type is cleared."""
        self._same.push(frame)
        passed = self._same.pull()
        if not frame.time_base:
            passed.time_base = Fraction(0)  # none, as before
        passed.pict_type = 0  # left on a frame it would dictate the next encoder's choice
        return passed

    def copy(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The same with samples of its own, which may be written to."""
        passed = self.reference(frame)
        passed.make_writable()  # at once: PyAV keeps pointers to the side data that anybody asked for before
        return passed

    def reset(self) -> None:
        """Forget the last frame."""
        self._same.reset()

    def close(self) -> None:
        """Free the graph; used again, it is made again."""
        self._same.close()
