"""The best seed: an encoder tries a few and sends the number of the one whose human view is nearest to the source."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from duoview.backends import Backend
from duoview.errors import LimitError
from duoview.human import Floats, Hints, HumanView
from duoview.profile import Profile

#: Numbers that one byte tells apart.
MOST_SEEDS = 256
_WINDOW = 16
_TAPER = np.hanning(_WINDOW + 2)[1:-1].astype(np.float32)


def spectra(picture: NDArray[np.uint8]) -> Floats:
    """Logarithms of windowed Fourier magnitudes of a picture's (1, 3, H, W) luma, windows of 16 that overlap by half.

    They say which texture is where, and little of the places of its grains (after Guo et al., ACM MM 2023).
    """
    luma = picture[0].mean(0, dtype=np.float32) / np.float32(255)
    step = _WINDOW // 2
    windows = np.lib.stride_tricks.sliding_window_view(luma, (_WINDOW, _WINDOW))[::step, ::step]
    magnitudes = np.abs(np.fft.rfft2(windows * (_TAPER[:, None] * _TAPER[None, :])))
    return np.log1p(magnitudes * 4).astype(np.float32)


class SeedSearch:
    """Tries seeds 0 to count - 1 on key frames, each with a human view from pure noise.

    Args:
        count: 1 to 256. steps: of the views that are tried, fewer than a viewer's are enough.
    Raises LimitError for another count, ValueError for other steps than HumanView takes.
    """

    def __init__(self, profile: Profile, backend: Backend, count: int, *, steps: int = 2) -> None:
        if not 1 <= count <= MOST_SEEDS:
            raise LimitError(f"seeds={count}: expected 1 to {MOST_SEEDS}")
        self.count = count
        self._view = HumanView(profile, backend, start="guided", steps=steps, seed=None)
        self._decoder = profile.load("decoder", backend)

    def distances(self, picture: NDArray[np.uint8], z_m: Floats, q: int) -> list[float]:
        """Mean distance of the spectra of each seed's view from those of the source picture (1, 3, H, W)."""
        wanted = spectra(picture)
        (machine,) = self._decoder(z=z_m)
        found = []
        for seed in range(self.count):
            human = self._view.picture(z_m, q, Hints(seed=seed))
            found.append(float(np.abs(spectra(self._view.colour(human, machine)) - wanted).mean()))
        return found

    def best(self, picture: NDArray[np.uint8], z_m: Floats, q: int) -> int:
        """The number of the nearest seed; the first of equals."""
        return int(np.argmin(self.distances(picture, z_m, q)))
