"""Average rate: chooses the quality index of every frame so that a stream takes so many bits per second.

One pass, without lookahead: a key frame and the P frames behind it are expected to cost what the last ones did, by a
logarithm that is linear in the quality index (x264's one-pass ABR, Merritt and Vanam 2006, rests on the same). Seconds
go by time stamps (`duoview.presentation_clock`): a camera that sends fewer frames gets more bits for each.
"""

from __future__ import annotations

import math
from fractions import Fraction

from duoview.errors import LimitError
from duoview.presentation_clock import PresentationClock

#: Natural logarithm of bits, a step of the quality index.
SLOPE = 0.058
#: Bits per pixel of a first key frame at q 0, and of a P frame's share of that: guesses until frames were coded.
_KEY_BITS, _P_SHARE = 0.03, 0.15
#: How much of the surplus or debt the next group of pictures is to make up for, and in how many seconds at least.
#: Groups longer than _FAR_SECONDS are planned as if they were that long: their P frames alone can keep the rate.
_REPAID, _WINDOW_SECONDS, _FAR_SECONDS = 0.5, 4.0, 10.0
#: Weight of the last frame in what the next is expected to cost.
_KEY_WEIGHT, _P_WEIGHT = 0.6, 0.1
#: Steps of q from one group to the next at most; within a group q moves by whole steps of _STEP.
_MOST, _STEP = 14, 4


class RateControl:
    """Quality indices for one stream.

    Args:
        bit_rate: bits per second. rate: frames per second, until their times tell. gop: frames from key frame to
            key frame at most; where key frames come earlier, groups are expected to be as long as the last ones were.
            pixels: of a frame.
        most: greatest quality index.
    """

    def __init__(self, bit_rate: int, rate: Fraction, gop: int, pixels: int, most: int) -> None:
        if bit_rate < 1:
            raise LimitError(f"bit_rate={bit_rate}: expected 1 or more bits per second")
        self._bit_rate, self._gop, self._most, self._pixels = float(bit_rate), float(gop), most, pixels
        self._clock = PresentationClock(rate)
        #: Frames: that a group is expected to have; of the one that is being coded.
        self._frames = self._longest
        self._coded = 0
        #: Expected logarithms of bits at q 0, of key frames and of P frames.
        self._key_log = math.log(_KEY_BITS * pixels)
        self._p_log = self._key_log + math.log(_P_SHARE)
        self._known_key = self._known_p = False
        #: Bits beyond the target since the start, within what a window allows.
        self._debt = 0.0
        self._q = 0.0
        self._left = self._frames

    @property
    def _target(self) -> float:
        """Bits of a frame that lasts as long as usual."""
        return self._bit_rate * self._clock.interval

    @property
    def _longest(self) -> float:
        """Frames that a group is expected to have at most."""
        return max(1.0, min(self._gop, _FAR_SECONDS / self._clock.interval))

    @property
    def _window(self) -> float:
        """Frames within which a surplus or debt counts."""
        return max(self._longest, _WINDOW_SECONDS / self._clock.interval)

    def resized(self, pixels: int) -> None:
        """Frames have so many pixels from now on: what was learned is a guess again, by their share of pixels."""
        more = math.log(pixels / self._pixels)
        self._key_log += more
        self._p_log += more
        self._pixels, self._known_key, self._known_p = pixels, False, False

    def quality(self, *, key: bool, seconds: float | None = None) -> int:
        """Of the next frame. seconds: its presentation time, None where it has none."""
        self._debt -= self._bit_rate * self._clock.tell(seconds)
        limit = 2 * self._window * self._target
        self._debt = min(max(self._debt, -limit), limit)
        if key:
            frames = min(self._frames, self._longest)
            wanted = frames * self._target - _REPAID * self._debt * min(1.0, frames / self._window)
            unit = math.exp(self._key_log) + (frames - 1) * math.exp(self._p_log)
            planned = math.log(max(wanted, frames * self._target / 8) / unit) / SLOPE
            if self._known_key:
                planned = min(max(planned, self._q - _MOST), self._q + _MOST)
            self._q = min(max(planned, 0.0), float(self._most))
        elif self._known_p:
            # Where the group would end, should its P frames go on as the last ones; a change of q costs a section.
            end = self._debt + self._left * (math.exp(self._p_log + SLOPE * self._q) - self._target)
            room = self._window * self._target / 2
            if end > room:
                self._q = max(self._q - _STEP, 0.0)
            elif end < -room:
                self._q = min(self._q + _STEP, float(self._most))
        return round(self._q)

    def coded(self, bits: int, *, key: bool, q: int) -> None:
        """Tell what the frame took, all of its access unit."""
        at_zero = math.log(max(bits, 8)) - SLOPE * q
        if key:
            if self._coded:
                self._frames = math.sqrt(self._frames * min(float(self._coded), self._longest))
            self._coded, self._left = 0, self._frames
            weight = _KEY_WEIGHT if self._known_key else 1.0
            self._key_log += weight * (at_zero - self._key_log)
            self._known_key = True
            if not self._known_p:
                self._p_log = self._key_log + math.log(_P_SHARE)
        else:
            weight = _P_WEIGHT if self._known_p else 1.0
            # The mean of bits, not of their logarithms: a few frames take most of them.
            self._p_log = math.log((1 - weight) * math.exp(self._p_log) + weight * math.exp(at_zero))
            self._known_p = True
        self._debt += bits
        self._coded += 1
        self._left = max(1.0, self._left - 1)
