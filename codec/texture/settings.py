"""What an encoder of texture is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from duoview.errors import LimitError
from duoview.kernels.palette import MAX_DEPTH
from duoview.texture.depths import Depths
from duoview.texture.geometry import DEFAULT_TILE_LOG2, LEAST_TILE_LOG2, MOST_TILE_LOG2

if TYPE_CHECKING:
    from duoview.inner.importance import Region

#: Which frames carry texture: key frames only, or all.
FRAMES = ("key", "all")


@dataclass(frozen=True)
class TextureSettings:
    """Texture of an encoder.

    Args:
        depths: how deep each tile is sent at most; a number is taken for ``Depths(number)``. Nothing else that is coded
            depends on it: less depth is the same stream, cut.
        frames: ``key`` or ``all``. bit_rate: bits per second at most, on average over a group of pictures; tiles are
            then cut where that costs least. 0 for no limit.
        palettes: adapt the palettes to the group of pictures where that pays.
        tile_log2: log2 of a tile's side in latent positions (8 pixels), 3 to 8.
        roi, guide: regions, and what finds objects: ``off``, ``auto``, ``detections`` that frames carry, ``saliency``
            of the profile's network. With any, tiles go as deep as is worth the bits, and errors elsewhere count less;
            regions lie on what the guide finds, or alone on nothing.
    """

    depths: Depths = field(default_factory=lambda: Depths(MAX_DEPTH))
    frames: str = "key"
    bit_rate: int = 0
    palettes: bool = True
    tile_log2: int = DEFAULT_TILE_LOG2
    roi: tuple[Region, ...] = ()
    guide: str = "off"

    @property
    def guided(self) -> bool:
        """Whether parts of pictures count more than others."""
        return bool(self.roi) or self.guide != "off"

    def __post_init__(self) -> None:
        if isinstance(self.depths, int):
            object.__setattr__(self, "depths", Depths(self.depths))
        if self.frames not in FRAMES:
            raise LimitError(f"texture frames={self.frames!r}: expected one of {', '.join(FRAMES)}")
        if not 0 <= self.bit_rate < 1 << 31:
            raise LimitError(f"texture bit_rate={self.bit_rate}: expected 0 to 2^31 - 1 bits per second")
        if not LEAST_TILE_LOG2 <= self.tile_log2 <= MOST_TILE_LOG2:
            raise LimitError(f"texture tile_log2={self.tile_log2}: expected {LEAST_TILE_LOG2} to {MOST_TILE_LOG2}")
