"""What texture is coded beside and added to: the machine view of a frame, in the latent of E and in integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview.backends import Backend
from duoview.picture import onto
from duoview.profile import Profile

Floats = NDArray[np.float32]
Samples = NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """What the machine layer tells of a frame, the same to encoder and decoder.

    key: of a key unit. decoded: y of the neural codec in sixteenths, (1, symbols, H / 16, W / 16); means: block means
    of an inner codec's picture (``block_means``); one of them. moved: (H / 8, W / 8), where the machine view may be
    another than in the frame before. q: quality index that texture goes by.
    """

    key: bool
    decoded: Floats | None
    means: Floats | None
    moved: NDArray[np.bool_]
    q: int


class TextureView:
    """E and D around the machine view.

    The base of texture is E of the machine view: the neural layer's own latent was trained to be decoded, not to be E
    of anything. What texture changes in D of the base is added to the machine view, which stays as it was elsewhere.
    """

    def __init__(self, profile: Profile, backend: Backend) -> None:
        self._encoder, self._decoder = profile.load("encoder", backend), profile.load("decoder", backend)

    def latent(self, picture: Samples) -> Floats:
        """E of a picture (1, 3, H, W): (1, C, H / 8, W / 8)."""
        (found,) = self._encoder(picture=picture)
        return np.asarray(found, np.float32)

    def picture(self, latent: Floats) -> Samples:
        """D of a latent: (1, 3, H, W)."""
        (found,) = self._decoder(z=latent)
        return np.asarray(found, np.uint8)

    def show(self, machine: Samples, residual: Floats, base: Floats | None = None) -> Samples:
        """The texture view of a machine view (1, 3, H, W) with what its latent lacks; itself where that is nothing.

        base: E of the machine view, where it is known.
        """
        if not residual.any():
            return machine
        if base is None:
            base = self.latent(machine)
        return onto(machine, self.picture(base + residual), self.picture(base))
