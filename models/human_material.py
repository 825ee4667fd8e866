"""What the human view is trained on beside pictures and latents: captions of crops, and what texture knows of them.

Captions are those that the encoder would send: a detector looks at the whole picture, what lies in the crop is told.
Texture is coded by the profile's own networks and palettes, at any depth.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duoview.backends import CpuBackend
from duoview.captions import Caption, Captioner
from duoview.detections import Detections
from duoview.models.data import Material, Picture, to_tensor
from duoview.profile import TEXTURE_ANALYSIS, Profile
from duoview.texture.palettes import Palettes
from duoview.texture.view import TextureView

#: Finds objects in pictures (H, W, 3), uint8 RGB.
Find = Callable[[Sequence[Picture]], Sequence[Detections]]
#: Share of a box that has to lie in a crop for its object to be told of.
INSIDE = 0.4
#: Frames of a clip that a caption looks back over, two at a time, and their rate: that of ``data.load``.
_LOOK_BACK, _FRAME_RATE = 6, 12.0


class TextureStates:
    """What texture of every depth says of z - z_m, as a decoder of the profile would have it.

    That is E of the machine view and what was coded beside it, less z_m; without texture, depth 0, nothing: zeros.

    Raises ProfileError for a profile without a texture layer.
    """

    def __init__(self, profile: Profile) -> None:
        self._palettes = Palettes(profile.texture())
        backend = CpuBackend(1)
        self._view = TextureView(profile, backend)
        self._analysis = profile.load(TEXTURE_ANALYSIS, backend)
        self._analysis_file = profile.path(TEXTURE_ANALYSIS).read_bytes()

    @property
    def depth(self) -> int:
        """Of the deepest texture."""
        return self._palettes.tables.depth

    @property
    def sha256(self) -> str:
        """Of the palettes, and of what turns a latent into their components and back; not of the prior."""
        digest = hashlib.sha256(self._analysis_file)
        for name, array in self._palettes.tables.arrays().items():
            if name.startswith(("embedding", "logits")) or name in ("classes", "levels"):
                continue  # of the prior, and which depth goes beside an inner codec
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        return digest.hexdigest()

    def known(self, z: Tensor, z_m: Tensor, q: Tensor, depths: Tensor) -> Tensor:
        """What is known beside z_m (N, C, h, w) at depths (N,), 0 for no texture; on the device of z_m."""
        found = np.zeros(z_m.shape, np.float32)
        arrays = [one.detach().float().cpu().numpy() for one in (z, z_m)]
        for index, (level, depth) in enumerate(zip(q.tolist(), depths.tolist(), strict=True)):
            if depth:
                (found[index],) = self._of(arrays[0][index:index + 1], arrays[1][index:index + 1], level, (depth,))
        return torch.from_numpy(found).to(z_m.device)

    def all_depths(self, z: Tensor, z_m: Tensor, q: int) -> Tensor:
        """(depth + 1, C, h, w) of one z, z_m (1, C, h, w): what is known at every depth, 0 included."""
        clear, coded = (one.detach().float().cpu().numpy() for one in (z, z_m))
        return torch.from_numpy(np.stack(self._of(clear, coded, q, range(self.depth + 1))))

    def _of(self, z: NDArray[np.float32], z_m: NDArray[np.float32], q: int, depths: Sequence[int]
            ) -> list[NDArray[np.float32]]:
        base = self._view.latent(self._view.picture(z_m))
        (components,) = self._analysis(z=z, base=base, q=np.array([q], np.int64))
        leaves = self._palettes.leaves_of(self._palettes.vectors_of(components[0], q), q)
        nodes = np.ascontiguousarray(leaves.T).reshape(-1, *z_m.shape[2:])
        offset = base[0] - z_m[0]
        return [self._palettes.residual(nodes >> np.uint8(self.depth - depth), depth, q) + offset if depth
                else np.zeros_like(offset) for depth in depths]


def cropped(found: Detections, left: int, top: int, size: int, *, mirrored: bool) -> Detections:
    """What of a picture's objects lies in a square crop, in its pixels."""
    boxes = found.boxes - np.array([left, top, left, top], np.float32)
    inside = np.clip(boxes, 0, size)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    share = (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1]) / np.maximum(area, 1e-6)
    if mirrored:
        inside = np.stack([size - inside[:, 2], inside[:, 1], size - inside[:, 0], inside[:, 3]], 1)
    return replace(found, boxes=inside, width=size, height=size, track_ids=None).keep(share >= INSIDE)


@dataclass(frozen=True)
class CaptionedCrops:
    """Crops (N, 3, H, W) in [0, 1], and the caption of each."""

    pictures: Tensor
    captions: tuple[Caption, ...]


class CaptionedMaterial:
    """Random crops with captions, of pictures and of clips, where these also tell of motion.

    Args:
        find: a detector; it looks at every picture once. size: side of a crop. clip_share: how many are of clips.
    """

    def __init__(self, material: Material, find: Find, *, size: int, seed: int, clip_share: float = 0.4) -> None:
        self._find, self._size = find, size
        self._random = np.random.default_rng(seed)
        self._pictures = [one for one in material.pictures if min(one.shape[:2]) >= size]
        self._clips = [one for one in material.clips.values() if len(one) > _LOOK_BACK]
        self._share = clip_share if self._clips else 0.0
        if not self._pictures:
            self._share = 1.0
        if not self._pictures and not self._clips:
            raise ValueError(f"no picture of at least {size}x{size} pixels and no clip of {_LOOK_BACK + 1} frames")
        self._found: dict[tuple[bool, int, int], Detections] = {}

    def batches(self, count: int) -> Iterator[CaptionedCrops]:
        """Endless batches of ``count`` crops."""
        while True:
            crops = [self._clip() if self._random.random() < self._share else self._still() for _ in range(count)]
            yield CaptionedCrops(to_tensor(np.stack([picture for picture, _ in crops])),
                                 tuple(caption for _, caption in crops))

    def _still(self) -> tuple[Picture, Caption]:
        number = int(self._random.integers(len(self._pictures)))
        return self._crop(self._pictures[number], [(self._look(False, number, 0, self._pictures[number]), None)])

    def _clip(self) -> tuple[Picture, Caption]:
        number = int(self._random.integers(len(self._clips)))
        clip = self._clips[number]
        last = int(self._random.integers(_LOOK_BACK, len(clip)))
        seen = [(self._look(True, number, at, clip[at]), at / _FRAME_RATE)
                for at in range(last - _LOOK_BACK, last + 1, 2)]
        return self._crop(clip[last], seen)

    def _look(self, is_clip: bool, number: int, at: int, picture: Picture) -> Detections:
        key = is_clip, number, at
        if key not in self._found:
            (self._found[key],) = self._find([np.ascontiguousarray(picture)])
        return self._found[key]

    def _crop(self, picture: Picture, seen: Sequence[tuple[Detections, float | None]]) -> tuple[Picture, Caption]:
        top, left = (int(self._random.integers(side - self._size + 1)) for side in picture.shape[:2])
        mirrored = bool(self._random.random() < 0.5)
        captioner, caption = Captioner(confidence=0, patience=1), Caption()  # the detector's own confidence decides
        for found, seconds in seen:
            caption = captioner.look(cropped(found, left, top, self._size, mirrored=mirrored), seconds)
        crop = picture[top:top + self._size, left:left + self._size]
        return np.ascontiguousarray(crop[:, ::-1] if mirrored else crop), caption
