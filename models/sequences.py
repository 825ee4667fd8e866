"""Endless streams of short sequences for P-frame training: real clips, still scenes and moved pictures.

Every sequence yields (noisy, clean) frames: the codec sees camera noise, the loss compares with the clean frame,
so that noise in still regions is something to ignore, not to code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview.models.data import Material, Picture

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class SequenceMix:
    """Shares of the kinds of sequences, and their length in frames (geometric, at least ``shortest``)."""

    real: float = 0.45
    still: float = 0.4
    shortest: int = 4
    mean: float = 40.0
    longest: int = 500
    noise: float = 4.0


def _crop(picture: Picture, size: int, random: np.random.Generator) -> Frame:
    top = random.integers(picture.shape[0] - size + 1)
    left = random.integers(picture.shape[1] - size + 1)
    return picture[top:top + size, left:left + size]


def _real(clip: Picture, size: int, length: int, random: np.random.Generator) -> Iterator[Frame]:
    """A window of a clip, at its rate or half of it, played to and fro where the clip is shorter than the sequence."""
    step = 2 if random.random() < 0.3 and len(clip) >= 2 * length else 1
    taken = min(length, len(clip) // step)
    start = random.integers(len(clip) - taken * step + 1)
    frames = clip[start:start + taken * step:step]
    # Prefer windows in which something moves: the best of three by temporal difference.
    best: tuple[float, int, int] | None = None
    for _ in range(3):
        top = int(random.integers(clip.shape[1] - size + 1))
        left = int(random.integers(clip.shape[2] - size + 1))
        a = frames[0, top:top + size:4, left:left + size:4].astype(np.int16)
        b = frames[-1, top:top + size:4, left:left + size:4].astype(np.int16)
        moved = float(np.abs(a - b).mean())
        if best is None or moved > best[0]:
            best = (moved, top, left)
    assert best is not None
    _, top, left = best
    window = frames[:, top:top + size, left:left + size]
    if random.random() < 0.5:
        window = window[:, :, ::-1]
    if random.random() < 0.3:
        window = window[::-1]
    period = max(1, 2 * taken - 2)
    for n in range(length):
        at = n % period
        yield window[at if at < taken else period - at]


def _still(picture: Picture, other: Picture, size: int, length: int, random: np.random.Generator) -> Iterator[Frame]:
    """A still scene; in most of them an object (a piece of another picture) enters and may move on."""
    scene = _crop(picture, size, random).copy()
    enters = int(random.integers(1, max(2, length))) if random.random() < 0.7 else length
    height, width = random.integers(16, 64, 2)
    piece = _crop(other, 64, random)[:height, :width]
    top, left = random.integers(0, size - 63, 2).astype(float)
    speed = random.uniform(-3, 3, 2) * (random.random() < 0.7)
    for n in range(length):
        frame = scene
        if n >= enters:
            frame = scene.copy()
            y, x = int(np.clip(top, 0, size - height)), int(np.clip(left, 0, size - width))
            frame[y:y + height, x:x + width] = piece
            top, left = top + speed[0], left + speed[1]
        yield frame


def _moved(picture: Picture, size: int, length: int, random: np.random.Generator) -> Iterator[Frame]:
    """A camera that pans over a photograph."""
    room = np.array(picture.shape[:2]) - size
    at = random.uniform(0, 1, 2) * room
    speed = random.uniform(-5, 5, 2)
    for _ in range(length):
        y, x = at.astype(int)
        yield picture[y:y + size, x:x + size]
        at = at + speed
        bounced = (at < 0) | (at > room)
        speed = np.where(bounced, -speed, speed)
        at = np.clip(at, 0, room)


def sequence(material: Material, size: int, mix: SequenceMix, random: np.random.Generator
             ) -> Iterator[tuple[Frame, Frame]]:
    """One sequence of (noisy, clean) frames, (size, size, 3) uint8."""
    length = int(np.clip(mix.shortest + random.exponential(mix.mean), mix.shortest, mix.longest))
    pictures, clips = material.pictures, list(material.clips.values())
    picture = pictures[random.integers(len(pictures))]
    kind = random.random()
    if clips and kind < mix.real:
        frames = _real(clips[random.integers(len(clips))], size, length, random)
    elif kind < mix.real + mix.still:
        frames = _still(picture, pictures[random.integers(len(pictures))], size, length, random)
    else:
        frames = _moved(picture, size, length, random)
    sigma = random.uniform(0, mix.noise) if random.random() < 0.6 else 0.0
    for frame in frames:
        clean = np.ascontiguousarray(frame)
        if sigma == 0.0:
            yield clean, clean
            continue
        noise = random.standard_normal(clean.shape, np.float32) * sigma
        yield np.clip(clean + noise + 0.5, 0, 255).astype(np.uint8), clean


class Slots:
    """``batch`` sequences played in parallel; each call advances all by one frame.

    Playing on from the network's own state makes training see states as old as those of real use, at the memory
    of a single frame.
    """

    def __init__(self, material: Material, batch: int, size: int, mix: SequenceMix, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.material, self.size, self.mix = material, size, mix
        self.batch = batch
        self.players: dict[int, Iterator[tuple[Frame, Frame]]] = {}

    def advance(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
        """(noisy, clean: (N, size, size, 3) uint8; started: (N,) bool, true where a new sequence begins)."""
        noisy = np.empty((self.batch, self.size, self.size, 3), np.uint8)
        clean = np.empty_like(noisy)
        started = np.zeros(self.batch, bool)
        for n in range(self.batch):
            pair = next(self.players[n], None) if n in self.players else None
            if pair is None:
                started[n] = True
                self.players[n] = sequence(self.material, self.size, self.mix, self.random)
                pair = next(self.players[n])
            noisy[n], clean[n] = pair
        return noisy, clean, started
