"""The human view: a picture for people, regenerated from the machine layer by guided diffusion, at zero extra bits.

Start ``guided`` (after Shindo et al., 2503.17907): pure noise, conditioned on z_m; then the colour controller puts the
machine view's low frequencies back. What comes out is generated: every frame says so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from duoview import kernels
from duoview.backends import Backend
from duoview.profile import Profile
from duoview.prompt import load_denoiser

Floats = NDArray[np.float32]
STARTS = ("guided",)
MAX_STEPS = 50
#: Noise is addressed by position: a row holds at most this many latent columns (16384 pixels).
ROW_COLUMNS = 2048


@dataclass(frozen=True)
class Provenance:
    """What a human frame is made of. Travels in ``frame.opaque`` and in the side-car file. text: the user's own."""

    view: str
    start: str
    coded_layers: tuple[str, ...]
    generated: str
    steps: int
    seed: int
    profile: str
    profile_sha256: str
    text: str = ""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class HumanView:
    """The sampler of one stream.

    Args:
        start: ``guided``. steps: 1..50 Euler steps of the flow. seed: 0..2^64-1; same seed, same picture.
        text: what is to be seen, for profiles with a text encoder.
    """

    def __init__(self, profile: Profile, backend: Backend, *, start: str = "guided", steps: int = 4,
                 seed: int = 0, text: str = "") -> None:
        if start not in STARTS:
            raise ValueError(f"start={start!r}: this version knows {', '.join(STARTS)}")
        if not 1 <= steps <= MAX_STEPS:
            raise ValueError(f"steps={steps}: expected 1 to {MAX_STEPS}")
        if not 0 <= seed < 1 << 64:
            raise ValueError(f"seed={seed}: expected 0 to 2^64 - 1")
        self.profile, self.steps, self.seed = profile, steps, seed
        self._denoiser = load_denoiser(profile, backend, text)
        self._colour = profile.load("colour", backend)
        self._noise: Floats | None = None
        self.provenance = Provenance(
            view="human", start=start, coded_layers=("machine",), generated="all detail above the machine view",
            steps=steps, seed=seed, profile=profile.name, profile_sha256=profile.sha256.hex(), text=text)

    def noise(self, height: int, width: int) -> Floats:
        """Standard normals (1, latent, height, width), addressed by seed, row, column and channel, not by time."""
        channels = self.profile.sizes.latent
        if self._noise is None or self._noise.shape[2:] != (height, width):
            rows = [kernels.normals(self.seed, stream=0, offset=row * ROW_COLUMNS * channels, count=width * channels)
                    for row in range(height)]
            grid = np.stack(rows).reshape(height, width, channels)
            self._noise = np.ascontiguousarray(grid.transpose(2, 0, 1)[None])
        return self._noise

    def latent(self, z_m: Floats, q: int) -> Floats:
        """z_h for the human view, the shape of z_m."""
        state = self.noise(*z_m.shape[2:])
        level = np.array([q], np.int64)
        for step in range(self.steps):
            # A step from time t to t + 1/steps covers this share of the way that is left.
            gain = 1.0 / (self.steps - step)
            (state,) = self._denoiser(state=state, z_m=z_m, time=np.array([[step / self.steps]], np.float32),
                                      gain=np.array([gain], np.float32), q=level)
        scale = self.profile.residual_scale[q][None, :, None, None]
        return z_m + state * scale

    def colour(self, human: NDArray[np.uint8], machine: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The human picture with the machine picture's low frequencies; both (1, 3, H, W)."""
        (picture,) = self._colour(human=human, machine=machine)
        return picture
