"""Seconds from frame to frame of one stream, by its time stamps as far as these make sense.

Cameras thin out their frames, files have a rate of their own in every scene, containers tell nominal rates that nobody
keeps; and time stamps jump, start again, or are missing. What counts is presentation time, as with libavcodec's rate
control, but no single time stamp counts for more than a gap that may well be one.
"""

from __future__ import annotations

import statistics
from collections import deque
from fractions import Fraction

#: Of how many distances between frames the expected one is the mean, and how many times their median each may count.
_FRAMES, _UNEVEN = 16, 8.0
#: Seconds between two frames that are believed, however close the others are. Frames that are less than so much behind
#: another are in another order than that of their times; further back, times start again.
_GAP_SECONDS = 4.0


class PresentationClock:
    """Tells how much presentation time passes between the frames of a stream.

    Args:
        rate: frames per second, which count until three frames have told their times.
    """

    def __init__(self, rate: Fraction) -> None:
        self._apart: deque[float] = deque(maxlen=_FRAMES)
        #: Time of the last frame that had one; frames without one since then, and the seconds that they counted.
        self._last: float | None = None
        self._untold, self._counted = 0, 0.0
        self._began = self._restarted = False
        #: Seconds that a frame is expected to last, by the last ones.
        self.interval = float(1 / rate)

    def tell(self, seconds: float | None) -> float:
        """Take the next frame's presentation time, None where it has none.

        Returns the seconds since the frame before: 0 for the first one, and those of a usual frame where times are
        missing, go back or start again. A gap counts for no more than 4 s or 8 usual frames, whichever is longer.
        """
        passed = self.interval if self._began else 0.0
        self._began = True
        # A coarse time base tells several frames one time. What is a little behind is passed when the latest time is.
        if seconds is None or (self._last is not None and 0 <= self._last - seconds < _GAP_SECONDS):
            self._untold += 1
            self._counted += passed
            return passed
        restarted, self._restarted = self._restarted, self._last is not None and seconds < self._last
        apart = seconds - self._last if self._last is not None else 0.0
        # A jump right behind one back is from source to source; no time passes in it.
        if apart > 0 and not (restarted and apart > max(_GAP_SECONDS, _UNEVEN * self.interval)):
            self._apart.append(apart / (self._untold + 1))
            if len(self._apart) > 1:
                # The lower median: of two distances, one may be a jump.
                most = _UNEVEN * statistics.median_low(self._apart)
                self.interval = sum(min(one, most) for one in self._apart) / len(self._apart)
            passed = min(max(0.0, apart - self._counted), max(_GAP_SECONDS, _UNEVEN * self.interval))
        self._last, self._untold, self._counted = seconds, 0, 0.0
        return passed
