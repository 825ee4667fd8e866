"""One clip: coded once, shown in every view, beside other coders at the same bytes; and all of them judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.accuracy.clip import Clip
from bench.accuracy.codec import Codec
from bench.accuracy.points import most_within
from bench.features import FrozenFeatures, patch_features, perceptual_distance, structure_distance
from bench.media import rgb
from bench.pictures import RGB, rgb_frame
from bench.views.fidelity import clip_psnr, low_frequency_psnr
from bench.views.flicker import flicker, motions
from bench.views.objects import COUNTERPART, Objects, compared
from bench.views.view import Shown, View, show
from duoview import Profile
from duoview.detections import Detections
from duoview.detectors import Detector, load


@dataclass(frozen=True)
class Row:
    """A view of a clip, or another coder at the bytes of one.

    quality: of the coder's own scale. psnr, low_frequency_psnr: in dB, of RGB. perceptual, structure: distances, less
    is better. flicker: in 8-bit steps; flicker_of_source: the same of the source. objects: None without a detector.
    seconds: CPU time to decode a frame, the mean.
    """

    clip: str
    view: str
    bytes_per_frame: float
    quality: int
    psnr: float
    low_frequency_psnr: float
    perceptual: float
    structure: float
    flicker: float
    flicker_of_source: float
    objects: Objects | None
    seconds: float


@dataclass(frozen=True, eq=False)
class Judged:
    """Rows of a clip, and the patches of the source and of every view with their places."""

    rows: tuple[Row, ...]
    source: NDArray[np.float64]
    patches: dict[str, NDArray[np.float64]]
    places: NDArray[np.intp]


class Judges:
    """What looks at pictures. features: SqueezeNet 1.1 as .npz; detector: a file that dv_detect reads, or None.

    every: distances, patches and objects are of one picture in so many; the rest is of all.
    """

    def __init__(self, features: Path, detector: Path | None, *, every: int, threads: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every={every}: expected 1 or more")
        self.features, self.every = FrozenFeatures(features), every
        self.detector: Detector | None = (
            load(detector, confidence=COUNTERPART, threads=threads) if detector is not None else None)

    def judge(self, clip: Clip, shown: dict[str, tuple[int, Shown]]) -> Judged:
        """Judge the views of a clip, each with its quality."""
        source = [rgb(frame) for frame in clip.frames]
        along = motions(source)
        own_flicker = flicker(source, along)
        chosen = range(0, len(source), self.every)
        distances: dict[str, list[tuple[float, float]]] = {name: [] for name in shown}
        own: list[NDArray[np.float64]] = []
        patches: dict[str, list[NDArray[np.float64]]] = {name: [] for name in shown}
        for number in chosen:
            features = self.features(source[number])
            own.append(patch_features(features).astype(np.float64))
            for name, (_, view) in shown.items():
                other = self.features(view.pictures[number])
                distances[name].append((perceptual_distance(features, other), structure_distance(features, other)))
                patches[name].append(patch_features(other).astype(np.float64))
        found = self._found([source[number] for number in chosen])
        rows = []
        for name, (quality, view) in shown.items():
            perceptual, structure = (float(value) for value in np.mean(distances[name], 0))
            seen = self._found([view.pictures[number] for number in chosen])
            rows.append(Row(
                clip.name, name, view.size / len(source), quality, clip_psnr(source, view.pictures),
                low_frequency_psnr(source, view.pictures), perceptual, structure, flicker(view.pictures, along),
                own_flicker, compared(found, seen) if found is not None and seen is not None else None, view.seconds))
        places = np.tile(np.arange(len(own[0])), len(own))
        return Judged(tuple(rows), np.concatenate(own), {name: np.concatenate(one) for name, one in patches.items()},
                      places)

    def _found(self, pictures: Sequence[RGB]) -> list[Detections] | None:
        if self.detector is None:
            return None
        return [self.detector([rgb_frame(picture)])[0] for picture in pictures]


def at_bytes(codec: Codec, clip: Clip, size: int) -> int:
    """The lowest quality with so many bytes or more, the highest where none has: no coder is given less than ours."""
    within = most_within(codec.qualities, lambda quality: codec.size(clip, quality), size - 1)
    at = 0 if within is None else codec.qualities.index(within) + 1
    return codec.qualities[min(at, len(codec.qualities) - 1)]


def measure(clip: Clip, own: Codec, quality: int, views: Sequence[View], peers: Sequence[Codec], judges: Judges,
            profile: Profile, *, say: Callable[[str], None] = print) -> Judged:
    """Code a clip at a quality, show and judge it. peers: coders whose packets alone are counted, as of our own.

    Raises RuntimeError where a view has another number of pictures than the clip.
    """
    coded = own.code(clip, quality)
    shown: dict[str, tuple[int, Shown]] = {}
    beside: dict[object, View] = {}
    for view in views:
        one = show(coded.data, view, profile)
        if len(one.pictures) != len(clip.frames):
            raise RuntimeError(f"{clip.name}: view {view.text} has {len(one.pictures)} pictures, the clip "
                               f"{len(clip.frames)}")
        shown[view.text] = (quality, one)
        beside.setdefault(view.layers, view)
        say(f"{clip.name}: {view.text}: {one.size / len(clip.frames):.1f} bytes a frame, {one.seconds:.3f} s a frame")
    for view in beside.values():
        for codec in peers:
            level = at_bytes(codec, clip, shown[view.text][1].size)
            other = codec.code(clip, level)
            pictures = tuple(rgb(frame) for frame in other.frames)
            name = f"{codec.name} at {view.text}"
            shown[name] = (level, Shown(pictures, other.size, other.decode_seconds / len(pictures)))
            say(f"{clip.name}: {name}: {other.size / len(clip.frames):.1f} bytes a frame at {level}")
    return judges.judge(clip, shown)
