"""What the machine layer learns from: photographs and frames of clips, with the boxes that detectors find in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duoview.models.data import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Picture, half, is_held, read_clip, read_picture
from duoview.models.object_labels import Found
from duoview.models.regions import edge_weights, motion_weights, region_weights

#: Boxes count as objects from this strength on.
SURE = 0.3
#: Crops begin at multiples of this, the positions of the latent space.
STEP = 8


@dataclass(frozen=True, eq=False)
class Look:
    """A picture (H, W, 3) uint8, the one before where it is of a clip, boxes (N, 4) x0 y0 x1 y1 of sure objects.

    source: the folder or the clip that it is from.
    """

    source: str
    picture: Picture
    previous: Picture | None
    boxes: NDArray[np.float32]

    def cut(self, top: int, left: int, size: int) -> Look:
        """A square of it; boxes may reach beyond its sides."""
        window = np.s_[top:top + size, left:left + size]
        return Look(self.source, self.picture[window], None if self.previous is None else self.previous[window],
                    self.boxes - np.array([left, top, left, top], np.float32))


@dataclass(frozen=True)
class RegionWeights:
    """What of a picture counts how much: 1 in boxes of objects, ``outside`` at least everywhere.

    edges, motion: what outlines and moving cells away from all objects add to that.
    """

    outside: float = 0.12
    edges: float = 0.13
    motion: float = 0.25

    def __post_init__(self) -> None:
        if not (0 <= self.outside <= 1 and 0 <= self.edges <= 1 and 0 <= self.motion <= 1):
            raise ValueError(f"{self}: expected shares of 0 to 1")

    def of(self, look: Look) -> NDArray[np.float32]:
        """(H, W), from ``outside`` to 1."""
        weight = region_weights(look.boxes, look.picture.shape[:2], self.outside)
        around = np.full_like(weight, self.outside)
        if self.edges:
            around += self.edges * edge_weights(look.picture)
        if self.motion and look.previous is not None:
            around += self.motion * motion_weights(look.picture, look.previous)
        return np.maximum(weight, np.minimum(around, 1))


@dataclass
class Looks:
    """Looks to train on and looks held back."""

    train: list[Look]
    held: list[Look]


def read_looks(folders: Sequence[Path], labels: Callable[[Picture], Found], *, hold_clips: Sequence[str] = (),
               least: int = 192, clip_frames: int = 96, clip_step: int = 4, held_frames: int = 6) -> Looks:
    """Every image and clip below ``folders`` with both sides ``least`` or more; large images at half their size too.

    Of clips every ``clip_step``-th of the first ``clip_frames`` frames at about 12 a second; of those held back
    ``held_frames``. Every tenth image is held back, by its name. What cannot be read is named and left out.
    Raises FileNotFoundError when there is nothing to train on, ValueError when a clip to hold back is not there.
    """
    looks = Looks([], [])

    def add(source: str, picture: Picture, previous: Picture | None, held: bool) -> None:
        boxes, strengths = labels(picture)
        (looks.held if held else looks.train).append(Look(source, picture, previous, boxes[strengths >= SURE]))

    paths = sorted({path for folder in folders for path in folder.rglob("*")})
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    for name in hold_clips:
        if not any(name in path.name for path in videos):
            raise ValueError(f"held back {name!r}: no clip of that name")
    for path in paths:
        try:
            if path.suffix.lower() in IMAGE_SUFFIXES:
                if path.suffix.lower() == ".png" and path.with_suffix(".jpg").exists():
                    continue  # a label map beside its photograph
                picture, held = read_picture(path), is_held(path.name)
                if min(picture.shape[:2]) >= least:
                    add(path.parent.name, picture, None, held)
                if min(picture.shape[:2]) >= 2 * least and not held:
                    add(path.parent.name, half(picture), None, held)
            elif path in videos:
                held = any(name in path.name for name in hold_clips)
                clip = read_clip(path, clip_frames, 640, 12.0)
                if min(clip.shape[1:3]) < least:
                    continue
                step = max(clip_step, len(clip) // held_frames) if held else clip_step
                for at in range(min(1, len(clip) - 1), len(clip), step):
                    add(path.stem, clip[at], clip[at - 1] if at else None, held)
        except (av.FFmpegError, ValueError) as error:
            print(f"left out {path.name}: {error}", flush=True)
    if not looks.train:
        raise FileNotFoundError(f"no image and no video of at least {least}x{least} pixels to train on in "
                                f"{', '.join(map(str, folders))}")
    return looks


@dataclass(frozen=True)
class Batch:
    """Pictures (B, 3, S, S) in [0, 1], channels last in memory, and what of them counts how much, (B, 1, S, S)."""

    picture: Tensor
    weight: Tensor


def place(look: Look, size: int, aimed: float, random: np.random.Generator) -> tuple[int, int]:
    """Top and left of a crop; around one of the objects in a share ``aimed`` of those pictures that have any."""
    height, width = look.picture.shape[:2]
    if len(look.boxes) and random.random() < aimed:
        x0, y0, x1, y1 = look.boxes[random.integers(len(look.boxes))].tolist()
        centre = ((y0 + y1) / 2, (x0 + x1) / 2)
    else:
        centre = (random.uniform(0, height), random.uniform(0, width))
    corner = []
    for middle, side in zip(centre, (height, width), strict=True):
        wanted = middle + random.uniform(-0.3, 0.3) * size - size / 2
        corner.append(int(np.clip(round(wanted / STEP), 0, (side - size) // STEP)) * STEP)
    return corner[0], corner[1]


def batches(looks: Sequence[Look], size: int, batch: int, regions: RegionWeights, random: np.random.Generator,
            aimed: float = 0.75) -> Iterator[Batch]:
    """Endless batches of crops of the looks that are large enough; sources by the root of how many looks they have.

    Raises ValueError where none is large enough.
    """
    by_source: dict[str, list[Look]] = {}
    for look in looks:
        if min(look.picture.shape[:2]) >= size:
            by_source.setdefault(look.source, []).append(look)
    if not by_source:
        raise ValueError(f"crops of {size} pixels: every picture is smaller")
    names = sorted(by_source)
    share = np.array([len(by_source[name]) for name in names], np.float64) ** 0.5
    share /= share.sum()
    while True:
        pictures = np.empty((batch, size, size, 3), np.uint8)
        weights = np.empty((batch, 1, size, size), np.float32)
        for n in range(batch):
            of = by_source[names[random.choice(len(names), p=share)]]
            look = of[random.integers(len(of))]
            top, left = place(look, size, aimed, random)
            seen = look.cut(top, left, size)
            picture, weight = seen.picture, regions.of(seen)
            # Upside down is not how anything is seen; mirrored is.
            if random.random() < 0.5:
                picture, weight = picture[:, ::-1], weight[:, ::-1]
            pictures[n], weights[n, 0] = picture, weight
        yield Batch(torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255), torch.from_numpy(weights))
