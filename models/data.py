"""Training material: photographs and clips from folders, read once into memory, cut into random crops.

Validation holds out every tenth image and whole clips (never random frames of a clip).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm"}
VIDEO_SUFFIXES = {".mp4", ".avi", ".mpg", ".mkv", ".mov", ".gif", ".nut", ".webm"}
Picture = NDArray[np.uint8]


@dataclass
class Material:
    """Pictures (H, W, 3) uint8 and clips (T, H, W, 3) uint8, with the hold-out beside them."""

    pictures: list[Picture] = field(default_factory=list)
    clips: dict[str, Picture] = field(default_factory=dict)
    held_pictures: list[Picture] = field(default_factory=list)
    held_clips: dict[str, Picture] = field(default_factory=dict)


def read_picture(path: Path) -> Picture:
    """Decode one still image to RGB. Raises av.FFmpegError on a damaged file."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    raise ValueError(f"{path}: no picture in this file")


def read_clip(path: Path, frames: int, long_side: int, fps: float) -> Picture:
    """Decode up to ``frames`` consecutive frames at about ``fps``, scaled down to ``long_side``: (T, H, W, 3)."""
    taken: list[Picture] = []
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"{path}: no video stream in this file")
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 25)
        step = max(1, round(rate / fps))
        for at, frame in enumerate(container.decode(stream)):
            if at % step:
                continue
            scale = min(1.0, long_side / max(frame.width, frame.height))
            width, height = round(frame.width * scale) // 2 * 2, round(frame.height * scale) // 2 * 2
            small = frame.reformat(width, height, "rgb24", interpolation="AREA")
            taken.append(small.to_ndarray().astype(np.uint8, copy=False))
            if len(taken) == frames:
                break
    if not taken:
        raise ValueError(f"{path}: no frame in this file")
    return np.stack(taken)


def half(picture: Picture) -> Picture:
    """Average 2x2 pixels: halves both sides and takes compression artefacts of the source away."""
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    quads = picture[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).astype(np.uint16)
    return ((quads.sum((1, 3)) + 2) // 4).astype(np.uint8)


def is_held(name: str) -> bool:
    """Whether a picture of this file name is held back, as every tenth is.

    The hold-out follows the name, not the order, so that adding files does not move others across.
    """
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10 == 0


def load(folders: list[Path], *, hold_clips: tuple[str, ...] = (), clip_frames: int = 96, clip_side: int = 640,
         clip_fps: float = 12.0, crop: int = 128) -> Material:
    """Read every image and clip below ``folders``. Folders of numbered frames count as images.

    A file that cannot be read is named and left out. Without any image the first frames of the clips are the pictures.
    Raises FileNotFoundError when nothing usable is found.
    """
    material = Material()
    images = sorted(p for f in folders for p in f.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    videos = sorted(p for f in folders for p in f.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    for path in images:
        if path.suffix.lower() == ".png" and path.with_suffix(".jpg").exists():
            continue  # a label map beside its photograph
        try:
            picture = read_picture(path)
        except (av.FFmpegError, ValueError) as error:
            print(f"left out {path.name}: {error}")
            continue
        target = material.held_pictures if is_held(path.name) else material.pictures
        if min(picture.shape[:2]) >= crop:
            target.append(picture)
        if min(picture.shape[:2]) >= 2 * crop:
            target.append(half(picture))
    for path in videos:
        try:
            clip = read_clip(path, clip_frames, clip_side, clip_fps)
        except (av.FFmpegError, ValueError) as error:
            print(f"left out {path.name}: {error}")
            continue
        if len(clip) < 8 or min(clip.shape[1:3]) < crop:
            print(f"left out {path.name}: {clip.shape}")
            continue
        held = any(name in path.name for name in hold_clips)
        (material.held_clips if held else material.clips)[path.stem] = clip
    if not material.pictures:
        material.pictures = [clip[0] for clip in material.clips.values()]
    if not material.pictures:
        raise FileNotFoundError(f"no image of at least {crop}x{crop} pixels and no video of 8 such frames to train on "
                                f"in {', '.join(map(str, folders))}")
    return material


def to_tensor(batch: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [0, 1], channels last in memory."""
    return torch.from_numpy(batch).permute(0, 3, 1, 2).float().div_(255)


def _flip(crop: Picture, random: np.random.Generator, axis: int) -> Picture:
    if random.random() < 0.5:
        crop = crop[..., ::-1, :]
    if random.random() < 0.5:
        crop = np.swapaxes(crop, axis, axis + 1)
    return crop


def crops(material: Material, batch: int, size: int, seed: int, clip_share: float = 0.25) -> Iterator[Tensor]:
    """Endless batches of random crops, (batch, 3, size, size) in [0, 1]; flips and transpositions included."""
    random = np.random.default_rng(seed)
    weights = np.array([p.shape[0] * p.shape[1] for p in material.pictures], np.float64) ** 0.5
    weights /= weights.sum()
    clips = list(material.clips.values())
    while True:
        out = np.empty((batch, size, size, 3), np.uint8)
        for n in range(batch):
            if clips and random.random() < clip_share:
                clip = clips[random.integers(len(clips))]
                picture = clip[random.integers(len(clip))]
            else:
                picture = material.pictures[random.choice(len(weights), p=weights)]
            top = random.integers(picture.shape[0] - size + 1)
            left = random.integers(picture.shape[1] - size + 1)
            out[n] = _flip(picture[top:top + size, left:left + size], random, 0)
        yield to_tensor(out)


class CropStream(IterableDataset[Tensor]):
    """``crops`` as a data set, a different sequence in every worker process."""

    def __init__(self, material: Material, batch: int, size: int, seed: int, clip_share: float = 0.25) -> None:
        self.material, self.batch, self.size, self.seed, self.clip_share = material, batch, size, seed, clip_share

    def __iter__(self) -> Iterator[Tensor]:
        worker = get_worker_info()
        seed = self.seed if worker is None else self.seed + 7919 * (worker.id + 1)
        return crops(self.material, self.batch, self.size, seed, self.clip_share)


def batches(material: Material, batch: int, size: int, seed: int, device: torch.device, workers: int,
            clip_share: float = 0.25) -> Iterator[Tensor]:
    """Endless batches on ``device``; ``workers`` processes cut them (0: this one, which is right for CPU training)."""
    loader: DataLoader[Tensor] = DataLoader(CropStream(material, batch, size, seed, clip_share), batch_size=None,
                                            num_workers=workers, pin_memory=device.type == "cuda")
    for picture in loader:
        yield picture.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
