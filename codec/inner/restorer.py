"""Puts back what the standard codec took and detectors miss: the restoration network on the pictures that are shown.

The network sees a picture and the two decoded before it, never what it gave itself: a picture comes out the same
whether those before it were restored or not, so skipping costs nothing, and seeking gives what playing gives.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview.backends import Network
from duoview.picture import PictureReader, scaled_picture

from .player import Shown

#: The picture itself and the two before it.
_SEEN = 3


@dataclass
class _Seen:
    """A decoded picture and the size at which it is shown; its samples once they were needed."""

    shown: Shown
    size: tuple[int, int]
    samples: NDArray[np.uint8] | None = None

    def picture(self, reader: PictureReader) -> NDArray[np.uint8]:
        if self.samples is None:
            assert self.shown.frame is not None
            self.samples = scaled_picture(reader, self.shown.frame, self.shown.size, self.size)
        return self.samples


class Restorer:
    """Restores the pictures of one stream, given in the order of presentation.

    What is remembered is of one group: a picture of another group than the last one's begins anew.

    Args:
        network: of a profile, ``restoration``.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._seen: deque[_Seen] = deque(maxlen=_SEEN)

    def reset(self) -> None:
        """Forget all pictures, after a seek."""
        self._seen.clear()

    def see(self, shown: Shown, size: tuple[int, int]) -> None:
        """Take the next decoded picture, shown at ``size`` (width, height). Nothing is computed yet."""
        if shown.frame is None:
            raise ValueError("shown: expected a decoded picture, got the repetition of one")
        if self._seen and (self._seen[-1].shown.times.group, self._seen[-1].size) != (shown.times.group, size):
            self._seen.clear()
        self._seen.append(_Seen(shown, size))

    def picture(self, reader: PictureReader) -> NDArray[np.uint8]:
        """The last picture taken, restored, (1, 3, H, W) uint8, padded as `PictureReader` pads."""
        if not self._seen:
            raise ValueError("picture() before the first see()")
        pictures = [seen.picture(reader) for seen in self._seen]
        pictures = pictures[:1] * (_SEEN - len(pictures)) + pictures
        level = np.array([self._seen[-1].shown.times.q], np.int64)
        (restored,) = self._network(picture=pictures[2], earlier=pictures[1], earliest=pictures[0], q=level)
        return restored
