"""Scenes to tune networks in 8 bits with: pieces of clips, photographs that a camera pans over, objects that enter.

Each is coded as encoders do, by itself and at a quality index of its own, so that P frames' networks are given what
they are given in use. The few scenes of some videos are learned by heart instead: errors on them fall, and bits of
others rise. A share of them is stretched in contrast and colour: signs that shine at night leave the ranges that all
else is in, and what is cut off there was most of the error. In some of these, for networks whose errors are handed on
from frame to frame, a part shows another picture from one frame to the next, as a screen or a sign does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import av
import numpy as np
from numpy.typing import NDArray

from duoview.backends import CpuBackend
from duoview.decoder import Decoder
from duoview.encoder import Encoder
from duoview.export.calibration import Clip, RecordingBackend, distinct
from duoview.export.equalisation import Sample
from duoview.models.data import Material
from duoview.models.sequences import SequenceMix, sequence
from duoview.profile import Profile

#: Scenes of a tuning, frames of each, and their side in pixels.
SCENES, FRAMES, SIDE = 300, 12, 192
#: Quality indices that are drawn from, below the last.
LOW_QUALITY, HIGH_QUALITY = 4, 50
#: Most of the scenes are of clips where there are so many of them; few would be learned by heart.
MANY_CLIPS = 10
#: Share of scenes that are stretched; by what contrast and saturation are multiplied, and what is added, in sample
#: values, each from the least to the most that is drawn.
STRETCHED = 0.4
CONTRAST, SATURATION, BRIGHTNESS = (1.3, 3.0), (1.0, 2.0), (-60.0, 30.0)
#: Share of the stretched scenes in which a part changes at once, where that is asked for, and the part's least side.
SWITCHED, LEAST_PART = 0.6, 64


def mix(of: Material) -> SequenceMix:
    """Shares of the kinds of scenes, by how many clips there are."""
    real = 0.6 * min(1.0, len(of.clips) / MANY_CLIPS)
    return SequenceMix(real=real, still=0.375 * (1 - real), shortest=FRAMES, mean=1.0, longest=FRAMES)


def material(clips: Sequence[Clip]) -> Material:
    """Pictures and clips that scenes can be cut of: those with no side below SIDE.

    Raises ValueError where there is none.
    """
    found = Material()
    for clip in clips:
        frames = [np.ascontiguousarray(np.moveaxis(one, 0, -1)) for one in clip.pixels]
        if min(frames[0].shape[:2]) < SIDE:
            continue
        found.pictures.append(frames[0])
        if len(frames) > 1:
            found.clips[f"{len(found.clips)}: {clip.name}"] = np.stack(frames)
    if not found.pictures:
        raise ValueError(f"none of the {len(clips)} pictures and videos to tune with has {SIDE} x {SIDE} pixels or "
                         "more as it was read; expected one at least (-side), or no tuning (-tune 0)")
    return found


def stretched(frames: Iterable[NDArray[np.uint8]], random: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """RGB frames, uint8 (H, W, 3), with more contrast about the first one's mean, more colour, and brighter or darker.

    All by the same drawn numbers.
    """
    contrast, saturation, brightness = (random.uniform(*limits) for limits in (CONTRAST, SATURATION, BRIGHTNESS))
    middle: float | None = None
    for frame in frames:
        values = frame.astype(np.float32)
        middle = float(values.mean()) if middle is None else middle
        grey = values.mean(-1, keepdims=True)
        values = (grey + (values - grey) * saturation - middle) * contrast + middle + brightness
        yield np.clip(np.rint(values), 0, 255).astype(np.uint8)


def switched(frames: Iterable[NDArray[np.uint8]], picture: NDArray[np.uint8], random: np.random.Generator
             ) -> Iterator[NDArray[np.uint8]]:
    """RGB frames, uint8 (SIDE, SIDE, 3), a drawn part of which shows a piece of the picture from a drawn frame on."""
    start = int(random.integers(1, FRAMES))
    sides = random.integers(LEAST_PART, SIDE + 1, 2)
    top, left = (int(random.integers(SIDE - side + 1)) for side in sides)
    y, x = (int(random.integers(most - side + 1)) for most, side in zip(picture.shape[:2], sides, strict=True))
    height, width = (int(side) for side in sides)
    piece = picture[y:y + height, x:x + width]
    for number, frame in enumerate(frames):
        if number >= start:
            frame = frame.copy()
            frame[top:top + height, left:left + width] = piece
        yield frame


def recorded(profile: Profile, network: str, of: Material, *, views: bool = False, changing: bool = False,
             scenes: int = SCENES, seed: int = 77) -> Sequence[Sample]:
    """What a network is given when scenes are coded, each call once.

    Held in memory: of the synthesis of P frames .26 MB a call, of which a frame makes two at most; of others less. The
    same arguments give the same calls. views: machine views are decoded too. changing: in some scenes a part changes at
    once.
    """
    random = np.random.default_rng(seed)
    backend = RecordingBackend(CpuBackend(1), only=(network,))
    encoder = Encoder(SIDE, SIDE, q=LOW_QUALITY, gop=FRAMES, profile=profile, device=backend)
    player = Decoder(profile=profile, device=backend, strict=True) if views else None
    for _ in range(scenes):
        encoder.q = int(random.integers(LOW_QUALITY, HIGH_QUALITY))
        pictures: Iterable[NDArray[np.uint8]] = (noisy for noisy, _ in sequence(of, SIDE, mix(of), random))
        stretch = random.random() < STRETCHED
        if changing and random.random() < SWITCHED and stretch:
            pictures = switched(pictures, of.pictures[int(random.integers(len(of.pictures)))], random)
        if stretch:
            pictures = stretched(pictures, random)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            for packet in encoder.encode(frame, key=number == 0):
                if player is not None:
                    player.decode(packet)
    return distinct(backend.samples.get(network, []))
